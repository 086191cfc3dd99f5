package httpfhir

import (
	"net/http"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
)

// Read serves GET [type]/[id].
func (f *FHIR) Read(r *Request) (*Response, error) {
	if err := checkID(r); err != nil {
		return nil, err
	}
	if r.Type == "OperationDefinition" {
		if body, ok := r.Release.OperationDefinition(r.ID); ok {
			return &Response{Status: http.StatusOK, Body: fhir.Whole(body)}, nil
		}
	}
	res, err := r.Base.Read(r.Type, r.ID)
	if err != nil {
		return nil, err
	}
	return stored(r, res), nil
}

// ReadVersion serves GET [type]/[id]/_history/[version].
func (f *FHIR) ReadVersion(r *Request) (*Response, error) {
	res, err := r.Base.ReadVersion(r.Type, r.ID, r.Version)
	if err != nil {
		return nil, err
	}
	return stored(r, res), nil
}

// stored returns a stored resource, or 304 if the client has it. A client may keep it, but
// has to ask before it uses it again.
func stored(r *Request, res *fhir.Resource) *Response {
	setVersion(r.Out, res)
	httpedge.Revalidate(r.Out)
	if notModified(r.Header, res, r.Room.Began()) {
		return &Response{Status: http.StatusNotModified}
	}
	return &Response{Status: http.StatusOK, Body: fhir.Whole(res.JSON)}
}

// notModified reports whether the client has a resource, as far as it says so (RFC
// 9110, 13.2.2). In a bundle the time is an instant.
//
// Versions count from 1 again when a room begins anew, so a browser may have another
// version 1 in its cache. A browser sends both headers: the time tells whether it
// has a version of before.
func notModified(h http.Header, res *fhir.Resource, began time.Time) bool {
	since := h.Get("If-Modified-Since")
	if match := h.Get("If-None-Match"); match != "" {
		at, err := http.ParseTime(since)
		return store.Tagged(match, res.VersionID) && (err != nil || at.After(began.Truncate(time.Second)))
	}
	if at, err := http.ParseTime(since); err == nil {
		return !res.LastUpdated.Truncate(time.Second).After(at)
	}
	at, err := time.Parse(time.RFC3339Nano, since)
	return err == nil && !res.LastUpdated.After(at)
}

func setVersion(h http.Header, res *fhir.Resource) {
	h.Set("ETag", etag(res.VersionID))
	h.Set("Last-Modified", res.LastUpdated.UTC().Format(http.TimeFormat))
}

func etag(version string) string { return `W/"` + version + `"` }

// checkID refuses an id in the path that is not valid.
func checkID(r *Request) error {
	switch {
	case strings.HasPrefix(r.ID, "$"):
		if r.Type == "Subscription" && (r.ID == "$get-ws-binding-token" || r.ID == "$status") {
			r.Out.Set("Allow", "GET, HEAD, POST, OPTIONS")
			return fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "an operation takes GET or POST, not %s", r.Method)
		}
		return noOperation(r.ID)
	case r.ID == "_search":
		r.Out.Set("Allow", "POST, OPTIONS")
		return fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "_search takes a form by POST, not %s; a search by GET is %s?name=value", r.Method, r.Type)
	case !fhir.IsID(r.ID):
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%q is not an id: it has 1 to 64 letters, digits, - or .", r.ID)
	}
	return nil
}

// Metadata serves GET metadata, the CapabilityStatement.
func (f *FHIR) Metadata(r *Request) (*Response, error) {
	capability := &fhir.Capability{
		Base:            r.URL,
		WebsocketURL:    httpedge.SocketURL(r.Root),
		Software:        "signalfhir",
		SoftwareVersion: f.options.Version,
		Date:            r.Room.Clock().Now(),
		Topics:          r.Base.TopicURLs(),
	}
	for _, typ := range r.Release.ResourceTypes() {
		if typ == "SubscriptionStatus" {
			continue // SST-8
		}
		resource := fhir.CapabilityResource{Type: typ}
		for _, p := range search.Parameters(r.Release, typ) {
			if p.Supported() {
				resource.SearchParams = append(resource.SearchParams, fhir.CapabilitySearchParam{Name: p.Name, Definition: p.URL, Type: p.Type})
				if p.Type == "reference" && p.Name != "_in" {
					resource.Includes = append(resource.Includes, typ+":"+p.Name)
				}
			}
		}
		capability.Resources = append(capability.Resources, resource)
	}
	return &Response{Status: http.StatusOK, Body: fhir.Whole(r.Release.CapabilityStatement(capability))}, nil
}
