package httpfhir

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
)

// maxEntries bounds a batch or transaction.
const maxEntries = 1000

// entry is one request inside a batch or transaction.
type entry struct {
	place    string // "Bundle.entry[2]"
	fullURL  string
	method   string
	url      *url.URL // relative to the base
	headers  http.Header
	resource *fhir.Object // nil if there is none
}

// Bundle serves POST [base]: a batch, whose entries are requests of their own, or a
// transaction, whose writes are done together or not at all.
func (f *FHIR) Bundle(r *Request) (*Response, error) {
	body, err := r.Resource()
	if err != nil {
		return nil, err
	}
	if typ := body.Text("resourceType"); typ != "Bundle" {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "the base takes a Bundle of type batch or transaction, got %s; other resources are posted to their type", typ).At("resourceType")
	}
	kind := body.Text("type")
	if kind != "batch" && kind != "transaction" {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got a Bundle of type %q, expected batch or transaction; to store a Bundle, post it to Bundle", kind).At("Bundle.type")
	}
	entries, refused := readEntries(r, body)
	if refused != nil {
		return nil, refused
	}
	r.budget = budget.New("bundle", budget.Bundle)
	var responses []fhir.Response
	if kind == "transaction" {
		if responses, err = f.transaction(r, entries); err != nil {
			return nil, err
		}
	} else {
		for _, e := range entries {
			if r.Room.Context().Err() != nil { // a long batch does not hold up the end of the server
				responses = append(responses, refusedEntry(fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the room closed before this entry was processed")))
				continue
			}
			responses = append(responses, f.serveEntry(r, e))
		}
	}
	return &Response{Status: http.StatusOK, Body: fhir.EncodeResponses(r.Room.NewID(), kind+"-response", r.Room.Clock().Now(), responses)}, nil
}

// readEntries reads the requests of a bundle. It reports everything that is wrong
// together.
func readEntries(r *Request, bundle *fhir.Object) ([]*entry, error) {
	list := bundle.Array("entry")
	if len(list) > maxEntries {
		return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the bundle has %d entries, at most %d are taken", len(list), maxEntries).At("Bundle.entry")
	}
	var all []*entry
	var issues []fhir.Issue
	for i, item := range list {
		o, _ := item.(*fhir.Object)
		e, issue := readEntry(r, o, fmt.Sprintf("Bundle.entry[%d]", i))
		if issue != nil {
			issues = append(issues, *issue)
			continue
		}
		all = append(all, e)
	}
	if len(issues) == 0 {
		issues = slices.DeleteFunc(r.Release.Validate(withoutResources(bundle)), func(issue fhir.Issue) bool {
			// The addresses were read, and may have the spaces of a search.
			return len(issue.Expression) == 1 && strings.HasSuffix(issue.Expression[0], ".request.url")
		})
	}
	return all, fhir.RefuseAll(issues)
}

// withoutResources returns a bundle without the resources of its entries: their form is
// checked by the requests they are in. It accepts a list without entries.
func withoutResources(bundle *fhir.Object) *fhir.Object {
	bare := without(bundle, "entry")
	var entries []any
	for _, item := range bundle.Array("entry") {
		if o, isObject := item.(*fhir.Object); isObject {
			item = without(o, "resource")
		}
		entries = append(entries, item)
	}
	if entry := bundle.Get("entry"); len(entries) > 0 {
		bare.Set("entry", entries)
	} else if _, isList := entry.([]any); entry != nil && !isList {
		bare.Set("entry", entry)
	}
	return bare
}

func without(o *fhir.Object, name string) *fhir.Object {
	rest := &fhir.Object{}
	for _, other := range o.Names() {
		if other != name {
			rest.Set(other, o.Get(other))
		}
	}
	return rest
}

// conditionalHeaders are the members of an entry that are conditions, with the methods
// they apply to. On another method a condition would be ignored, and with it what it
// guards.
var conditionalHeaders = []struct {
	member, header string
	methods        []string
}{
	{"ifNoneMatch", "If-None-Match", []string{http.MethodGet, http.MethodHead, http.MethodPut}},
	{"ifModifiedSince", "If-Modified-Since", []string{http.MethodGet, http.MethodHead}},
	{"ifMatch", "If-Match", []string{http.MethodPut, http.MethodPatch, http.MethodDelete}},
	{"ifNoneExist", "If-None-Exist", []string{http.MethodPost}},
}

// withoutBase returns an absolute address below the base of a request relative to the base,
// and any other address as it is. Case does not matter in the host and in the release.
func (r *Request) withoutBase(address string) string {
	base := r.URL + "/"
	if len(address) <= len(base) || !strings.EqualFold(address[:len(base)], base) {
		return address
	}
	if root, err := url.Parse(r.Root); err != nil || !strings.HasSuffix(address[:len(r.Root)], root.Path) {
		return address // another room
	}
	return address[len(base):]
}

func readEntry(r *Request, o *fhir.Object, place string) (*entry, *fhir.Issue) {
	wrong := func(code fhir.IssueCode, at, format string, args ...any) (*entry, *fhir.Issue) {
		return nil, &fhir.Issue{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...), Expression: []string{place + at}}
	}
	request := o.Object("request")
	if request == nil {
		return wrong(fhir.CodeRequired, ".request", "an entry of a batch or transaction needs a request with method and url")
	}
	e := &entry{place: place, fullURL: o.Text("fullUrl"), method: request.Text("method"), resource: o.Object("resource"), headers: http.Header{}}
	switch e.method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if e.resource == nil {
			return wrong(fhir.CodeRequired, ".resource", "a %s needs a resource", e.method)
		}
	default:
		return wrong(fhir.CodeCodeInvalid, ".request.method", "got %q, expected GET, HEAD, POST, PUT, PATCH or DELETE", e.method)
	}
	address := request.Text("url")
	address = strings.TrimPrefix(r.withoutBase(address), "/")
	u, err := url.Parse(address)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path == "" { // the base itself would be a bundle in a bundle
		return wrong(fhir.CodeValue, ".request.url", "got %v, expected an address below the base, such as Patient/1 or Patient?identifier=1", request.Get("url"))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	e.url = u
	for _, condition := range conditionalHeaders {
		value := request.Text(condition.member)
		if value == "" {
			continue
		}
		if !slices.Contains(condition.methods, e.method) {
			return wrong(fhir.CodeInvalid, ".request."+condition.member, "a %s takes no %s, which is for %s", e.method, condition.member, strings.Join(condition.methods, ", "))
		}
		e.headers.Set(condition.header, value)
	}
	return e, nil
}

