// Package httprooms serves the routes that open, list and close rooms.
package httprooms

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/manners"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

// Options are the settings of [Rooms].
type Options struct {
	Rooms   *room.Rooms
	Root    func(echo.Context) string // URL of the server, no trailing slash
	Builtin func() (*seed.Seed, error)
	Default *seed.Seed // content of a room whose body names no seed; nil: none
	// Open makes a room. path is that of its addresses.
	Open func(path string, content *seed.Seed, begin Begin) (*room.Room, error)
	// Ready describes the addresses of a room whose URL is root.
	Ready func(root string) Ready
}

// Begin says how a room begins, besides its content.
type Begin struct {
	Random     *uint64        // seeds its random source, unless it is nil
	Clock      time.Time      // what its clock shows, which is manual; zero: it is real
	Generators string         // "on" or "off": those of its seed start by themselves; "": as the server says
	Settings   room.Settings  // how it treats its subscriptions
	Manners    manners.Choice // of a real server
}

// Ready has the addresses that a client needs to use a room, or the default room.
type Ready struct {
	Name    string            `json:"name,omitempty"` // of a room
	URL     string            `json:"url"`
	FHIR    map[string]string `json:"fhir"` // bases by release
	WS      string            `json:"ws"`
	PID     int               `json:"pid"`
	Version string            `json:"version"`
}

// Rooms serves the routes below /rooms.
type Rooms struct{ options Options }

// New returns the routes of a registry of rooms.
func New(o Options) *Rooms { return &Rooms{o} }

// settings is the body of a PUT.
type settings struct {
	Seed   json.RawMessage `json:"seed,omitempty"`   // "builtin", "none" or a seed
	Random *uint64         `json:"random,omitempty"` // seeds the random source
	Clock  string          `json:"clock,omitempty"`  // a time: a manual clock shows it

	Generators string          `json:"generators,omitempty"` // "on" or "off": those of the seed start by themselves
	Settings   *room.Settings  `json:"settings,omitempty"`   // with which it begins
	Manners    *manners.Choice `json:"manners,omitempty"`    // likewise
}

// Put serves PUT /rooms/[name]: it opens a room.
func (r *Rooms) Put(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	name := c.Param("name")
	var in settings
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if in.Generators != "" && in.Generators != "on" && in.Generators != "off" {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected on or off; without it the room does as the server does (--generators)", in.Generators).At("generators")
	}
	if in.Manners != nil {
		if _, err := in.Manners.Resolve(); err != nil {
			for _, issue := range fhir.IssuesOf(err) {
				issue.Expression[0] = "manners." + issue.Expression[0]
			}
			return err
		}
	}
	if string(in.Seed) == "null" {
		in.Seed = nil
	}
	begin := Begin{Random: in.Random, Generators: in.Generators}
	if in.Settings != nil {
		begin.Settings = *in.Settings
	}
	if in.Manners != nil {
		begin.Manners = *in.Manners
	}
	if in.Clock != "" {
		var err error
		if begin.Clock, err = room.ParseTime(in.Clock); err != nil {
			return fhir.At(err, "clock")
		}
	}
	canonical, err := json.Marshal(in) // compact; the members of the seed keep their order
	if err != nil {
		return err
	}
	info, created, err := r.options.Rooms.Put(name, string(canonical), func() (*room.Room, error) {
		content, err := r.seed(in.Seed)
		if err != nil {
			return nil, err
		}
		return r.options.Open(room.Path(name), content, begin)
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		c.Response().Header().Set("Location", r.options.Root(c)+room.Path(name))
	}
	return httpedge.WriteJSON(c, status, "application/json", r.ready(c, info))
}

// seed returns the content of a room when it opens.
func (r *Rooms) seed(body json.RawMessage) (*seed.Seed, error) {
	switch string(bytes.TrimSpace(body)) {
	case "":
		return r.options.Default, nil
	case `"builtin"`:
		return r.options.Builtin()
	case `"none"`:
		return nil, nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte(`"`)) {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %s, expected \"builtin\", \"none\" or an object such as a seed file has", body).At("seed")
	}
	return seed.Read(body)
}

func (r *Rooms) ready(c echo.Context, info room.Info) Ready {
	ready := r.options.Ready(r.options.Root(c) + room.Path(info.Name))
	ready.Name = info.Name
	return ready
}

// Get serves GET /rooms/[name].
func (r *Rooms) Get(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	info, err := r.options.Rooms.Get(c.Param("name"))
	if err != nil {
		return err
	}
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", r.ready(c, info))
}

// List serves GET /rooms.
func (r *Rooms) List(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	type one struct {
		Ready
		Opened *time.Time `json:"opened,omitempty"`
		Busy   *int       `json:"busy,omitempty"` // requests, sockets and scenarios in it
	}
	list := []one{}
	for _, info := range r.options.Rooms.List() {
		o := one{Ready: r.ready(c, info)}
		if info.Name != room.DefaultName { // it is always open and not counted
			o.Opened, o.Busy = &info.Opened, &info.Busy
		}
		list = append(list, o)
	}
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", struct {
		Rooms []one `json:"rooms"`
	}{list})
}

// Delete serves DELETE /rooms/[name]: it closes a room and its sockets.
func (r *Rooms) Delete(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := r.options.Rooms.Delete(c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
