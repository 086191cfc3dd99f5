package fhir

// Adapt answers a resource the server itself made up, which is in the form of
// R5, in the form of the release.
func (r Release) Adapt(o *Object) *Object { return o }
