package httpmock

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
)

// How long a move of the clock takes at most by default, and the bounds of its timeout, in
// real time.
const (
	moveDefault = 10 * time.Second
	moveLeast   = time.Millisecond
	moveMost    = 5 * time.Minute
)

// Clock serves GET /mock/clock: what the clock of the room shows, and what is due.
func (m *Mock) Clock(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeJSON(c, httpedge.Room(c).ClockDetail())
}

// SetClock serves PUT /mock/clock, which makes the clock manual or real, and sets it.
func (m *Mock) SetClock(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Mode    string `json:"mode"`
		Now     string `json:"now"`
		Timeout string `json:"timeout"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	timeout, err := moveTimeout(in.Timeout)
	if err != nil {
		return err
	}
	now, err := moment("now", in.Now)
	if err != nil {
		return err
	}
	var moved *room.ClockMove
	switch {
	case in.Mode == room.ManualClock:
		moved, err = httpedge.Room(c).SetClock(c.Request().Context(), now, timeout)
	case in.Mode == room.RealClock && in.Now == "":
		moved, err = httpedge.Room(c).SetRealClock(c.Request().Context(), timeout)
	case in.Mode == room.RealClock:
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, `a real clock shows the time of the machine; leave "now" out, or set the mode to "manual"`).At("now")
	default:
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, `got %q, expected "manual" or "real"`, in.Mode).At("mode")
	}
	if err != nil {
		return err
	}
	return writeJSON(c, moved)
}

// AdvanceClock serves POST /mock/clock/advance, which lets time pass on a manual clock.
func (m *Mock) AdvanceClock(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		By      string `json:"by"`
		To      string `json:"to"`
		Timeout string `json:"timeout"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if (in.By == "") == (in.To == "") {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, `give either "by", a time such as "31m", or "to", a time of day such as "2026-01-01T08:00:00Z"`)
	}
	timeout, err := moveTimeout(in.Timeout)
	if err != nil {
		return err
	}
	by, err := duration("by", in.By)
	if err != nil {
		return err
	}
	to, err := moment("to", in.To)
	if err != nil {
		return err
	}
	moved, err := httpedge.Room(c).AdvanceClock(c.Request().Context(), by, to, timeout)
	if err != nil {
		return err
	}
	return writeJSON(c, moved)
}

func moveTimeout(text string) (time.Duration, error) {
	if text == "" {
		return moveDefault, nil
	}
	d, err := duration("timeout", text)
	if err == nil && (d < moveLeast || d > moveMost) {
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time from 1ms to 5m", text).At("timeout")
	}
	return d, err
}

// moment parses the value of a member, a time that a clock can show. It returns the zero
// time for "".
func moment(member, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := room.ParseTime(text)
	return t, fhir.At(err, member)
}
