// Package fhir translates between FHIR on the wire and the release-neutral model
// that the rest of signalfhir works with.
//
// It owns the JSON tree of a resource ([Object], [Resource]), the refusals
// ([Issue], [Error]), the element tables and structural validation against them.
// It reads Subscription, SubscriptionTopic and Parameters, and writes every
// resource the server itself produces: notification bundles, search and history
// bundles, Parameters, OperationOutcome, CapabilityStatement and
// OperationDefinition.
//
// Only a [Release] knows what a FHIR version looks like. The package imports
// nothing else of this module, does no I/O and keeps no state beyond its tables.
//
// The differences between releases are in their codecs, one file each: r5.go,
// r4b.go and r4.go, with the common part of the latter two in backport.go. To add
// R6, add
//
//   - its name to [Releases], and a case to Release.codec;
//   - r6.go with its codec, which may use every function of r5.go that still fits;
//   - its tables: the word R6 in the go:generate lines of this package and of
//     package search, and the files they read;
//   - the conversion of resources the server generates, if they differ
//     ([Release.Adapt]).
//
// No other package checks which release it has.
package fhir