// transaction does the writes of a transaction together, and its reads after them.
func (f *FHIR) transaction(r *Request, entries []*entry) ([]fhir.Response, error) {
	var operations []room.Operation
	var places []int
	for i, e := range entries {
		if e.method == http.MethodGet || e.method == http.MethodHead {
			continue
		}
		o, refused := r.operation(e)
		if refused != nil {
			return nil, refused
		}
		operations, places = append(operations, o), append(places, i)
	}
	q := r.write()
	q.Budget = r.budget // the room divides it
	written, refused := r.Base.Transaction(operations, q)
	if refused != nil {
		return nil, refused
	}
	responses := make([]fhir.Response, len(entries))
	for i, w := range written {
		responses[places[i]] = r.written(operations[i].Method, w)
	}
	for i, e := range entries {
		if e.method == http.MethodGet || e.method == http.MethodHead {
			responses[i] = f.serveEntry(r, e)
		}
	}
	return responses, nil
}

// operation returns the write of an entry.
func (r *Request) operation(e *entry) (room.Operation, error) {
	typ, rest, _ := strings.Cut(e.url.Path, "/")
	o := room.Operation{Method: e.method, Type: typ, ID: rest, IfMatch: e.headers.Get("If-Match"), FullURL: e.fullURL, Place: e.place}
	if e.method == http.MethodPost || e.method == http.MethodPut {
		o.Object = e.resource
	}
	if e.method == http.MethodPut {
		o.IfNoneMatch = e.headers.Get("If-None-Match")
	}
	switch {
	case e.method == http.MethodPost && rest != "":
		return o, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "%s: POST %s: a transaction creates resources, it runs no operations; use a batch", e.place, e.url).At(e.place + ".request.url")
	case e.method == http.MethodPost:
		var err error
		if o.Search, err = ifNoneExist(e.headers); err != nil {
			return o, fhir.At(err, e.place+".request.ifNoneExist")
		}
	case rest == "":
		if o.Search = searchOf(e.url.RawQuery); o.Search == "" {
			return o, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s: %s %s needs an id or a search that selects one resource", e.place, e.method, e.url).At(e.place + ".request.url")
		}
	case !fhir.IsID(rest):
		return o, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s: %q is not an id: it has 1 to 64 letters, digits, - or .", e.place, rest).At(e.place + ".request.url")
	}
	if e.method == http.MethodPost || rest != "" {
		if err := noSearch(e.method, e.url.RawQuery); err != nil {
			return o, fhir.At(err, e.place+".request.url")
		}
	}
	if e.method == http.MethodPatch {
		patch, err := entryPatch(r.Base, e.resource)
		if err != nil {
			return o, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s: %v", e.place, err).At(e.place + ".resource")
		}
		o.Object, o.Patch = nil, patch
	}
	return o, nil
}

