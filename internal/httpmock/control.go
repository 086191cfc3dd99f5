package httpmock

import (
	"encoding/json"
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
	"signalfhir/internal/subscription"
)

// socket returns the open socket that a request names.
func (m *Mock) socket(c echo.Context) (*socket.Socket, error) {
	if s := m.options.Socket(httpedge.Room(c), c.Param("socket")); s != nil {
		return s, nil
	}
	return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no open socket %q; GET /mock/sockets lists them", c.Param("socket"))
}

// CloseSocket serves DELETE /mock/sockets/[id]: it closes a socket with a code and a
// reason, or cuts its connection.
func (m *Mock) CloseSocket(c echo.Context) error {
	if err := httpedge.NoBody(c, "code", "reason", "cut"); err != nil {
		return err
	}
	const normal = 1000
	code, err := wholeNumber(c, "code", normal, 4999, normal)
	if err != nil {
		return err
	}
	cut, err := isSet(c, "cut")
	if err != nil {
		return err
	}
	if cut && (c.QueryParams().Has("code") || c.QueryParams().Has("reason")) {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "a connection that is cut has no close frame, so it takes neither code nor reason").At("cut")
	}
	s, err := m.socket(c)
	if err != nil {
		return err
	}
	if cut {
		s.CutOff()
	} else if err := s.CloseWith(code, c.QueryParam("reason")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// SendFrames serves POST /mock/sockets/[id]/frames: it sends texts as they are.
func (m *Mock) SendFrames(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Text  *string  `json:"text"`
		Texts []string `json:"texts"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if (in.Text == nil) == (len(in.Texts) == 0) {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, `give the frame as "text", or several as "texts"`)
	}
	if in.Text != nil {
		in.Texts = []string{*in.Text}
	}
	s, err := m.socket(c)
	if err != nil {
		return err
	}
	if err := s.SendText(in.Texts...); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// DeleteTopic serves DELETE /mock/subscriptions/[id]/topic.
func (m *Mock) DeleteTopic(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).DeleteTopic(c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// Notify serves POST /mock/subscriptions/[id]/notifications: a handshake, a heartbeat or a
// hand-made bundle, now.
func (m *Mock) Notify(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Type   string          `json:"type"`
		Bundle json.RawMessage `json:"bundle"`
		Socket string          `json:"socket"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	var done room.Notified
	var err error
	switch r := httpedge.Room(c); {
	case (in.Type == "") == (in.Bundle == nil):
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, `give either a type, "handshake" or "heartbeat", or a bundle`)
	case in.Bundle != nil:
		done, err = r.SendText(c.Param("id"), in.Bundle, in.Socket)
	default:
		done, err = r.Notify(c.Param("id"), in.Type, in.Socket)
	}
	if err != nil {
		return err
	}
	return writeJSON(c, done)
}

// ChangeSubscription serves PATCH /mock/subscriptions/[id].
func (m *Mock) ChangeSubscription(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Status *string `json:"status"`
		Error  *struct {
			Code string `json:"code"`
			Text string `json:"text"`
		} `json:"error"`
		Counter *int64          `json:"counter"`
		Replay  json.RawMessage `json:"replay"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	change := room.SubscriptionChange{Counter: in.Counter}
	if in.Status != nil {
		if change.Status = *in.Status; change.Status == "" {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected active, error or off", "").At("status")
		}
	}
	if in.Error != nil {
		change.Error = &fhir.SubscriptionError{Code: in.Error.Code, Text: in.Error.Text}
	}
	if in.Replay != nil {
		policy, err := readReplay(in.Replay)
		if err != nil {
			return err
		}
		change.Replay = &policy
	}
	if in.Status == nil && in.Error == nil && in.Counter == nil && in.Replay == nil {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "nothing to change; give a status, a counter or a replay")
	}
	state, err := httpedge.Room(c).ChangeSubscription(c.Param("id"), change)
	if err != nil {
		return err
	}
	return writeRedacted(c, state)
}

// readReplay reads a policy of replays, or null.
func readReplay(data json.RawMessage) (*subscription.Replay, error) {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "expected a string or null").At("replay")
	}
	if text == nil {
		return nil, nil
	}
	policy, err := subscription.ParseReplay(*text)
	return &policy, fhir.At(err, "replay")
}

// Settings serves GET /mock/settings.
func (m *Mock) Settings(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeJSON(c, httpedge.Room(c).Settings())
}

// SetSettings serves PUT /mock/settings. What is left out gets its default.
func (m *Mock) SetSettings(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in room.Settings
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if err := httpedge.Room(c).SetSettings(in); err != nil {
		return err
	}
	return writeJSON(c, httpedge.Room(c).Settings())
}

// ExpireToken serves POST /mock/tokens/[token]/expire.
func (m *Mock) ExpireToken(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).ExpireToken(c.Param("token")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// users is the body of /mock/users.
type users struct {
	Users []room.User `json:"users"`
}

// Users serves GET /mock/users.
func (m *Mock) Users(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeJSON(c, users{httpedge.Room(c).Users()})
}

// SetUsers serves PUT /mock/users: who signs in, by client id.
func (m *Mock) SetUsers(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in users
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if in.Users == nil {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "give the list of users; an empty one makes everybody the same person").At("users")
	}
	if err := httpedge.Room(c).SetUsers(in.Users); err != nil {
		return err
	}
	return writeJSON(c, users{httpedge.Room(c).Users()})
}
