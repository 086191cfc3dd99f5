package fhir

import "strings"

// Release is a FHIR version as spoken on the wire.
type Release string

// R5 is FHIR 5.0.0.
const R5 Release = "R5"

// Releases lists the releases the server can speak, newest first.
var Releases = []Release{R5}

// ParseRelease reads the release segment of a FHIR base URL in any case.
func ParseRelease(segment string) (Release, bool) {
	for _, r := range Releases {
		if strings.EqualFold(string(r), segment) {
			return r, true
		}
	}
	return "", false
}

// Version is the full FHIR version, for example "5.0.0".
func (r Release) Version() string { return map[Release]string{R5: "5.0.0"}[r] }
