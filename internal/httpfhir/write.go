package httpfhir

import (
	"mime"
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

const jsonPatch = "application/json-patch+json"

// Create serves POST [type].
func (f *FHIR) Create(r *Request) (*Response, error) {
	if err := noSearch(r.Method, r.rawQuery); err != nil {
		return nil, err
	}
	condition, refused := ifNoneExist(r.Header)
	if refused != nil {
		return nil, refused
	}
	body, err := r.Resource()
	if err != nil {
		return nil, err
	}
	return perform(r, room.Operation{Method: http.MethodPost, Type: r.Type, Object: body, Search: condition})
}

// Update serves PUT [type]/[id] and, conditionally, PUT [type]?search.
func (f *FHIR) Update(r *Request) (*Response, error) {
	o, err := target(r)
	if err != nil {
		return nil, err
	}
	if o.Object, err = r.Resource(); err != nil {
		return nil, err
	}
	o.IfNoneMatch = r.Header.Get("If-None-Match")
	return perform(r, o)
}

// Patch serves PATCH [type]/[id] and PATCH [type]?search with a JSON Patch or a FHIRPath
// Patch.
func (f *FHIR) Patch(r *Request) (*Response, error) {
	o, err := target(r)
	if err != nil {
		return nil, err
	}
	if o.Patch, err = r.patch(); err != nil {
		return nil, err
	}
	return perform(r, o)
}

// patch reads the patch in the body of a request.
func (r *Request) patch() (room.Patch, error) {
	if r.http == nil {
		patch, err := entryPatch(r.Base, r.resource)
		if err != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%v", err).At(r.place + ".resource")
		}
		return patch, nil
	}
	kind, _, _ := mime.ParseMediaType(r.contentType())
	switch {
	case kind == jsonPatch:
		data, err := r.body()
		if err != nil {
			return nil, err
		}
		return room.JSONPatch(data), nil
	case isJSON(kind):
		body, err := r.Resource()
		if err != nil {
			return nil, err
		}
		if body.Text("resourceType") != "Parameters" {
			return nil, fhir.Refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "Content-Type %q goes with a FHIRPath Patch, which is a Parameters resource; a JSON Patch is application/json-patch+json", kind)
		}
		return r.Base.FHIRPathPatch(body), nil
	}
	return nil, fhir.Refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "Content-Type %q: a patch is application/json-patch+json, or application/fhir+json for a FHIRPath Patch", r.contentType())
}

// Delete serves DELETE [type]/[id] and DELETE [type]?search.
func (f *FHIR) Delete(r *Request) (*Response, error) {
	o, err := target(r)
	if err != nil {
		return nil, err
	}
	w, refused := r.Base.Write(o, r.write())
	if refused != nil {
		return nil, refused
	}
	return &Response{Status: http.StatusNoContent, Late: late(w)}, nil
}

// PostToInstance refuses POST [type]/[id], which is nothing: what looks like it is an
// operation the type does not have.
func (f *FHIR) PostToInstance(r *Request) (*Response, error) {
	if strings.HasPrefix(r.ID, "$") {
		return nil, noOperation(r.ID)
	}
	r.Out.Set("Allow", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS")
	return nil, fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "a resource is created by POST to its type or PUT to its address; POST to %s/%s is neither", r.Type, r.ID)
}

// target reads which resource a PUT, PATCH or DELETE is about: the one its address
// names, or the one its search selects.
func target(r *Request) (room.Operation, error) {
	o := room.Operation{Method: r.Method, Type: r.Type, ID: r.ID, IfMatch: r.Header.Get("If-Match")}
	if o.ID != "" {
		if err := checkID(r); err != nil {
			return o, err
		}
		if err := noSearch(r.Method, r.rawQuery); err != nil {
			return o, err
		}
		return o, nil
	}
	if o.Search = searchOf(r.rawQuery); o.Search == "" {
		r.Out.Set("Allow", "GET, HEAD, POST, OPTIONS")
		return o, fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "%s %s needs an id, as in %s/123, or a search that selects one, as in %s?identifier=123; a new one is created by POST to %s", r.Method, o.Type, o.Type, o.Type, o.Type)
	}
	return o, nil
}

// searchOf returns a query without the parameters that are about the response.
func searchOf(query string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(part, "="); part != "" && name != "_format" && name != "_pretty" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// noSearch refuses the search of a write that has no place for one. Whoever sends it
// means a condition.
func noSearch(method, query string) error {
	condition := searchOf(query)
	switch {
	case condition == "":
		return nil
	case method == http.MethodPost:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "a POST that creates takes no search, got ?%s; the condition of a conditional create is the header If-None-Exist (in a bundle request.ifNoneExist)", condition)
	}
	return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s of one resource takes no search, got ?%s; name the resource by its id, or leave the id out and select it by the search", method, condition)
}

// ifNoneExist returns the search of a conditional create, "" if it has none. Some
// clients send it with the address it would have as a search.
func ifNoneExist(h http.Header) (string, error) {
	condition := h.Get("If-None-Exist")
	if address, query, ok := strings.Cut(condition, "?"); ok && !strings.Contains(address, "=") {
		condition = query
	}
	if condition == "" && len(h.Values("If-None-Exist")) > 0 {
		return "", fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeRequired, "If-None-Exist %q has no condition; name at least one search parameter, as in identifier=123, or leave it out", h.Get("If-None-Exist"))
	}
	return condition, nil
}

// perform does one write. Its response is what the client prefers.
func perform(r *Request, o room.Operation) (*Response, error) {
	w, refused := r.Base.Write(o, r.write())
	if refused != nil {
		return nil, refused
	}
	response := &Response{Status: http.StatusOK, Late: late(w)}
	if w.Created {
		response.Status = http.StatusCreated
	}
	r.Out.Set("Location", r.URL+"/"+w.Resource.Reference()+"/_history/"+w.Resource.VersionID)
	setVersion(r.Out, w.Resource)
	switch Prefers(r.Header, "return") {
	case "minimal":
	case "OperationOutcome":
		what := "stored " + w.Resource.Reference() + " as version " + w.Resource.VersionID
		if w.Found {
			what = "nothing was stored: " + w.Resource.Reference() + " matches If-None-Exist"
		}
		issues := append([]fhir.Issue{{Severity: "information", Code: fhir.CodeInformational, Diagnostics: what}}, w.Issues...)
		response.Body = fhir.Whole(fhir.EncodeOutcome(issues))
	default:
		response.Body = fhir.Whole(w.Resource.JSON)
	}
	return response, nil
}
