package main

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
)

const fhirJSON = "application/fhir+json"

// speakFHIR is what all requests to a FHIR base share: a release this server
// speaks, a representation it can write, a type it stores.
func (s *server) speakFHIR(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !strings.HasPrefix(c.Request().URL.Path, "/fhir/") {
			return next(c)
		}
		if c.Param("release") != "" && s.on(c) == nil {
			return fhir.Refuse(http.StatusNotFound, "not-supported", "this server does not speak FHIR %s; its bases are %s", c.Param("release"), strings.Join(slices.Sorted(maps.Values(s.bases(s.rootOf(c)))), ", "))
		}
		// What reads the query leaves out what it cannot decode: a search without one
		// of its conditions.
		if _, err := url.ParseQuery(c.Request().URL.RawQuery); err != nil {
			return fhir.Refuse(http.StatusBadRequest, "structure", "the query ?%s cannot be read: %v; a %% that is meant is written %%25", c.Request().URL.RawQuery, err)
		}
		if err := acceptable(c.Request()); err != nil {
			return err
		}
		if typ := c.Param("type"); typ != "" {
			if err := s.on(c).Stores(typ); err != nil {
				return err
			}
		}
		return next(c)
	}
}

// acceptable refuses requests that want something else than JSON (OP-12).
func acceptable(r *http.Request) error {
	if format := r.URL.Query().Get("_format"); format != "" {
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
	return fhir.Refuse(http.StatusNotAcceptable, "not-supported", "Accept: %s: this server writes JSON only; ask for application/fhir+json", accept)
}

func acceptableFormat(format string) error {
	// A + in a query is a space unless it was escaped; nobody means a space.
	if isJSON(strings.ReplaceAll(format, " ", "+")) {
		return nil
	}
	return fhir.Refuse(http.StatusNotAcceptable, "not-supported", "_format=%s: this server writes JSON only; ask for application/fhir+json", format)
}

func isJSON(mediaType string) bool {
	name, _, err := mime.ParseMediaType(mediaType)
	return err == nil && (name == fhirJSON || name == "application/json" || name == "json" || name == "text/json")
}

// read answers GET [type]/[id].
func (s *server) read(c echo.Context) error {
	typ, id := c.Param("type"), c.Param("id")
	if err := plainID(c, typ, id); err != nil {
		return err
	}
	if typ == "OperationDefinition" {
		if body, ok := release(c).OperationDefinition(id); ok {
			return s.write(c, http.StatusOK, body)
		}
	}
	res, err := s.on(c).Read(typ, id)
	if err != nil {
		return err
	}
	return s.resource(c, http.StatusOK, res)
}

// readVersion answers GET [type]/[id]/_history/[version].
func (s *server) readVersion(c echo.Context) error {
	res, err := s.on(c).ReadVersion(c.Param("type"), c.Param("id"), c.Param("version"))
	if err != nil {
		return err
	}
	return s.resource(c, http.StatusOK, res)
}

// create answers POST [type].
func (s *server) create(c echo.Context) error {
	if err := noSearch(c.Request().Method, c.Request().URL); err != nil {
		return err
	}
	condition, refused := ifNoneExist(c.Request().Header)
	if refused != nil {
		return refused
	}
	body, err := s.body(c)
	if err != nil {
		return err
	}
	return s.perform(c, room.Operation{Method: http.MethodPost, Type: c.Param("type"), Object: body, Search: condition})
}

// update answers PUT [type]/[id] and, conditionally, PUT [type]?search.
func (s *server) update(c echo.Context) error {
	o, err := s.target(c)
	if err != nil {
		return err
	}
	if o.Object, err = s.body(c); err != nil {
		return err
	}
	o.IfNoneMatch = c.Request().Header.Get("If-None-Match")
	return s.perform(c, o)
}

// patch answers PATCH [type]/[id] and PATCH [type]?search with a JSON Patch or a
// FHIRPath Patch.
func (s *server) patch(c echo.Context) error {
	o, err := s.target(c)
	if err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(c.Request().Header.Get("Content-Type"))
	switch {
	case kind == "application/json-patch+json":
		data, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		o.Patch = room.JSONPatch(data)
	case isJSON(kind):
		body, err := s.body(c)
		if err != nil {
			return err
		}
		if body.Text("resourceType") != "Parameters" {
			return fhir.Refuse(http.StatusUnsupportedMediaType, "not-supported", "Content-Type %q goes with a FHIRPath Patch, which is a Parameters resource; a JSON Patch is application/json-patch+json", kind)
		}
		o.Patch = s.on(c).FHIRPathPatch(body)
	default:
		return fhir.Refuse(http.StatusUnsupportedMediaType, "not-supported", "Content-Type %q: a patch is application/json-patch+json, or application/fhir+json for a FHIRPath Patch", c.Request().Header.Get("Content-Type"))
	}
	return s.perform(c, o)
}

// delete answers DELETE [type]/[id] and DELETE [type]?search.
func (s *server) delete(c echo.Context) error {
	o, err := s.target(c)
	if err != nil {
		return err
	}
	if _, refused := s.on(c).Write(o, s.request(c)); refused != nil {
		return refused
	}
	return c.NoContent(http.StatusNoContent)
}

// target reads which resource a PUT, PATCH or DELETE is about: the one of its
// address, or the one its search selects.
func (s *server) target(c echo.Context) (room.Operation, error) {
	r := c.Request()
	o := room.Operation{Method: r.Method, Type: c.Param("type"), ID: c.Param("id"), IfMatch: r.Header.Get("If-Match")}
	if o.ID != "" {
		if err := plainID(c, o.Type, o.ID); err != nil {
			return o, err
		}
		if err := noSearch(r.Method, r.URL); err != nil {
			return o, err
		}
		return o, nil
	}
	if o.Search = searchOf(r.URL.RawQuery); o.Search == "" {
		c.Response().Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
		return o, fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "%s %s needs an id, as in %s/123, or a search that selects one, as in %s?identifier=123; a new one is created by POST to %s", r.Method, o.Type, o.Type, o.Type, o.Type)
	}
	return o, nil
}

