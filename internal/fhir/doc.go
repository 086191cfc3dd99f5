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
package fhir