// entryPatch reads the patch of an entry: a Parameters resource, or a Binary that holds
// a JSON Patch.
func entryPatch(b *room.Base, resource *fhir.Object) (room.Patch, error) {
	switch {
	case resource.Text("resourceType") == "Parameters":
		return b.FHIRPathPatch(resource), nil
	case resource.Text("resourceType") == "Binary" && resource.Text("contentType") == jsonPatch:
		document, err := base64.StdEncoding.DecodeString(resource.Text("data"))
		return room.JSONPatch(document), err
	}
	return nil, fmt.Errorf("a PATCH needs a Parameters resource (FHIRPath Patch) or a Binary of application/json-patch+json, got %s", resource.Text("resourceType"))
}

// written returns the response to one write of a transaction, as the client prefers it.
func (r *Request) written(method string, w *room.Written) fhir.Response {
	response := fhir.Response{Status: status(http.StatusOK)}
	switch {
	case method == http.MethodDelete:
		response.Status = status(http.StatusNoContent)
		if w.VersionID != "" {
			response.ETag = etag(w.VersionID)
		}
		if issues := late(w); len(issues) > 0 {
			response.Outcome = fhir.EncodeOutcome(issues)
		}
		return response
	case w.Created:
		response.Status = status(http.StatusCreated)
	}
	response.FullURL = r.URL + "/" + w.Resource.Reference()
	response.Location = response.FullURL + "/_history/" + w.VersionID
	response.ETag, response.LastModified = etag(w.VersionID), w.Resource.LastUpdated
	prefers, issues := Prefers(r.Header, "return"), w.Issues
	if prefers == "representation" {
		response.Resource = fhir.Whole(w.Resource.JSON)
		if tooLarge := r.fit(&response); tooLarge != nil {
			issues = append(slices.Clone(issues), *tooLarge)
		}
	}
	if len(issues) > 0 || prefers == "OperationOutcome" {
		response.Outcome = fhir.EncodeOutcome(issues)
	}
	return response
}

