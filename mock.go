package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
	"signalfhir/internal/synth"
)

// The control routes below /mock: what a test or a demo steers the server with.
// They speak plain JSON and refuse with problem details (RFC 9457).

// problem answers a refusal as application/problem+json. seen, where not nil,
// is what was found instead.
func problem(c echo.Context, refused *fhir.Error, seen any) error {
	type issue struct {
		Code       string   `json:"code"`
		Detail     string   `json:"detail"`
		Expression []string `json:"expression,omitempty"`
	}
	body := struct {
		Type   string  `json:"type"`
		Title  string  `json:"title"`
		Status int     `json:"status"`
		Detail string  `json:"detail"`
		Issues []issue `json:"issues,omitempty"`
		Seen   any     `json:"seen,omitempty"`
	}{"about:blank", http.StatusText(refused.Status), refused.Status, refused.Error(), nil, seen}
	for _, i := range refused.Issues {
		body.Issues = append(body.Issues, issue{i.Code, i.Diagnostics, i.Expression})
	}
	return httpedge.WriteJSON(c, refused.Status, "application/problem+json", body)
}

func answerJSON(c echo.Context, body any) error {
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", body)
}

// control reads the JSON body of a control route strictly, so that a misspelt
// member is told and not ignored.
func control(c echo.Context, into any) error {
	decoder := json.NewDecoder(c.Request().Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == io.EOF { //nolint:errorlint // Decode answers io.EOF itself for an empty body
		return nil
	}
	if err == nil && decoder.More() {
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body has more than one JSON value")
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body is a JSON %s, expected an object", wrong.Value)
	}
	if wrong != nil {
		return fhir.Refuse(http.StatusBadRequest, "value", "got a JSON %s, expected %s", wrong.Value, inWords(wrong.Type)).At(wrong.Field)
	}
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return tooLarge(tooBig.Limit)
		}
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body could not be read: %v", err)
	}
	return nil
}

// inWords is what a member of a type is written as.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	default:
		return "an object"
	}
}

// duration reads a time such as "250ms" or "5s", the value of a member; "" is
// none.
func duration(member, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected a time such as 250ms or 5s", text).At(member)
	}
	return d, nil
}

// trigger answers POST /mock/trigger: synthetic events for a topic or one
// subscription.
func (s *server) trigger(c echo.Context) error {
	var in struct {
		Topic        string          `json:"topic"`
		Subscription string          `json:"subscription"`
		Release      string          `json:"release"`
		Focus        json.RawMessage `json:"focus"`
		Reference    string          `json:"reference"`
		Interaction  string          `json:"interaction"`
		Count        int             `json:"count"`
		Interval     string          `json:"interval"`
	}
	if err := control(c, &in); err != nil {
		return err
	}
	interval, err := duration("interval", in.Interval)
	if err != nil {
		return err
	}
	t := room.Trigger{
		Topic:        in.Topic,
		Subscription: in.Subscription,
		Reference:    in.Reference,
		Interaction:  in.Interaction,
		Count:        in.Count,
		Interval:     interval,
	}
	if in.Release != "" {
		r, ok := fhir.ParseRelease(in.Release)
		if !ok {
			return fhir.Refuse(http.StatusBadRequest, "code-invalid", "release: got %q, expected one of %v", in.Release, s.options.Releases())
		}
		t.Release = r
	}
	if len(in.Focus) > 0 {
		focus, refused := fhir.Parse(in.Focus)
		if refused != nil {
			return refused
		}
		t.Focus = focus
	}
	fired, scheduled, refused := s.room.Trigger(t)
	if refused != nil {
		return refused
	}
	return answerJSON(c, struct {
		Events    []room.Fired `json:"events"`
		Scheduled int          `json:"scheduled,omitempty"`
	}{fired, scheduled})
}

// How long an await waits where it does not say, and at most.
const (
	awaitDefault = 10 * time.Second
	awaitMost    = 5 * time.Minute
)

// seen is what an await found.
type seen struct {
	Bound int            `json:"bound"`
	Sent  map[string]int `json:"sent"`
}

// await answers POST /mock/await: it holds the answer until sockets are bound
// or notifications were sent, so that no test has to sleep.
func (s *server) await(c echo.Context) error {
	var in struct {
		Bound *struct {
			Subscription string `json:"subscription"`
			Count        *int   `json:"count"`
		} `json:"bound"`
		Sent *struct {
			Subscription string `json:"subscription"`
			Type         string `json:"type"`
			Count        int    `json:"count"`
		} `json:"sent"`
		Timeout string `json:"timeout"`
	}
	if err := control(c, &in); err != nil {
		return err
	}
	timeout, err := duration("timeout", in.Timeout)
	if err != nil {
		return err
	}
	var subscription, what string
	var met func(journal.Tally) bool
	switch {
	case (in.Bound == nil) == (in.Sent == nil):
		return fhir.Refuse(http.StatusBadRequest, "required", `name one condition: "bound" or "sent"`)
	case in.Bound != nil:
		subscription = in.Bound.Subscription
		want := 1
		if in.Bound.Count != nil {
			want = *in.Bound.Count
		}
		met = func(t journal.Tally) bool { return t.Bound >= want && (want > 0 || t.Bound == 0) }
		what = strconv.Itoa(want) + " bound socket(s)"
	default:
		subscription = in.Sent.Subscription
		want, kind := max(1, in.Sent.Count), in.Sent.Type
		if kind == "" {
			kind = string(fhir.EventNotification)
		}
		met = func(t journal.Tally) bool { return t.Sent[kind] >= want }
		what = strconv.Itoa(want) + " notification(s) of type " + kind
	}
	if _, err := s.room.Subscription(subscription); err != nil {
		return err
	}
	if timeout <= 0 {
		timeout = awaitDefault
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), min(timeout, awaitMost))
	defer cancel()
	tally, ok := s.room.Journal().Await(ctx, subscription, met)
	found := seen{tally.Bound, tally.Sent}
	if !ok {
		refused := fhir.Refuse(http.StatusRequestTimeout, "timeout", "waited %s for %s on Subscription/%s; seen instead: %d bound, sent %v", min(timeout, awaitMost), what, subscription, found.Bound, found.Sent)
		return problem(c, refused, found)
	}
	return answerJSON(c, struct {
		Met  bool `json:"met"`
		Seen seen `json:"seen"`
	}{true, found})
}

