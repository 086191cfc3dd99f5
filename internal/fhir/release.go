package fhir

import "strings"

// Release is a FHIR version as spoken on the wire.
type Release string

// The releases.
const (
	R5  Release = "R5"
	R4B Release = "R4B"
	R4  Release = "R4"
)

// Releases lists the releases the server can speak, newest first.
var Releases = []Release{R5, R4B, R4}

// ParseRelease reads the release segment of a FHIR base URL in any case.
func ParseRelease(segment string) (Release, bool) {
	for _, r := range Releases {
		if strings.EqualFold(string(r), segment) {
			return r, true
		}
	}
	return "", false
}

// codec is how one release writes and reads the resources the server itself
// handles. Everything else about a release is in its tables.
type codec struct {
	version    string
	bundleType string // of a notification
	profile    string // of a notification; "" if the type of the bundle is enough
	// responses: every entry of a notification has request and response, as in
	// history bundles before R5 (bdl-3, bdl-4).
	responses bool
	// idOnlyEntries: at id-only each resource has its own entry (NB-9).
	idOnlyEntries bool
	// eventsRequired: a query-event must have events (OPE-5).
	eventsRequired bool
	// eventNumbersAreIntegers: in-parameters that are event numbers have the type
	// integer64, which only R5 has.
	eventNumbersAreIntegers bool
	// statusIsParameters: a Parameters takes the place of the SubscriptionStatus.
	statusIsParameters bool

	appendReferences func(dst []byte, base string, focus *Entry, context []Entry) []byte
	readSubscription func(r Release, c *checks, o *Object) *Subscription
	withStatus       func(o *Object, status, why string) *Object
	operations       func(r Release) []operation
	capability       func(s *capabilityStatement, c *Capability)
	topicOf          func(o *Object) (*Object, bool)
	adapt            func(o *Object) *Object
}

// codec returns the codec of the release: the only place that checks which it is.
func (r Release) codec() codec {
	switch r {
	case R4B:
		return r4b()
	case R4:
		return r4()
	default:
		return r5()
	}
}

// TopicElement returns the element in which a Subscription of the release names
// its topic.
func (r Release) TopicElement() string {
	if r.codec().responses {
		return "Subscription.criteria"
	}
	return "Subscription.topic"
}

// Version returns the full FHIR version, for example "5.0.0".
func (r Release) Version() string { return r.codec().version }
