package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
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
	resource *fhir.Object // nil where there is none
}

// bundle answers POST [base]: a batch, whose entries are requests of their own, or
// a transaction, whose writes are done together or not at all.
func (s *server) bundle(c echo.Context) error {
	body, err := s.body(c)
	if err != nil {
		return err
	}
	if typ := body.Text("resourceType"); typ != "Bundle" {
		return fhir.Refuse(http.StatusBadRequest, "invalid", "the base takes a Bundle of type batch or transaction, got %s; other resources are posted to their type", typ).At("resourceType")
	}
	kind := body.Text("type")
	if kind != "batch" && kind != "transaction" {
		return fhir.Refuse(http.StatusBadRequest, "code-invalid", "got a Bundle of type %q, expected batch or transaction; to store a Bundle, post it to Bundle", kind).At("Bundle.type")
	}
	entries, refused := s.entries(c, body)
	if refused != nil {
		return refused
	}
	var responses []fhir.Response
	if kind == "transaction" {
		if responses, err = s.transaction(c, entries); err != nil {
			return err
		}
	} else {
		for _, e := range entries {
			responses = append(responses, s.dispatch(c, e))
		}
	}
	return s.write(c, http.StatusOK, fhir.EncodeResponses(s.room.NewID(), kind+"-response", s.room.Clock().Now(), responses))
}

// entries reads the requests of a bundle. All that is wrong is told together.
func (s *server) entries(c echo.Context, bundle *fhir.Object) ([]*entry, *fhir.Error) {
	list := bundle.Array("entry")
	if len(list) > maxEntries {
		return nil, fhir.Refuse(http.StatusRequestEntityTooLarge, "too-costly", "the bundle has %d entries, at most %d are taken", len(list), maxEntries).At("Bundle.entry")
	}
	var all []*entry
	var issues []fhir.Issue
	for i, item := range list {
		o, _ := item.(*fhir.Object)
		e, issue := s.readEntry(c, o, fmt.Sprintf("Bundle.entry[%d]", i))
		if issue != nil {
			issues = append(issues, *issue)
			continue
		}
		all = append(all, e)
	}
	if len(issues) == 0 {
		issues = slices.DeleteFunc(release(c).Validate(withoutResources(bundle)), func(issue fhir.Issue) bool {
			// The addresses were read, and may have the spaces of a search.
			return len(issue.Expression) == 1 && strings.HasSuffix(issue.Expression[0], ".request.url")
		})
	}
	return all, fhir.RefuseAll(issues)
}

// withoutResources is a bundle without the resources of its entries, whose form is
// the matter of their requests. Of no entries a list is taken too.
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

// conditions are the members of a request that are conditions, and the methods they
// are conditions of. On another they would be ignored, and what they guard with them.
var conditions = []struct {
	member, header string
	methods        []string
}{
	{"ifNoneMatch", "If-None-Match", []string{http.MethodGet, http.MethodHead, http.MethodPut}},
	{"ifModifiedSince", "If-Modified-Since", []string{http.MethodGet, http.MethodHead}},
	{"ifMatch", "If-Match", []string{http.MethodPut, http.MethodPatch, http.MethodDelete}},
	{"ifNoneExist", "If-None-Exist", []string{http.MethodPost}},
}

