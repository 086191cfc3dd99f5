package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// The operations of Subscription: $get-ws-binding-token, $status, $events, $resend.

// bindingToken answers Subscription/$get-ws-binding-token at both levels.
func (s *server) bindingToken(c echo.Context) error {
	if c.Request().Method == http.MethodGet && s.options.Strict {
		c.Response().Header().Set("Allow", "POST")
		return fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "the operation affects state, so with --strict it takes POST only (OP-3)")
	}
	params, err := s.parameters(c, "id", "ids")
	if err != nil {
		return err
	}
	if old := params["ids"]; len(old) > 0 { // of drafts before 1.0, and of Argonaut's client
		if s.strict(c) {
			return fhir.Refuse(http.StatusBadRequest, "not-supported", "the operation has no parameter \"ids\", which drafts had; it is called id (OPW-2)").At(old[0].Expression)
		}
		s.lenient(c, `the parameter "ids" of old drafts was taken as "id"`)
		params["id"] = append(params["id"], old...)
	}
	var ids []string
	if id := c.Param("id"); id != "" {
		ids = []string{id} // OPW-4: ids in the parameters are ignored here
	} else if ids, err = subscriptionIDs(params["id"]); err != nil {
		return err
	}
	issued, refused := s.on(c).BindingToken(ids)
	if refused != nil {
		return refused
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return s.write(c, http.StatusOK, release(c).EncodeBindingToken(&fhir.BindingToken{
		Token:         issued.Secret,
		Expiration:    issued.Expires,
		Subscriptions: issued.Subscriptions,
		WebsocketURL:  socketURL(s.rootOf(c)),
	}))
}

// status answers Subscription/$status at both levels.
func (s *server) status(c echo.Context) error {
	params, err := s.parameters(c, "id", "status")
	if err != nil {
		return err
	}
	r := release(c)
	self := s.base(c) + "/Subscription/$status"
	var statuses []*fhir.Notification
	if id := c.Param("id"); id != "" {
		one, err := s.on(c).Status(id)
		if err != nil {
			return err
		}
		statuses = []*fhir.Notification{one}
		self = s.base(c) + "/Subscription/" + id + "/$status"
	} else {
		ids, err := subscriptionIDs(params["id"])
		if err != nil {
			return err
		}
		for _, p := range params["status"] {
			if !r.IsSubscriptionStatus(p.Value) {
				return fhir.Refuse(http.StatusBadRequest, "code-invalid", "status: got %q, expected one of requested, active, error, off, entered-in-error", p.Value).At(p.Expression)
			}
		}
		statuses = s.on(c).Statuses(ids, values(params["status"]))
		self = link(self, c.QueryParams())
	}
	return s.write(c, http.StatusOK, r.EncodeStatusBundle(s.room.NewID(), s.room.Clock().Now(), self, statuses))
}

// events answers Subscription/[id]/$events.
func (s *server) events(c echo.Context) error {
	params, err := s.parameters(c, "eventsSinceNumber", "eventsUntilNumber", "content")
	if err != nil {
		return err
	}
	since, err := eventNumber(params["eventsSinceNumber"], 0)
	if err != nil {
		return err
	}
	until, err := eventNumber(params["eventsUntilNumber"], -1)
	if err != nil {
		return err
	}
	var content fhir.Content
	switch given := params["content"]; {
	case len(given) > 1:
		return repeated(given)
	case len(given) == 1:
		content = fhir.Content(given[0].Value)
		if content != fhir.Empty && content != fhir.IDOnly && content != fhir.FullResource {
			return fhir.Refuse(http.StatusBadRequest, "code-invalid", "content: got %q, expected empty, id-only or full-resource", content).At(given[0].Expression)
		}
	}
	notification, refused := s.on(c).Events(c.Param("id"), since, until, content)
	if refused != nil {
		return refused
	}
	return s.write(c, http.StatusOK, release(c).EncodeNotification(notification))
}

