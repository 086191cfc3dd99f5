// Package httpfhir serves the interactions of FHIR over HTTP: reads, writes, searches,
// histories and bundles. A handler takes a [Request], whether it came over HTTP or as
// an entry of a bundle, and returns a [Response] or an error, which the edge shows as an
// OperationOutcome.
package httpfhir

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

// Options are the settings of [FHIR].
type Options struct {
	Strict   bool           // leniency becomes an error
	Releases []fhir.Release // offered
	Version  string         // of the server, for the CapabilityStatement
	MaxBytes int64          // of the resources in a response
	Logger   *slog.Logger
}

// FHIR serves the FHIR bases of a server.
type FHIR struct {
	options  Options
	app      *echo.Echo // makes the contexts of entries
	router   *echo.Router
	handlers map[string]HandlerFunc // by method and path
}

// New returns a server of FHIR bases without routes.
func New(app *echo.Echo, o Options) *FHIR {
	return &FHIR{options: o, app: app, router: echo.NewRouter(app), handlers: map[string]HandlerFunc{}}
}

// HandlerFunc serves a request. A failure is an error; it may have set headers of the
// response, such as Allow.
type HandlerFunc func(*Request) (*Response, error)

// Request is a request to a FHIR base, over HTTP or in a bundle.
type Request struct {
	Room    *room.Room
	Base    *room.Base
	Release fhir.Release
	Root    string // URL of the room, no trailing slash
	URL     string // URL of the base, no trailing slash
	Path    string // below the base, "/Patient/1"

	Method  string // a HEAD is a GET
	Type    string // of resource; "" if the path names none
	ID      string
	Version string
	Query   url.Values
	Header  http.Header
	Strict  bool  // Prefer: handling=strict, or the server's option
	Limit   int64 // bytes that the resources in the response may have; in a bundle what other entries left

	Out http.Header // of the response

	rawQuery string
	ctx      context.Context // ends when the client goes away
	http     *http.Request   // nil in a bundle
	resource *fhir.Object    // in a bundle; nil if the entry has none
	place    string          // in a bundle, "Bundle.entry[2]"

	budget *budget.Budget // of the bundle; nil outside of one
}

// Response is the response to a request that succeeded.
type Response struct {
	Status int
	Body   fhir.Body // a resource; nil if there is none

	// Late says what the budget of a write had no time for. The client learns it from a
	// header, and in a bundle from the outcome of the entry.
	Late []fhir.Issue
}

// Handle returns handle as a handler of Echo, for a path below a base such as
// /:type/:id, and makes it known to the entries of bundles.
func (f *FHIR) Handle(method, path string, handle HandlerFunc) echo.HandlerFunc {
	f.router.Add(method, path, func(echo.Context) error { return nil })
	f.handlers[method+" "+path] = handle
	return func(c echo.Context) error {
		r, err := f.request(c)
		if err != nil {
			return err
		}
		response, err := serve(r, handle)
		maps.Copy(c.Response().Header(), r.Out)
		c.Response().Header().Add("Vary", "Accept") // WriteFHIR reads it
		if err != nil {
			return err
		}
		for _, issue := range response.Late {
			c.Response().Header().Add("Warning", warning(issue.Diagnostics))
		}
		if response.Body == nil {
			return c.NoContent(response.Status)
		}
		return httpedge.WriteFHIR(c, response.Status, response.Body)
	}
}

// request reads what all requests over HTTP have in common. It refuses a release that
// is not offered.
func (f *FHIR) request(c echo.Context) (*Request, error) {
	in := c.Request()
	r := &Request{
		Room:     httpedge.Room(c),
		Root:     httpedge.Root(c),
		Method:   in.Method,
		Type:     c.Param("type"),
		ID:       c.Param("id"),
		Version:  c.Param("version"),
		Header:   in.Header,
		Strict:   f.options.Strict || Prefers(in.Header, "handling") == "strict",
		Limit:    f.options.MaxBytes,
		Out:      http.Header{},
		rawQuery: in.URL.RawQuery,
		ctx:      in.Context(),
		http:     in,
	}
	r.Release, _ = fhir.ParseRelease(c.Param("release"))
	if r.Base = r.Room.Base(r.Release); r.Base == nil {
		bases := httpedge.Bases(r.Root, f.options.Releases)
		return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotSupported, "this server does not speak FHIR %s; its bases are %s", c.Param("release"), strings.Join(slices.Sorted(maps.Values(bases)), ", "))
	}
	base := "/fhir/" + string(r.Release)
	r.URL = r.Root + base
	_, r.Path, _ = strings.Cut(in.URL.Path, base)
	return r, nil
}

// serve checks what all requests to a base have in common, a query that can be read, a
// representation the server can write and a type it stores, and serves the request.
func serve(r *Request, handle HandlerFunc) (*Response, error) {
	var err error
	// net/http leaves out what it cannot decode: a search would lose a condition.
	if r.Query, err = url.ParseQuery(r.rawQuery); err != nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "the query ?%s cannot be read: %v; write a literal %% as %%25", r.rawQuery, err)
	}
	if err := acceptable(r); err != nil {
		return nil, err
	}
	if r.Type != "" {
		if err := r.Base.Stores(r.Type); err != nil {
			return nil, err
		}
	}
	return handle(r)
}