func (s *server) readEntry(c echo.Context, o *fhir.Object, place string) (*entry, *fhir.Issue) {
	wrong := func(code, at, format string, args ...any) (*entry, *fhir.Issue) {
		return nil, &fhir.Issue{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...), Expression: []string{place + at}}
	}
	request := o.Object("request")
	if request == nil {
		return wrong("required", ".request", "an entry of a batch or transaction needs a request with method and url")
	}
	e := &entry{place: place, fullURL: o.Text("fullUrl"), method: request.Text("method"), resource: o.Object("resource"), headers: http.Header{}}
	switch e.method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		if e.resource == nil {
			return wrong("required", ".resource", "a %s needs a resource", e.method)
		}
	default:
		return wrong("code-invalid", ".request.method", "got %q, expected GET, HEAD, POST, PUT, PATCH or DELETE", e.method)
	}
	address := request.Text("url")
	if base := s.base(c) + "/"; len(address) > len(base) && strings.EqualFold(address[:len(base)], base) { // the release in any case, as in a path
		address = address[len(base):]
	}
	address = strings.TrimPrefix(address, "/")
	u, err := url.Parse(address)
	if err != nil || u.IsAbs() || u.Host != "" || u.Path == "" { // the base itself would be a bundle in a bundle
		return wrong("value", ".request.url", "got %v, expected an address below the base, such as Patient/1 or Patient?identifier=1", request.Get("url"))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	e.url = u
	for _, condition := range conditions {
		value := request.Text(condition.member)
		if value == "" {
			continue
		}
		if !slices.Contains(condition.methods, e.method) {
			return wrong("invalid", ".request."+condition.member, "a %s takes no %s, which is for %s", e.method, condition.member, strings.Join(condition.methods, ", "))
		}
		e.headers.Set(condition.header, value)
	}
	return e, nil
}

// transaction does the writes of a transaction together, and its reads after them.
func (s *server) transaction(c echo.Context, entries []*entry) ([]fhir.Response, error) {
	var operations []room.Operation
	var places []int
	for i, e := range entries {
		if e.method == http.MethodGet || e.method == http.MethodHead {
			continue
		}
		o, refused := s.operation(c, e)
		if refused != nil {
			return nil, refused
		}
		operations, places = append(operations, o), append(places, i)
	}
	written, refused := s.on(c).Transaction(operations, s.request(c))
	if refused != nil {
		return nil, refused
	}
	responses := make([]fhir.Response, len(entries))
	for i, w := range written {
		responses[places[i]] = s.response(c, operations[i].Method, w)
	}
	for i, e := range entries {
		if e.method == http.MethodGet || e.method == http.MethodHead {
			responses[i] = s.dispatch(c, e)
		}
	}
	return responses, nil
}

// operation makes the write of an entry.
func (s *server) operation(c echo.Context, e *entry) (room.Operation, *fhir.Error) {
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
		return o, fhir.Refuse(http.StatusBadRequest, "not-supported", "%s: POST %s: a transaction creates resources, it runs no operations; use a batch", e.place, e.url).At(e.place + ".request.url")
	case e.method == http.MethodPost:
		var err *fhir.Error
		if o.Search, err = ifNoneExist(e.headers); err != nil {
			return o, err.At(e.place + ".request.ifNoneExist")
		}
	case rest == "":
		if o.Search = searchOf(e.url.RawQuery); o.Search == "" {
			return o, fhir.Refuse(http.StatusBadRequest, "value", "%s: %s %s needs an id or a search that selects one resource", e.place, e.method, e.url).At(e.place + ".request.url")
		}
	case !fhir.IsID(rest):
		return o, fhir.Refuse(http.StatusBadRequest, "value", "%s: %q is not an id: it has 1 to 64 letters, digits, - or .", e.place, rest).At(e.place + ".request.url")
	}
	if e.method == http.MethodPost || rest != "" {
		if err := noSearch(e.method, e.url); err != nil {
			return o, err.At(e.place + ".request.url")
		}
	}
	if e.method == http.MethodPatch {
		patch, kind, err := patchOf(e.resource)
		if err != nil {
			return o, fhir.Refuse(http.StatusBadRequest, "value", "%s: %v", e.place, err).At(e.place + ".resource")
		}
		if o.Object, o.Patch = nil, room.JSONPatch(patch); kind == fhirJSON {
			o.Patch = s.on(c).FHIRPathPatch(e.resource)
		}
	}
	return o, nil
}

// patchOf reads the patch of an entry: a Parameters resource, or a Binary that
// holds a JSON Patch.
func patchOf(resource *fhir.Object) (document []byte, contentType string, err error) {
	switch {
	case resource.Text("resourceType") == "Parameters":
		return resource.AppendJSON(nil), fhirJSON, nil
	case resource.Text("resourceType") == "Binary" && resource.Text("contentType") == "application/json-patch+json":
		document, err = base64.StdEncoding.DecodeString(resource.Text("data"))
		return document, "application/json-patch+json", err
	}
	return nil, "", fmt.Errorf("a PATCH needs a Parameters resource (FHIRPath Patch) or a Binary of application/json-patch+json, got %s", resource.Text("resourceType"))
}