// searchOf is a query without what is about the answer.
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
func noSearch(method string, u *url.URL) *fhir.Error {
	condition := searchOf(u.RawQuery)
	switch {
	case condition == "":
		return nil
	case method == http.MethodPost:
		return fhir.Refuse(http.StatusBadRequest, "value", "a POST that creates takes no search, got ?%s; the condition of a conditional create is the header If-None-Exist (in a bundle request.ifNoneExist)", condition)
	}
	return fhir.Refuse(http.StatusBadRequest, "value", "%s of one resource takes no search, got ?%s; name the resource by its id, or leave the id out and select it by the search", method, condition)
}

// ifNoneExist is the search of a conditional create, "" where it has none. Some
// clients send it with the address it would have as a search.
func ifNoneExist(h http.Header) (string, *fhir.Error) {
	condition := h.Get("If-None-Exist")
	if address, query, ok := strings.Cut(condition, "?"); ok && !strings.Contains(address, "=") {
		condition = query
	}
	if condition == "" && len(h.Values("If-None-Exist")) > 0 {
		return "", fhir.Refuse(http.StatusPreconditionFailed, "required", "If-None-Exist %q has no condition; name at least one search parameter, as in identifier=123, or leave it out", h.Get("If-None-Exist"))
	}
	return condition, nil
}

// perform does one write and answers what became of it.
func (s *server) perform(c echo.Context, o room.Operation) error {
	written, refused := s.on(c).Write(o, s.request(c))
	if refused != nil {
		return refused
	}
	return s.written(c, written)
}

// metadata answers the CapabilityStatement.
func (s *server) metadata(c echo.Context) error {
	r := release(c)
	capability := &fhir.Capability{
		Base:            s.base(c),
		WebsocketURL:    socketURL(s.rootOf(c)),
		Software:        "signalfhir",
		SoftwareVersion: command.Version(),
		Date:            s.room.Clock().Now(),
	}
	capability.Topics = s.on(c).TopicURLs()
	for _, typ := range r.ResourceTypes() {
		if typ == "SubscriptionStatus" {
			continue // SST-8
		}
		resource := fhir.CapabilityResource{Type: typ}
		for _, p := range search.Parameters(r, typ) {
			if p.Supported() {
				resource.SearchParams = append(resource.SearchParams, fhir.CapabilitySearchParam{Name: p.Name, Definition: p.URL, Type: p.Type})
				if p.Type == "reference" && p.Name != "_in" {
					resource.Includes = append(resource.Includes, typ+":"+p.Name)
				}
			}
		}
		capability.Resources = append(capability.Resources, resource)
	}
	return s.write(c, http.StatusOK, r.CapabilityStatement(capability))
}

// socket answers the upgrade to a WebSocket and serves it until it closes.
func (s *server) socket(c echo.Context) error {
	return s.hub.serve(c.Response(), c.Request(), s.room)
}

// plainID refuses what stands in the place of an id and is none.
func plainID(c echo.Context, typ, id string) error {
	if strings.HasPrefix(id, "$") {
		if typ == "Subscription" && (id == "$get-ws-binding-token" || id == "$status") {
			c.Response().Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
			return fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "an operation takes GET or POST, not %s", c.Request().Method)
		}
		return noOperation(id)
	}
	if id == "_search" {
		c.Response().Header().Set("Allow", "POST, OPTIONS")
		return fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "_search takes a form by POST, not %s; a search by GET is %s?name=value", c.Request().Method, typ)
	}
	if !fhir.IsID(id) {
		return fhir.Refuse(http.StatusBadRequest, "value", "%q is not an id: it has 1 to 64 letters, digits, - or .", id)
	}
	return nil
}

// postedToInstance answers POST [type]/[id], which is nothing: what looks like it
// is an operation the type does not have.
func (s *server) postedToInstance(c echo.Context) error {
	if id := c.Param("id"); strings.HasPrefix(id, "$") {
		return noOperation(id)
	}
	c.Response().Header().Set("Allow", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS")
	return fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "a resource is created by POST to its type or PUT to its address; POST to %s/%s is neither", c.Param("type"), c.Param("id"))
}

