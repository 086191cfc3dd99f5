// Package httpmock serves the control routes below /mock, with which a test or a demo
// controls and observes a room. Bodies are plain JSON, refusals are problem details (RFC
// 9457).
package httpmock

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
)

// Options are the settings of [Mock].
type Options struct {
	Releases []fhir.Release // offered
	Version  string         // of the server
	MaxBytes int64          // of the resources in a response
	Sockets  func(*room.Room) []socket.State
	Socket   func(r *room.Room, id string) *socket.Socket // nil: there is no such open socket
}

// Mock serves the control routes of a server.
type Mock struct{ options Options }

// New returns the control routes.
func New(o Options) *Mock { return &Mock{o} }

// writeRedacted is writeJSON for what may quote a client, and with it a token.
func writeRedacted(c echo.Context, body any) error {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return err
	}
	return writeJSON(c, json.RawMessage(httpedge.Room(c).Redact(data.Bytes())))
}

func writeJSON(c echo.Context, body any) error {
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", body)
}

// Trigger serves POST /mock/trigger: synthetic events for a topic or one
// subscription.
func (m *Mock) Trigger(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Topic        string          `json:"topic"`
		Subscription string          `json:"subscription"`
		Release      string          `json:"release"`
		Focus        json.RawMessage `json:"focus"`
		Reference    string          `json:"reference"`
		Interaction  string          `json:"interaction"`
		Count        *int            `json:"count"`
		Interval     string          `json:"interval"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
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
		Count:        1,
		Interval:     interval,
	}
	if in.Count != nil {
		t.Count = *in.Count
	}
	if in.Release != "" {
		r, ok := fhir.ParseRelease(in.Release)
		if !ok {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "release: got %q, expected one of %v", in.Release, m.options.Releases)
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
	done, refused := httpedge.Room(c).Trigger(c.Request().Context(), t)
	if refused != nil {
		return refused
	}
	return writeJSON(c, struct {
		Events    []room.Fired `json:"events"`
		Omitted   int          `json:"omitted,omitempty"`
		Scheduled int          `json:"scheduled,omitempty"`
	}{done.Events, done.Omitted, done.Scheduled})
}

// How long an await waits by default, and the bounds of its timeout.
const (
	awaitDefault = 10 * time.Second
	awaitLeast   = time.Millisecond
	awaitMost    = 5 * time.Minute
)

// awaited lists the types of notification that an await can wait for. The others are
// not sent to sockets.
var awaited = []fhir.NotificationType{fhir.Handshake, fhir.Heartbeat, fhir.EventNotification}

// seen is the tally that an await saw last.
type seen struct {
	Bound int            `json:"bound"`
	Sent  map[string]int `json:"sent"`
}

// awaitTimeout reads how long an await waits.
func awaitTimeout(text string) (time.Duration, error) {
	if text == "" {
		return awaitDefault, nil
	}
	d, err := duration("timeout", text)
	if err == nil && (d < awaitLeast || d > awaitMost) {
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time from 1ms to 5m", text).At("timeout")
	}
	return d, err
}

// Await serves POST /mock/await. It waits until sockets are bound or notifications were
// sent, so that no test has to sleep.
func (m *Mock) Await(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
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
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	timeout, err := awaitTimeout(in.Timeout)
	if err != nil {
		return err
	}
	var subscription, what string
	var met func(journal.Tally) bool
	switch {
	case (in.Bound == nil) == (in.Sent == nil):
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, `name one condition: "bound" or "sent"`)
	case in.Bound != nil:
		subscription = in.Bound.Subscription
		want := 1
		if in.Bound.Count != nil {
			want = *in.Bound.Count
		}
		if err := checkCount("bound.count", want); err != nil {
			return err
		}
		met = func(t journal.Tally) bool { return t.Bound >= want && (want > 0 || t.Bound == 0) }
		what = strconv.Itoa(want) + " bound socket(s)"
	default:
		subscription = in.Sent.Subscription
		want, kind := max(1, in.Sent.Count), in.Sent.Type
		if kind == "" {
			kind = string(fhir.EventNotification)
		}
		if !slices.Contains(awaited, fhir.NotificationType(kind)) {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected handshake, heartbeat or event-notification", kind).At("sent.type")
		}
		if err := checkCount("sent.count", in.Sent.Count); err != nil {
			return err
		}
		met = func(t journal.Tally) bool { return t.Sent[kind] >= want }
		what = strconv.Itoa(want) + " notification(s) of type " + kind
	}
	if _, err := httpedge.Room(c).Subscription(subscription); err != nil {
		return err
	}
	open, leave := whileOpen(c)
	defer leave()
	ctx, cancel := context.WithTimeout(open, timeout)
	defer cancel()
	tally, ok := httpedge.Room(c).Journal().Await(ctx, subscription, met)
	found := seen{tally.Bound, tally.Sent}
	if !ok && httpedge.Room(c).Context().Err() != nil {
		return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the room closed while this request waited for %s on Subscription/%s", what, subscription)
	}
	if !ok {
		refused := fhir.Refuse(http.StatusRequestTimeout, fhir.CodeTimeout, "waited %s for %s on Subscription/%s; seen instead: %d bound, sent %v", timeout, what, subscription, found.Bound, found.Sent)
		return httpedge.WriteProblem(c, refused, found)
	}
	return writeJSON(c, struct {
		Met  bool `json:"met"`
		Seen seen `json:"seen"`
	}{true, found})
}

// Reset serves POST /mock/reset, which takes the room back to its seed, or to nothing.
func (m *Mock) Reset(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Seed *string `json:"seed"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	reset := httpedge.Room(c).Reset
	if in.Seed != nil {
		if *in.Seed != "none" {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected \"none\"; without it the room gets its own seed back", *in.Seed).At("seed")
		}
		reset = httpedge.Room(c).Clear
	}
	if err := reset(); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
