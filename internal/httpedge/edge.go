// Package httpedge does what every request needs before its handler runs: it gives the path
// one form, enters the room, checks Host and Origin, applies limits, and writes the log and
// the journal. Afterwards it turns errors into responses.
//
// A route says what it needs with [Needs]. The edge reads those of the route that
// the router found, so nothing here knows an address.
package httpedge

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"signalfhir/internal/access"
	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// Needs says what the edge does for the requests of a route.
type Needs struct {
	Room     bool // the handler works in a room: the address exists in each of them
	FHIR     bool // the address is below a FHIR base
	Record   bool // the exchange goes to the journal of its room
	Waits    bool // the response may take long: the exchange is recorded after it, not before what it causes
	Acts     bool // the handler does something for a GET too: pages of other origins are refused
	OwnPages bool // pages of other origins may not read either; a link may lead here
	Problems bool // refusals are problem details (RFC 9457), not OperationOutcomes
	Open     bool // whoever has not signed in is served too
	Socket   bool // the request lasts as long as a socket, which has a log of its own
}

// Options are the settings of an [Edge].
type Options struct {
	Address      string        // http://host:port of the server as seen from this machine
	PublicURL    string        // root URL clients use, if it differs; no trailing slash
	Listen       string        // host:port the server was told to listen on
	AllowHost    []string      // further Hosts; "*" is any
	AllowOrigin  []string      // further origins of pages; "*" is any
	MaxBodyBytes int64         // of a request
	BodiesAtOnce int64         // bytes of the large bodies that are read and processed at a time; 64 MiB, and at least MaxBodyBytes
	ReadTimeout  time.Duration // that the server gives a client for a request; 0: none
	Gate         *access.Gate  // nil: everybody is let in
	Rooms        *room.Rooms
	Logger       *slog.Logger
	Counted      func(method string, status int) // called once per request
}

// Edge holds what the requests of one server have in common.
type Edge struct {
	options Options
	echo    *echo.Echo       // makes the contexts of areas
	needs   map[string]Needs // by the path of a route, as the router has it
	areas   *echo.Router     // finds the needs of addresses that are not a route
	bodies  *semaphore.Weighted
}

// New returns an edge for app, without routes.
func New(app *echo.Echo, o Options) *Edge {
	if o.Gate == nil {
		o.Gate = access.New("", "")
	}
	o.BodiesAtOnce = max(cmp.Or(o.BodiesAtOnce, 64<<20), o.MaxBodyBytes)
	return &Edge{options: o, echo: app, needs: map[string]Needs{}, areas: echo.NewRouter(app), bodies: semaphore.NewWeighted(o.BodiesAtOnce)}
}

// Declare says what the requests of a path need. The path is that of a route, or ends
// in /* and is an area: its needs are those of every address in it that is not a
// route. A path in a room is declared for the default room; the edge adds the others.
func (e *Edge) Declare(path string, n Needs) {
	paths := []string{path}
	if n.Room {
		paths = append(paths, InRoom(path))
	}
	for _, p := range paths {
		if _, known := e.needs[p]; !known {
			e.areas.Add(http.MethodGet, p, func(echo.Context) error { return nil })
		}
		e.needs[p] = n
	}
}

// InRoom returns the path of a route as it is in a room that is not the default one.
func InRoom(path string) string { return "/rooms/:room" + path }

// visit is what the edge knows of a request.
type visit struct {
	edge   *Edge
	needs  Needs
	routed bool            // the router found a route
	named  bool            // the address has the name of a room
	name   string          // the name; "" for the default room
	room   *room.Room      // nil if the route needs none, there is none of that name, or the client is locked out
	locked *access.Refusal // why the client is not let in; nil if it is
}

const visitKey = "visit"

func visitOf(c echo.Context) *visit {
	v, _ := c.Get(visitKey).(*visit)
	if v == nil {
		return &visit{}
	}
	return v
}

// Room returns the room a request is in. It is nil unless the route needs one.
func Room(c echo.Context) *room.Room { return visitOf(c).room }

// RoomOfSignIn returns the room that the address of a request names, also if the client was
// not let in: it has shown the secret since. It returns nil if there is none. The room is
// not closed as idle until leave is called.
func RoomOfSignIn(c echo.Context) (in *room.Room, leave func()) {
	v := visitOf(c)
	if v.room == nil && v.locked != nil && (!v.named || v.name != "") {
		if r, leave := v.edge.options.Rooms.Enter(v.name); r != nil {
			return r, leave
		}
	}
	return v.room, func() {}
}

// Stay keeps the room of a request from being closed as idle until leave is called, which may
// be after the request.
func Stay(c echo.Context) (leave func()) {
	v := visitOf(c)
	switch in, leave := v.edge.options.Rooms.Enter(v.name); in {
	case v.room:
		return leave
	case nil: // the room was deleted
	default: // and another has its name
		leave()
	}
	return func() {}
}

