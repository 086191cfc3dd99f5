package main

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/explain"
	"signalfhir/internal/fhir"
)

// "Why was I not notified?"

// explain answers POST /mock/explain: what a change would do. Nothing is stored.
func (s *server) explain(c echo.Context) error {
	var in struct {
		Release      string          `json:"release"`
		Subscription string          `json:"subscription"`
		Previous     json.RawMessage `json:"previous"`
		Current      json.RawMessage `json:"current"`
	}
	if err := control(c, &in); err != nil {
		return err
	}
	if err := onlyParameters(c, "format"); err != nil {
		return err
	}
	base := s.room.Base(s.options.Releases()[0])
	if res, err := s.room.Subscription(in.Subscription); err == nil {
		base = s.room.Base(res.Release)
	}
	if in.Release != "" {
		release, _ := fhir.ParseRelease(in.Release)
		if base = s.room.Base(release); base == nil {
			return fhir.Refuse(http.StatusBadRequest, "code-invalid", "got %q, expected one of %v", in.Release, s.options.Releases()).At("release")
		}
	}
	var states [2]*fhir.Object
	for i, data := range []json.RawMessage{in.Previous, in.Current} {
		if len(data) == 0 || string(data) == "null" {
			continue
		}
		var refused *fhir.Error
		if states[i], refused = fhir.Parse(data); refused != nil {
			return refused
		}
	}
	explanation, refused := explain.Change(base, states[0], states[1], in.Subscription)
	if refused != nil {
		return refused
	}
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, explanation.String())
	}
	return answerJSON(c, explanation)
}

// wantsText tells whether the answer is to be read in a terminal.
func wantsText(c echo.Context) (bool, error) {
	switch format := c.QueryParam("format"); format {
	case "", "json":
		return false, nil
	case "text":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, "value", "format: got %q, expected json or text", format)
	}
}

func orText(c echo.Context, err error, text string) error {
	if err != nil {
		return err
	}
	return c.String(http.StatusOK, text)
}

// explained answers GET /mock/explain: what the changes and triggers of a
// resource led to, or of every resource, for a subscription or all of them, or the
// one a journal entry belongs to; as far as the journal goes back, the newest last.
func (s *server) explained(c echo.Context) error {
	if err := onlyParameters(c, "resource", "subscription", "seq", "format"); err != nil {
		return err
	}
	seq, err := eventNumber(given(c, "seq"), 0)
	if err != nil {
		return err
	}
	about := explain.About{Resource: c.QueryParam("resource"), Subscription: c.QueryParam("subscription"), Seq: uint64(seq)}
	if about == (explain.About{}) {
		return fhir.Refuse(http.StatusBadRequest, "required", "name a resource (Encounter/1), a subscription (its id), both, or an entry of the journal (seq)")
	}
	changes := explain.Happened(s.room, about)
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, changes.String())
	}
	return answerJSON(c, struct {
		Changes explain.Happenings `json:"changes"`
	}{changes})
}