// response is what a transaction answers of one write, as the client prefers it.
func (s *server) response(c echo.Context, method string, w *room.Written) fhir.Response {
	r := fhir.Response{Status: status(http.StatusOK)}
	switch {
	case method == http.MethodDelete:
		r.Status = status(http.StatusNoContent)
		if w.VersionID != "" {
			r.ETag = etag(w.VersionID)
		}
		return r
	case w.Created:
		r.Status = status(http.StatusCreated)
	}
	r.FullURL = s.base(c) + "/" + w.Resource.Reference()
	r.Location = r.FullURL + "/_history/" + w.VersionID
	r.ETag, r.LastModified = etag(w.VersionID), w.Resource.LastUpdated
	if len(w.Issues) > 0 || prefers(c.Request(), "return") == "OperationOutcome" {
		r.Outcome = fhir.EncodeOutcome(w.Issues)
	}
	if prefers(c.Request(), "return") == "representation" {
		r.Resource = w.Resource.JSON
	}
	return r
}

func status(code int) string { return fmt.Sprint(code, " ", http.StatusText(code)) }

func etag(version string) string { return `W/"` + version + `"` }

// inner marks a request that is an entry of another.
type inner struct{}

// isInner tells whether a request is an entry of a batch, which is recorded and
// logged as a whole.
func isInner(r *http.Request) bool { return r.Context().Value(inner{}) != nil }

// dispatch does the request of one entry like any other.
func (s *server) dispatch(c echo.Context, e *entry) fhir.Response {
	outer := c.Request()
	u := *outer.URL
	u.Path, u.RawPath, u.RawQuery = "/fhir/"+string(release(c))+"/"+e.url.Path, "", e.url.RawQuery
	r := (&http.Request{Method: e.method, URL: &u, Host: outer.Host, RemoteAddr: outer.RemoteAddr, Header: e.headers, Proto: outer.Proto, Body: http.NoBody}).
		WithContext(context.WithValue(outer.Context(), inner{}, true))
	for _, name := range []string{"Prefer", "Accept", "Origin", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
		if values := outer.Header.Values(name); len(values) > 0 {
			r.Header[name] = values
		}
	}
	if e.resource != nil {
		document, kind := e.resource.AppendJSON(nil), fhirJSON
		if e.method == http.MethodPatch {
			var err error
			if document, kind, err = patchOf(e.resource); err != nil {
				return fhir.Response{Status: status(http.StatusBadRequest), Outcome: fhir.EncodeOutcome([]fhir.Issue{{Severity: "error", Code: "value", Diagnostics: err.Error(), Expression: []string{e.place + ".resource"}}})}
			}
		}
		r.Header.Set("Content-Type", kind)
		r.Body, r.ContentLength = newBody(document), int64(len(document))
	}
	a := &entryAnswer{header: http.Header{}, status: http.StatusOK}
	s.echo.ServeHTTP(a, r)
	return a.response()
}

// entryAnswer keeps what a request inside a batch was answered.
type entryAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *entryAnswer) Header() http.Header { return a.header }

func (a *entryAnswer) WriteHeader(status int) { a.status = status }

func (a *entryAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *entryAnswer) response() fhir.Response {
	r := fhir.Response{Status: status(a.status), Location: a.header.Get("Location"), ETag: a.header.Get("ETag")}
	r.LastModified, _ = http.ParseTime(a.header.Get("Last-Modified")) // none where there is none
	switch {
	case a.body.Len() == 0:
	case a.status >= http.StatusBadRequest:
		r.Outcome = a.body.Bytes()
	default:
		r.Resource = a.body.Bytes()
	}
	return r
}

type body struct{ *bytes.Reader }

func newBody(document []byte) body { return body{bytes.NewReader(document)} }

func (body) Close() error { return nil }