// fit makes the resource of a response to an entry a part of the response to the bundle. If
// there is no room for it, fit takes it out and returns what to tell the client.
func (r *Request) fit(response *fhir.Response) *fhir.Issue {
	size := response.Resource.Len()
	if size <= r.Limit {
		r.Limit -= size
		return nil
	}
	response.Resource = nil
	issue := &fhir.Issue{Severity: "error", Code: fhir.CodeTooCostly, Diagnostics: fmt.Sprintf("the result has %d bytes, and %d are left in the response to this bundle (--max-response-bytes); get it with a request of its own", size, r.Limit)}
	if response.Location != "" { // of a write, which was done
		issue.Severity = "warning"
		issue.Diagnostics = fmt.Sprintf("the resource was stored. It is left out: it has %d bytes, and %d are left in the response to this bundle (--max-response-bytes); get it from %s", size, r.Limit, response.Location)
	}
	return issue
}

func status(code int) string { return fmt.Sprint(code, " ", http.StatusText(code)) }

// serveEntry serves the request of one entry like any other.
func (f *FHIR) serveEntry(bundle *Request, e *entry) fhir.Response {
	r, handle, err := f.entryRequest(bundle, e)
	var response *Response
	if err == nil {
		response, err = f.serveSafely(r, handle)
	}
	if err != nil {
		return refusedEntry(httpedge.Refusal(err))
	}
	out := fhir.Response{Status: status(response.Status), Location: r.Out.Get("Location"), ETag: r.Out.Get("ETag")}
	out.LastModified, _ = http.ParseTime(r.Out.Get("Last-Modified")) // the zero time if there is none
	if e.method != http.MethodHead {
		out.Resource = response.Body
	}
	said := response.Late
	switch tooLarge := bundle.fit(&out); {
	case tooLarge == nil:
	case tooLarge.Severity == "error":
		return refusedEntry(&fhir.Error{Status: http.StatusUnprocessableEntity, Issues: []fhir.Issue{*tooLarge}})
	default:
		said = append(slices.Clone(said), *tooLarge)
	}
	if len(said) > 0 {
		out.Outcome = fhir.EncodeOutcome(said)
	}
	return out
}

// refusedEntry returns the response of an entry that was refused.
func refusedEntry(refused *fhir.Error) fhir.Response {
	return fhir.Response{Status: status(refused.Status), Outcome: fhir.EncodeOutcome(refused.Issues)}
}

// serveSafely serves the request of an entry. A panic fails this entry only: others may
// have been stored.
func (f *FHIR) serveSafely(r *Request, handle HandlerFunc) (response *Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.options.Logger.Error("a handler panicked", "error", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%v", p)
		}
	}()
	return serve(r, handle)
}

// entryRequest returns the request of an entry and its handler. What the bundle's
// request prefers goes for its entries, too.
func (f *FHIR) entryRequest(bundle *Request, e *entry) (*Request, HandlerFunc, error) {
	r := *bundle
	r.Path = "/" + e.url.Path
	r.rawQuery = strings.ReplaceAll(e.url.RawQuery, ";", "%3B")
	r.Method = e.method
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	r.Header, r.Out = e.headers, http.Header{}
	for _, name := range []string{"Prefer", "Accept"} {
		if values := bundle.Header.Values(name); len(values) > 0 {
			r.Header[name] = values
		}
	}
	r.http, r.resource, r.place = nil, e.resource, e.place

	c := f.app.NewContext(nil, nil)
	f.router.Find(r.Method, r.Path, c)
	handle := f.handlers[r.Method+" "+c.Path()]
	// An empty path means that none was found; it is not that of the base.
	if handle == nil || c.Path() == "" {
		if allowed, ok := c.Get(echo.ContextKeyHeaderAllow).(string); ok {
			return nil, nil, httpedge.NotAllowed(e.method, httpedge.AllowedWithHead(allowed))
		}
		if at := strings.LastIndex(r.Path, "/$"); at >= 0 {
			return nil, nil, noOperation(r.Path[at+1:])
		}
		return nil, nil, echo.ErrNotFound
	}
	r.Type, r.ID, r.Version = c.Param("type"), c.Param("id"), c.Param("version")
	return &r, handle, nil
}