func noOperation(name string) *fhir.Error {
	return fhir.Refuse(http.StatusNotFound, "not-supported", "there is no operation %s here; Subscription offers $get-ws-binding-token, $status and, for one Subscription, $events and $resend", name)
}

// body reads the resource of a write.
func (s *server) body(c echo.Context) (*fhir.Object, error) {
	if err := s.isJSONBody(c); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return nil, err
	}
	o, refused := fhir.Parse(data)
	if refused != nil {
		if c.Request().Header.Get("Content-Type") == "" {
			refused.Status = http.StatusUnsupportedMediaType
		}
		return nil, refused
	}
	return o, nil
}

// isJSONBody refuses bodies that say they are something else. None said is
// taken as JSON unless strict.
func (s *server) isJSONBody(c echo.Context) error {
	kind := c.Request().Header.Get("Content-Type")
	if isJSON(kind) || kind == "" && !s.strict(c) {
		return nil
	}
	return fhir.Refuse(http.StatusUnsupportedMediaType, "not-supported", "Content-Type %q: this server reads JSON only; send application/fhir+json", kind)
}

func release(c echo.Context) fhir.Release {
	r, _ := fhir.ParseRelease(c.Param("release"))
	return r
}

// on is what the room holds in the release of a request. Only requests of
// releases that are offered get as far.
func (s *server) on(c echo.Context) *room.Base { return s.room.Base(release(c)) }

func (s *server) base(c echo.Context) string {
	return s.rootOf(c) + "/fhir/" + string(release(c))
}

func (s *server) request(c echo.Context) room.Request {
	return room.Request{Base: s.base(c), Strict: s.strict(c)}
}

// lenient tells the journal and the log what was taken that strictly is wrong.
func (s *server) lenient(c echo.Context, what string) {
	s.log.Info("lenient", "path", c.Request().URL.Path, "what", what)
	s.room.Record(journal.Entry{Kind: journal.Lenient, Text: what})
}

// strict tells whether leniency is to be an error.
func (s *server) strict(c echo.Context) bool {
	return s.options.Strict || prefers(c.Request(), "handling") == "strict"
}

// prefers is the value of one preference of the Prefer headers (RFC 7240).
func prefers(r *http.Request, name string) string {
	for _, header := range r.Header.Values("Prefer") {
		for preference := range strings.FieldsFuncSeq(header, func(r rune) bool { return r == ',' || r == ';' }) {
			if key, value, ok := strings.Cut(strings.TrimSpace(preference), "="); ok && strings.EqualFold(key, name) {
				return strings.Trim(value, `"`)
			}
		}
	}
	return ""
}

// written answers a write that was accepted, as the client prefers it.
func (s *server) written(c echo.Context, w *room.Written) error {
	status := http.StatusOK
	if w.Created {
		status = http.StatusCreated
	}
	h := c.Response().Header()
	h.Set("Location", s.base(c)+"/"+w.Resource.Reference()+"/_history/"+w.Resource.VersionID)
	setVersion(h, w.Resource)
	switch prefers(c.Request(), "return") {
	case "minimal":
		return c.NoContent(status)
	case "OperationOutcome":
		what := "stored " + w.Resource.Reference() + " as version " + w.Resource.VersionID
		if w.Found {
			what = "nothing was stored: " + w.Resource.Reference() + " matches If-None-Exist"
		}
		issues := append([]fhir.Issue{{Severity: "information", Code: "informational", Diagnostics: what}}, w.Issues...)
		return s.outcome(c, status, issues)
	}
	return s.write(c, status, w.Resource.JSON)
}

// resource answers a stored resource, or 304 where the client has it.
func (s *server) resource(c echo.Context, status int, res *fhir.Resource) error {
	h := c.Response().Header()
	setVersion(h, res)
	if notModified(c.Request().Header, res) {
		return c.NoContent(http.StatusNotModified)
	}
	return s.write(c, status, res.JSON)
}

// notModified tells whether the client has a resource, as far as it says so (RFC 9110,
// 13.2.2). In a bundle the time is an instant.
func notModified(h http.Header, res *fhir.Resource) bool {
	if match := h.Get("If-None-Match"); match != "" {
		return store.Tagged(match, res.VersionID)
	}
	since := h.Get("If-Modified-Since")
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

func (s *server) outcome(c echo.Context, status int, issues []fhir.Issue) error {
	return s.write(c, status, fhir.EncodeOutcome(issues))
}

// write is the one writer of FHIR bodies.
func (s *server) write(c echo.Context, status int, body []byte) error {
	if pretty := c.QueryParam("_pretty"); pretty == "true" || pretty == "" && c.QueryParams().Has("_pretty") {
		body = fhir.Indent(body)
	}
	kind := fhirJSON + "; charset=utf-8"
	if strings.Contains(c.Request().Header.Get("Accept"), "fhirVersion=") {
		kind += "; fhirVersion=" + release(c).Version()[:3]
	}
	return c.Blob(status, kind, body)
}
