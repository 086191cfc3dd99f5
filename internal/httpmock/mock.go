// Package httpmock serves the control routes below /mock, with which a test or a demo
// controls and observes a room. Bodies are plain JSON, refusals are problem details (RFC
// 9457).
package httpmock

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
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
	Serve    func(http.ResponseWriter, *http.Request)     // serves a request of a scenario
}

// Mock serves the control routes of a server.
type Mock struct{ options Options }

// New returns the control routes.
func New(o Options) *Mock { return &Mock{o} }

// writeRedacted is writeJSON for what may quote a client, and with it a token.
func writeRedacted(c echo.Context, body any) error { return writeRedactedAs(c, http.StatusOK, body) }

func writeRedactedAs(c echo.Context, status int, body any) error {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return err
	}
	return httpedge.WriteJSON(c, status, "application/json", json.RawMessage(httpedge.Room(c).Redact(data.Bytes())))
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
