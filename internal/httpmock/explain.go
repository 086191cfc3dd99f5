package httpmock

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/budget"
	"signalfhir/internal/explain"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
)

// "Why was I not notified?"

// Explain serves POST /mock/explain: the effects that a change would have. It stores nothing.
func (m *Mock) Explain(c echo.Context) error {
	var in struct {
		Release      string          `json:"release"`
		Subscription string          `json:"subscription"`
		Previous     json.RawMessage `json:"previous"`
		Current      json.RawMessage `json:"current"`
	}
	if err := httpedge.OnlyParameters(c, "format"); err != nil {
		return err
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	base := httpedge.Room(c).Base(m.options.Releases[0])
	if res, err := httpedge.Room(c).Subscription(in.Subscription); err == nil {
		base = httpedge.Room(c).Base(res.Release)
	}
	if in.Release != "" {
		release, _ := fhir.ParseRelease(in.Release)
		if base = httpedge.Room(c).Base(release); base == nil {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected one of %v", in.Release, m.options.Releases).At("release")
		}
	}
	var states [2]*fhir.Object
	for i, data := range []json.RawMessage{in.Previous, in.Current} {
		if len(data) == 0 || string(data) == "null" {
			continue
		}
		var refused error
		if states[i], refused = fhir.Parse(data); refused != nil {
			return refused
		}
	}
	explanation, refused := explain.Change(base, states[0], states[1], in.Subscription, budget.New("explanation", budget.Request).Until(c.Request().Context()))
	if refused != nil {
		return refused
	}
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, explanation.String())
	}
	return writeRedacted(c, explanation)
}

// wantsText reports whether the response is text for a terminal.
func wantsText(c echo.Context) (bool, error) {
	switch format := c.QueryParam("format"); format {
	case "", "json":
		return false, nil
	case "text":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "format: got %q, expected json or text", format)
	}
}

func orText(c echo.Context, err error, text string) error {
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, echo.MIMETextPlainCharsetUTF8, httpedge.Room(c).Redact([]byte(text)))
}

// Explained serves GET /mock/explain: the effects of changes and triggers that the journal
// still has, the newest last. The parameters select those of a resource, those for a
// subscription, or the one that a journal entry belongs to.
func (m *Mock) Explained(c echo.Context) error {
	if err := httpedge.NoBody(c, "resource", "subscription", "seq", "format"); err != nil {
		return err
	}
	seq, err := sequenceNumber(c.QueryParam("seq"))
	if err != nil {
		return err
	}
	about := explain.About{Resource: c.QueryParam("resource"), Subscription: c.QueryParam("subscription"), Seq: seq}
	if about == (explain.About{}) {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "name a resource (Encounter/1), a subscription (its id), both, or an entry of the journal (seq)")
	}
	changes := explain.Happened(httpedge.Room(c), about, budget.New("explanation", budget.Request).Until(c.Request().Context()))
	if text, err := wantsText(c); text || err != nil {
		return orText(c, err, changes.String())
	}
	return writeRedacted(c, struct {
		Changes explain.Happenings `json:"changes"`
	}{changes})
}