// NeedsOf returns what the route of a request needs.
func NeedsOf(c echo.Context) Needs { return visitOf(c).needs }

// Routed reports whether the router found a route for a request, perhaps for other
// methods only.
func Routed(c echo.Context) bool { return visitOf(c).routed }

// Root returns the URL the client of a request reaches its room at, without a trailing
// slash. Everything in the room has an address below it. What a proxy says of the
// host is believed only from a peer on this machine or network.
func Root(c echo.Context) string {
	return visitOf(c).edge.Root(c) + Path(c)
}

// Path returns the path below which the addresses of the room of a request are: "" for
// the default room.
func Path(c echo.Context) string { return room.Path(visitOf(c).name) }

// Root returns the URL the client of a request reaches the server at, without a
// trailing slash.
func (e *Edge) Root(c echo.Context) string {
	if e.options.PublicURL != "" {
		return e.options.PublicURL
	}
	host := c.Request().Host
	if peer := net.ParseIP(c.RealIP()); peer != nil && (peer.IsLoopback() || peer.IsPrivate()) {
		forwarded, _, _ := strings.Cut(c.Request().Header.Get("X-Forwarded-Host"), ",")
		if forwarded = strings.TrimSpace(forwarded); hostPattern.MatchString(forwarded) {
			host = forwarded
		}
	}
	return c.Scheme() + "://" + host
}

// hostPattern is a host with or without a port, as in an address.
var hostPattern = regexp.MustCompile(`^([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// SocketURL returns the address of the sockets of a room. root is the URL of the room.
func SocketURL(root string) string { return "ws" + strings.TrimPrefix(root, "http") + "/ws" }

// Bases returns the URLs of the FHIR bases of a room by release. root is the URL of the
// room.
func Bases(root string, releases []fhir.Release) map[string]string {
	bases := map[string]string{}
	for _, r := range releases {
		bases[string(r)] = root + "/fhir/" + string(r)
	}
	return bases
}

// ServerRoot returns the URL the client of a request reaches the server at, without a
// trailing slash.
func ServerRoot(c echo.Context) string { return visitOf(c).edge.Root(c) }

// Enter finds out what a request needs and which room it is in. It refuses nothing:
// what follows logs and records the refusal. Who is not let in enters no room: it neither
// keeps one open nor fills its journal, nor learns whether there is one.
func (e *Edge) Enter(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		v := &visit{edge: e}
		c.Set(visitKey, v)
		path := c.Path()
		if v.needs, v.routed = e.needs[path]; !v.routed {
			area := e.echo.NewContext(nil, nil)
			e.areas.Find(http.MethodGet, c.Request().URL.Path, area)
			path = area.Path()
			v.needs = e.needs[path]
		}
		writeRelease(c.Request(), path)
		own := insideOf(c.Request()).room
		if own == nil {
			v.locked = e.options.Gate.Admit(c.Request(), e.trustsPage)
		}
		if !v.needs.Room {
			return next(c)
		}
		// Not by a parameter of the context: it has none if the method is not allowed.
		v.name, v.named = segment(path, c.Request().URL.Path, ":room")
		if own != nil { // perhaps another has its name by now
			v.room = own
			return next(c)
		}
		if v.named && v.name == "" || v.locked != nil {
			return next(c)
		}
		r, leave := e.options.Rooms.Enter(v.name)
		if r == nil {
			return next(c)
		}
		defer leave()
		v.room = r
		if !v.needs.Problems && !v.needs.Socket && r.Faults().DelayRequests() {
			ctx, over := fault.WithStay(c.Request().Context())
			defer over() // when the journal has the exchange
			c.SetRequest(c.Request().WithContext(ctx))
		}
		return next(c)
	}
}

// NeedRoom refuses a request in a room that does not exist. In a room on a manual clock, a
// request comes after what those before it began.
func (e *Edge) NeedRoom(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if v := visitOf(c); v.needs.Room && v.room == nil && v.locked == nil {
			return room.NoRoom(v.name)
		} else if v.room != nil && v.needs.Room && !v.needs.Open {
			v.room.AwaitHeld(c.Request().Context())
		}
		return next(c)
	}
}

// writeRelease gives the release in the path of a request its one case, as in
// /fhir/R5. route is the path of the route.
func writeRelease(r *http.Request, route string) {
	written, _ := segment(route, r.URL.Path, ":release")
	if release, known := fhir.ParseRelease(written); known && written != string(release) {
		segments := strings.Split(r.URL.Path, "/")
		segments[slices.Index(strings.Split(route, "/"), ":release")] = string(release)
		r.URL.Path = strings.Join(segments, "/")
	}
}

// segment returns the segment of a path at the position of a parameter of its route. It returns false if the route has no such parameter.
func segment(route, path, parameter string) (string, bool) {
	at := slices.Index(strings.Split(route, "/"), parameter)
	segments := strings.Split(path, "/")
	if at < 0 || at >= len(segments) {
		return "", false
	}
	return segments[at], true
}
