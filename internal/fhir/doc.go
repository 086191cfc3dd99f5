// Package fhir is the edge between FHIR as it is spoken on the wire and the
// release-neutral model the rest of signalfhir works with.
//
// It owns the JSON tree of a resource ([Object], [Resource]), the refusals
// ([Issue], [Error]), the element tables and the structural validation made
// from them, the reading of Subscription, SubscriptionTopic and Parameters, and
// the writing of every resource the server itself produces: notification
// bundles, search and history bundles, Parameters, OperationOutcome,
// CapabilityStatement and OperationDefinition.
//
// A [Release] is the only thing that knows how a FHIR version looks. The
// package imports nothing else of this module, does no I/O and keeps no state
// beyond its tables.
//
// What a release says differently is its codec, one file each: r5.go, r4b.go and
// r4.go, with what the latter two share in backport.go. To add R6 takes
//
//   - its name among [Releases], and a case in Release.codec;
//   - r6.go: its codec, which may borrow every function of r5.go that still fits;
//   - its tables: the word R6 in the go:generate lines of this package and of
//     package search, and the files they read;
//   - what a resource the server makes up looks like there, where that differs
//     ([Release.Adapt]).
//
// Nothing outside asks which release it has.
package fhir
