package main

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/httpfhir"
)

// bindingToken serves Subscription/$get-ws-binding-token at both levels.
func (s *server) bindingToken(r *httpfhir.Request) (*httpfhir.Response, error) {
	if r.Method == http.MethodGet && s.options.Strict {
		r.Out.Set("Allow", "POST")
		return nil, fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "the operation affects state, so with --strict it takes POST only (OP-3)")
	}
	drafts, refused := httpfhir.TokenManners(r)
	if refused != nil {
		return nil, refused
	}
	params, err := r.Params("id", "ids")
	if err != nil {
		return nil, err
	}
	if drafts {
		params["id"] = params["ids"] // it reads no other
	} else if old := params["ids"]; len(old) > 0 { // of drafts before 1.0, and of Argonaut's client
		if r.Strict {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the operation has no parameter \"ids\", which drafts had; it is called id (OPW-2)").At(old[0].Expression)
		}
		s.fhir.Lenient(r, `the parameter "ids" of old drafts was taken as "id"`)
		params["id"] = append(params["id"], old...)
	}
	var ids []string
	if r.ID != "" {
		ids = []string{r.ID} // OPW-4: ids in the parameters are ignored here
	} else if ids, err = params.SubscriptionIDs("id"); err != nil {
		return nil, err
	}
	spoil, refused := httpfhir.Misbehave(r, fault.TokenOperation, ids)
	if refused != nil {
		return nil, refused
	}
	issued, refused := r.Base.BindingToken(ids)
	if refused != nil {
		return nil, refused
	}
	return &httpfhir.Response{Status: http.StatusOK, Body: httpfhir.EncodeToken(r, issued, httpedge.SocketURL(r.Root), spoil)}, nil
}

// status serves Subscription/$status at both levels.
func (s *server) status(r *httpfhir.Request) (*httpfhir.Response, error) {
	params, err := r.Params("id", "status")
	if err != nil {
		return nil, err
	}
	self := r.URL + "/Subscription/$status"
	var statuses []*fhir.Notification
	if r.ID != "" {
		one, refused := r.Base.Status(r.ID)
		if refused != nil {
			return nil, refused
		}
		statuses = []*fhir.Notification{one}
		self = r.URL + "/Subscription/" + r.ID + "/$status"
	} else {
		ids, err := params.SubscriptionIDs("id")
		if err != nil {
			return nil, err
		}
		for _, p := range params["status"] {
			if !r.Release.IsSubscriptionStatus(p.Value) {
				return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "status: got %q, expected one of requested, active, error, off, entered-in-error", p.Value).At(p.Expression)
			}
		}
		statuses = r.Base.Statuses(ids, params.Values("status"))
		self = httpfhir.Link(self, r.Query)
	}
	return &httpfhir.Response{Status: http.StatusOK, Body: fhir.Whole(r.Release.EncodeStatusBundle(r.Room.NewID(), r.Room.Clock().Now(), self, statuses))}, nil
}

// events serves Subscription/[id]/$events.
func (s *server) events(r *httpfhir.Request) (*httpfhir.Response, error) {
	params, err := r.Params("eventsSinceNumber", "eventsUntilNumber", "content")
	if err != nil {
		return nil, err
	}
	since, err := params.Number("eventsSinceNumber", 0)
	if err != nil {
		return nil, err
	}
	until, err := params.Number("eventsUntilNumber", -1)
	if err != nil {
		return nil, err
	}
	content, err := params.Content("content")
	if err != nil {
		return nil, err
	}
	notification, more, refused := r.Base.Events(r.ID, since, until, content, r.Limit)
	if refused != nil {
		return nil, refused
	}
	if more {
		query := url.Values{"eventsSinceNumber": {strconv.FormatInt(notification.Events[len(notification.Events)-1].Number+1, 10)}}
		if until >= 0 {
			query.Set("eventsUntilNumber", strconv.FormatInt(until, 10))
		}
		if content != "" {
			query.Set("content", string(content))
		}
		r.Out.Set("Link", "<"+httpfhir.Link(r.URL+"/Subscription/"+r.ID+"/$events", query)+`>; rel="next"`)
	}
	return &httpfhir.Response{Status: http.StatusOK, Body: fhir.Whole(r.Release.EncodeNotification(notification))}, nil
}

// resend serves Subscription/[id]/$resend (3.6).
func (s *server) resend(r *httpfhir.Request) (*httpfhir.Response, error) {
	params, err := r.Params("eventsSinceNumber", "eventsUntilNumber", "eventsSinceInstant", "eventsUntilInstant")
	if err != nil {
		return nil, err
	}
	since, err := params.Number("eventsSinceNumber", 0)
	if err != nil {
		return nil, err
	}
	until, err := params.Number("eventsUntilNumber", math.MaxInt64)
	if err != nil {
		return nil, err
	}
	from, err := params.Instant("eventsSinceInstant")
	if err != nil {
		return nil, err
	}
	to, err := params.Instant("eventsUntilInstant")
	if err != nil {
		return nil, err
	}
	events, sockets, refused := r.Base.Resend(r.ID, func(e *fhir.Event) bool {
		return e.Number >= since && e.Number <= until &&
			!e.Timestamp.Before(from) && (to.IsZero() || !e.Timestamp.After(to))
	})
	if refused != nil {
		return nil, refused
	}
	return httpfhir.Outcome(http.StatusOK, []fhir.Issue{{Severity: "information", Code: fhir.CodeInformational,
		Diagnostics: fmt.Sprintf("sent %d event(s) again to %d socket(s)", events, sockets)}}), nil
}

// socket serves the upgrade to a WebSocket, and the socket until it closes.
func (s *server) socket(c echo.Context) error {
	if httpedge.IsHead(c) { // it asks what a GET would get, and opens no socket
		c.Request().Header.Del("Upgrade")
	}
	return s.hub.serve(c.Response(), c.Request(), httpedge.Room(c))
}

// healthz says that the process runs.
func (s *server) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz says that requests are served. It returns 503 while the server starts or stops.
func (s *server) readyz(c echo.Context) error {
	if !s.live.Load() {
		return c.String(http.StatusServiceUnavailable, "stopping\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