// acceptable refuses requests for something other than JSON (OP-12).
func acceptable(r *Request) error {
	if format := r.Query.Get("_format"); format != "" {
		return acceptableFormat(format)
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return nil
	}
	for wanted := range strings.SplitSeq(accept, ",") {
		name, params, _ := mime.ParseMediaType(wanted)
		if params["q"] != "0" && (isJSON(name) || name == "*/*" || name == "application/*") {
			return nil
		}
	}
	return fhir.Refuse(http.StatusNotAcceptable, fhir.CodeNotSupported, "Accept: %s: this server writes JSON only; ask for application/fhir+json", accept)
}

func acceptableFormat(format string) error {
	// A + in a query is a space unless it was escaped, but no format contains a space.
	if isJSON(strings.ReplaceAll(format, " ", "+")) {
		return nil
	}
	return fhir.Refuse(http.StatusNotAcceptable, fhir.CodeNotSupported, "_format=%s: this server writes JSON only; ask for application/fhir+json", format)
}

func isJSON(mediaType string) bool {
	name, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (name == httpedge.FHIRJSON || name == "application/json" || name == "json" || name == "text/json")
}

// Prefers returns the value of one preference in the Prefer headers (RFC 7240), "" if
// they do not have it.
func Prefers(h http.Header, name string) string {
	for _, header := range h.Values("Prefer") {
		for preference := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ',' || r == ';' }) {
			if key, value, ok := strings.Cut(strings.TrimSpace(preference), "="); ok && strings.EqualFold(key, name) {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}

// contentType returns what the body of a request says it is.
func (r *Request) contentType() string {
	if r.http == nil {
		return httpedge.FHIRJSON
	}
	return r.Header.Get("Content-Type")
}

// body reads the body of a request that came over HTTP.
func (r *Request) body() ([]byte, error) { return io.ReadAll(r.http.Body) }

// Resource reads the resource in the body of a request.
func (r *Request) Resource() (*fhir.Object, error) {
	if r.http == nil {
		return r.resource, nil
	}
	if err := r.checkJSON(); err != nil {
		return nil, err
	}
	data, err := r.body()
	if err != nil {
		return nil, err
	}
	o, refused := fhir.Parse(data)
	if refused != nil {
		if r.contentType() == "" {
			refused = fhir.WithStatus(refused, http.StatusUnsupportedMediaType)
		}
		return nil, refused
	}
	return o, nil
}

// checkJSON refuses a body that says it is not JSON. One that says nothing is taken as
// JSON unless the request is strict.
func (r *Request) checkJSON() error {
	kind := r.contentType()
	if isJSON(kind) || kind == "" && !r.Strict {
		return nil
	}
	return fhir.Refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "Content-Type %q: this server reads JSON only; send application/fhir+json", kind)
}

// write returns what a room needs to know of a write.
func (r *Request) write() room.Request {
	q := room.Request{Base: r.URL, Strict: r.Strict, Context: r.ctx}
	if r.budget != nil {
		q.Budget = r.budget.Part("entry", budget.Request)
	}
	return q
}

// late returns the warnings about what the budget of a write had no time for, and about what
// was not stored as the client asked for it.
func late(w *room.Written) []fhir.Issue {
	var issues []fhir.Issue
	for _, issue := range w.Issues {
		if issue.Code == fhir.CodeTooCostly || issue.Tell {
			issues = append(issues, issue)
		}
	}
	return issues
}

// warning returns the value of a Warning header (RFC 7234, 5.5) with code 199, which is for
// people. What is not printable ASCII is replaced, because a header cannot have it.
func warning(text string) string {
	return `199 signalfhir "` + strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, text) + `"`
}

// Lenient records that something was accepted that is wrong in strict mode.
func (f *FHIR) Lenient(r *Request, what string) {
	f.options.Logger.Info("lenient", "path", "/fhir/"+string(r.Release)+r.Path, "what", what)
	r.Room.Record(journal.Entry{Kind: journal.Lenient, Text: what})
}

// Outcome returns a response that is an OperationOutcome.
func Outcome(status int, issues []fhir.Issue) *Response {
	return &Response{Status: status, Body: fhir.Whole(fhir.EncodeOutcome(issues))}
}

// RefuseOperations refuses an operation at an address below a base that is not a
// route.
func RefuseOperations(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if at := strings.LastIndex(path, "/$"); at >= 0 && httpedge.NeedsOf(c).FHIR && !httpedge.Routed(c) {
			return noOperation(path[at+1:])
		}
		return next(c)
	}
}

func noOperation(name string) *fhir.Error {
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotSupported, "there is no operation %s here; Subscription offers $get-ws-binding-token, $status and, for one Subscription, $events and $resend", name)
}