// resend answers Subscription/[id]/$resend (3.6).
func (s *server) resend(c echo.Context) error {
	params, err := s.parameters(c, "eventsSinceNumber", "eventsUntilNumber", "eventsSinceInstant", "eventsUntilInstant")
	if err != nil {
		return err
	}
	since, err := eventNumber(params["eventsSinceNumber"], 0)
	if err != nil {
		return err
	}
	until, err := eventNumber(params["eventsUntilNumber"], math.MaxInt64)
	if err != nil {
		return err
	}
	from, err := instant(params["eventsSinceInstant"])
	if err != nil {
		return err
	}
	to, err := instant(params["eventsUntilInstant"])
	if err != nil {
		return err
	}
	events, sockets, refused := s.on(c).Resend(c.Param("id"), func(e *fhir.Event) bool {
		return e.Number >= since && e.Number <= until &&
			!e.Timestamp.Before(from) && (to.IsZero() || !e.Timestamp.After(to))
	})
	if refused != nil {
		return refused
	}
	return s.outcome(c, http.StatusOK, []fhir.Issue{{Severity: "information", Code: "informational",
		Diagnostics: fmt.Sprintf("sent %d event(s) again to %d socket(s)", events, sockets)}})
}

func instant(given []fhir.Param) (time.Time, error) {
	switch len(given) {
	case 0:
		return time.Time{}, nil
	case 1:
	default:
		return time.Time{}, repeated(given)
	}
	at, err := time.Parse(time.RFC3339Nano, given[0].Value)
	if err != nil {
		return time.Time{}, fhir.Refuse(http.StatusBadRequest, "value", "%s: got %q, expected an instant such as 2026-01-01T10:00:00Z", given[0].Name, given[0].Value).At(given[0].Expression)
	}
	return at, nil
}

func eventNumber(given []fhir.Param, fallback int64) (int64, error) {
	switch len(given) {
	case 0:
		return fallback, nil
	case 1:
	default:
		return 0, repeated(given)
	}
	n, err := strconv.ParseInt(given[0].Value, 10, 64)
	if err != nil || n < 0 {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "%s: got %q, expected a whole number from 0 on", given[0].Name, given[0].Value).At(given[0].Expression)
	}
	return n, nil
}

func repeated(given []fhir.Param) *fhir.Error {
	return fhir.Refuse(http.StatusBadRequest, "invalid", "%s is given %d times; at most once is possible", given[0].Name, len(given)).At(given[0].Expression)
}

// subscriptionIDs reads id parameters: bare, as Subscription/x or absolute
// (OP-10), each possibly a comma list (OP-5).
func subscriptionIDs(given []fhir.Param) ([]string, error) {
	var ids []string
	for _, p := range given {
		for value := range strings.SplitSeq(p.Value, ",") {
			id := strings.TrimSpace(value)
			if i := strings.LastIndex(id, "Subscription/"); i >= 0 {
				id = id[i+len("Subscription/"):]
			}
			if !fhir.IsID(id) {
				return nil, fhir.Refuse(http.StatusBadRequest, "value", "id: got %q, expected the id of a Subscription: 1 to 64 letters, digits, - or .", value).At(p.Expression)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func values(params []fhir.Param) []string {
	var list []string
	for _, p := range params {
		for value := range strings.SplitSeq(p.Value, ",") {
			list = append(list, value)
		}
	}
	return list
}

// parameters reads the in-parameters of an operation from the query and, on a
// POST, from the body (OP-4 to OP-10). Unknown ones are ignored, unless strict.
func (s *server) parameters(c echo.Context, known ...string) (map[string][]fhir.Param, error) {
	var all []fhir.Param
	query := c.QueryParams()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch name {
		case "_format", "_pretty", "_summary", "_elements":
			continue // OP-7
		}
		for _, value := range query[name] {
			all = append(all, fhir.Param{Name: name, Value: value, Expression: name})
		}
	}
	if c.Request().Method == http.MethodPost {
		data, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(data)) > 0 {
			if err := s.isJSONBody(c); err != nil {
				return nil, err
			}
			body, refused := fhir.Parse(data)
			if refused != nil {
				return nil, refused
			}
			in, refused := fhir.ReadParameters(body)
			if refused != nil {
				return nil, refused
			}
			all = append(all, in...)
		}
	}
	params := map[string][]fhir.Param{}
	for _, p := range all {
		if !slices.Contains(known, p.Name) && s.strict(c) {
			return nil, fhir.Refuse(http.StatusBadRequest, "not-supported", "the operation has no parameter %q; it has %s (OP-8)", p.Name, strings.Join(known, ", ")).At(p.Expression)
		}
		params[p.Name] = append(params[p.Name], p)
	}
	return params, nil
}
