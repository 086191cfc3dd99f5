package httpmock

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
)

// State serves GET /mock/state: the state of the room, as the page shows it.
func (m *Mock) State(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	root := httpedge.Root(c)
	sockets := m.options.Sockets(httpedge.Room(c))
	counts := httpedge.Room(c).Counts()
	return writeRedacted(c, struct {
		Instance string            `json:"instance"`
		Version  string            `json:"version"`
		URL      string            `json:"url"`
		FHIR     map[string]string `json:"fhir"`
		WS       string            `json:"ws"`
		Counts   map[string]int    `json:"counts"`
		Sockets  []socket.State    `json:"sockets"`
		*room.State
	}{
		httpedge.Room(c).Instance(), m.options.Version, root, httpedge.Bases(root, m.options.Releases), httpedge.SocketURL(root),
		map[string]int{"resources": counts.Resources, "subscriptions": counts.Subscriptions, "tokens": counts.Tokens, "sockets": len(sockets)},
		sockets, httpedge.Room(c).State(),
	})
}

// Sockets serves GET /mock/sockets.
func (m *Mock) Sockets(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeRedacted(c, struct {
		Sockets []socket.State `json:"sockets"`
	}{m.options.Sockets(httpedge.Room(c))})
}

// Subscriptions serves GET /mock/subscriptions: the state of each subscription that is not
// in its resource.
func (m *Mock) Subscriptions(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeRedacted(c, struct {
		Subscriptions []room.SubscriptionState `json:"subscriptions"`
	}{httpedge.Room(c).Subscriptions()})
}

// Tokens serves GET /mock/tokens (OPW-18). A development server may show secrets; pages of
// other origins may not use these routes.
func (m *Mock) Tokens(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeJSON(c, struct {
		Tokens []room.TokenState `json:"tokens"`
	}{httpedge.Room(c).Tokens()})
}

// RevokeToken serves DELETE /mock/tokens/[token] (WS-35).
func (m *Mock) RevokeToken(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Revoke(c.Param("token")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// maxFound bounds the resources of a response to GET /mock/resources.
const maxFound = 1000

// Resources serves GET /mock/resources: the resources of a type, including deleted ones, the
// latest change first.
func (m *Mock) Resources(c echo.Context) error {
	if err := httpedge.NoBody(c, "release", "type", "text", "offset", "limit"); err != nil {
		return err
	}
	b := httpedge.Room(c).Base(m.options.Releases[0])
	if name := c.QueryParam("release"); name != "" {
		r, ok := fhir.ParseRelease(name)
		if ok {
			b = httpedge.Room(c).Base(r)
		}
		if !ok || b == nil {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "release: got %q, expected one of %v", name, m.options.Releases)
		}
	}
	typ := c.QueryParam("type")
	if err := b.Stores(typ); err != nil {
		return err
	}
	offset, err := wholeNumber(c, "offset", 0, maxCount, 0)
	if err != nil {
		return err
	}
	limit, err := wholeNumber(c, "limit", 1, maxFound, 50)
	if err != nil {
		return err
	}
	type one struct {
		ID       string          `json:"id"`
		Version  string          `json:"version"`
		Updated  time.Time       `json:"updated"`
		Deleted  bool            `json:"deleted,omitempty"`
		Omitted  bool            `json:"omitted,omitempty"`
		Resource json.RawMessage `json:"resource,omitempty"`
	}
	found, total := b.Find(typ, c.QueryParam("text"), offset, limit)
	list := make([]one, len(found))
	left := m.options.MaxBytes
	for i, f := range found {
		list[i] = one{ID: f.ID, Version: f.VersionID, Updated: f.At, Deleted: f.Resource == nil}
		if f.Resource == nil {
			continue
		}
		if size := int64(len(f.Resource.JSON)); size <= left {
			left -= size
			list[i].Resource = f.Resource.JSON
		} else {
			list[i].Omitted = true
		}
	}
	return writeJSON(c, struct {
		Total     int   `json:"total"`
		Resources []one `json:"resources"`
	}{total, list})
}