// reset answers POST /mock/reset: back to the seed.
func (s *server) reset(c echo.Context) error {
	if err := s.room.Reset(); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// generators answers GET /mock/generators.
func (s *server) generators(c echo.Context) error {
	return answerJSON(c, struct {
		Generators []synth.State `json:"generators"`
		Scenarios  []string      `json:"scenarios"`
	}{s.room.Generators().List(), synth.Scenarios()})
}

// addGenerator answers POST /mock/generators.
func (s *server) addGenerator(c echo.Context) error {
	var spec synth.Spec
	if err := control(c, &spec); err != nil {
		return err
	}
	if err := s.room.Generators().Add(spec); err != nil {
		return err
	}
	return s.generator(c, http.StatusCreated, spec.Name)
}

// changeGenerator answers PATCH /mock/generators/[name] with another rate.
func (s *server) changeGenerator(c echo.Context) error {
	var in struct {
		Rate string `json:"rate"`
	}
	if err := control(c, &in); err != nil {
		return err
	}
	if err := s.room.Generators().SetRate(c.Param("name"), in.Rate); err != nil {
		return err
	}
	return s.generator(c, http.StatusOK, c.Param("name"))
}

// removeGenerator answers DELETE /mock/generators/[name].
func (s *server) removeGenerator(c echo.Context) error {
	if err := s.room.Generators().Remove(c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// startGenerator answers POST /mock/generators/[name]/start.
func (s *server) startGenerator(c echo.Context) error {
	if err := s.room.Generators().Start(c.Param("name")); err != nil {
		return err
	}
	return s.generator(c, http.StatusOK, c.Param("name"))
}

// stopGenerator answers POST /mock/generators/[name]/stop.
func (s *server) stopGenerator(c echo.Context) error {
	if err := s.room.Generators().Stop(c.Param("name")); err != nil {
		return err
	}
	return s.generator(c, http.StatusOK, c.Param("name"))
}

// stepGenerator answers POST /mock/generators/[name]/step: some writes at once.
func (s *server) stepGenerator(c echo.Context) error {
	in := struct {
		Count int `json:"count"`
	}{1}
	if err := control(c, &in); err != nil {
		return err
	}
	if err := s.room.Generators().Step(c.Param("name"), in.Count); err != nil {
		return err
	}
	return s.generator(c, http.StatusOK, c.Param("name"))
}

func (s *server) generator(c echo.Context, status int, name string) error {
	for _, state := range s.room.Generators().List() {
		if state.Name == name {
			return httpedge.WriteJSON(c, status, "application/json", state)
		}
	}
	return fhir.Refuse(http.StatusNotFound, "not-found", "there is no generator %q", name)
}

// healthz tells that the process runs.
func (s *server) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz tells that requests are served; 503 while starting and stopping.
func (s *server) readyz(c echo.Context) error {
	if !s.live.Load() {
		return c.String(http.StatusServiceUnavailable, "stopping\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// sockets answers GET /mock/sockets.
func (s *server) sockets(c echo.Context) error {
	return answerJSON(c, struct {
		Sockets []socket.State `json:"sockets"`
	}{s.hub.sockets(s.room)})
}

// subscriptions answers GET /mock/subscriptions: what the server knows of each
// beyond its resource.
func (s *server) subscriptions(c echo.Context) error {
	return answerJSON(c, struct {
		Subscriptions []room.SubscriptionState `json:"subscriptions"`
	}{s.room.Subscriptions()})
}

// tokens answers GET /mock/tokens (OPW-18). Showing secrets is what a mock is
// for; the routes are closed to foreign pages.
func (s *server) tokens(c echo.Context) error {
	return answerJSON(c, struct {
		Tokens []room.TokenState `json:"tokens"`
	}{s.room.Tokens()})
}

// revokeToken answers DELETE /mock/tokens/[token] (WS-35).
func (s *server) revokeToken(c echo.Context) error {
	if !s.room.Revoke(c.Param("token")) {
		return fhir.Refuse(http.StatusNotFound, "not-found", "there is no such token")
	}
	return c.NoContent(http.StatusNoContent)
}
