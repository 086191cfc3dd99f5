package main

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/access"
	"signalfhir/internal/clock"
	"signalfhir/internal/command"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/httpfhir"
	"signalfhir/internal/httpmock"
	"signalfhir/internal/httppage"
	"signalfhir/internal/httprooms"
	"signalfhir/internal/httpsignin"
	"signalfhir/internal/memory"
	"signalfhir/internal/metrics"
	"signalfhir/internal/random"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
	"signalfhir/internal/socket"
	"signalfhir/internal/token"
)

var (
	//go:embed seed.json
	builtinSeed []byte

	//go:embed web
	web embed.FS
)

// server is the Echo app with its rooms and the hub of their sockets.
type server struct {
	options *command.Serve
	log     *slog.Logger
	address string // http://host:port, or https, as seen from this machine
	echo    *echo.Echo
	gate    *access.Gate
	edge    *httpedge.Edge
	fhir    *httpfhir.FHIR
	rooms   *room.Rooms
	hub     *hub
	memory  *memory.Ceiling
	content *seed.Seed // what the default room holds at the start, and others unless they name another
	metrics *metrics.Metrics
	table   []route
	live    atomic.Bool // requests are served; false again while stopping
}

// route is one row of the table of routes.
type route struct {
	method, path string
	needs        httpedge.Needs
	handle       echo.HandlerFunc
}

// What the routes need.
var (
	process  = httpedge.Needs{}
	health   = httpedge.Needs{Open: true}
	page     = httpedge.Needs{Room: true, Open: true}
	signedIn = httpedge.Needs{Room: true}
	upgrade  = httpedge.Needs{Room: true, Acts: true, Socket: true}
	base     = httpedge.Needs{Room: true, FHIR: true, Record: true}
	acting   = httpedge.Needs{Room: true, FHIR: true, Record: true, Acts: true}
	control  = httpedge.Needs{Room: true, OwnPages: true, Problems: true, Record: true}
	waiting  = httpedge.Needs{Room: true, OwnPages: true, Problems: true, Record: true, Waits: true}
	observed = httpedge.Needs{Room: true, OwnPages: true, Problems: true} // not recorded: a page that shows the journal would fill it
	house    = httpedge.Needs{OwnPages: true, Problems: true}
)

// routes is everything the server serves. A route that needs a room is also served in
// each room, below /rooms/:room. A path without a method is an area: its needs are
// those of the addresses in it that are not a route.
func (s *server) routes() []route {
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	f := s.fhir
	m := httpmock.New(httpmock.Options{Releases: s.options.Releases(), Version: command.Version(), MaxBytes: s.options.MaxResponseBytes, Sockets: func(r *room.Room) []socket.State { return s.hub.sockets(r) },
		Socket: func(r *room.Room, id string) *socket.Socket { return s.hub.find(r, id) }, Serve: s.echo.ServeHTTP})
	signIn := httpsignin.New(s.gate, s.clock())
	p := httppage.New(echo.MustSubFS(web, "web"))
	r := httprooms.New(httprooms.Options{Rooms: s.rooms, Root: s.edge.Root, Builtin: readBuiltin, Default: s.content, Open: s.openAnother, Ready: s.ready})
	fhir := func(method, path string, h httpfhir.HandlerFunc) route {
		return route{method, "/fhir/:release" + path, base, f.Handle(method, path, h)}
	}
	acts := func(method, path string, h httpfhir.HandlerFunc) route {
		return route{method, "/fhir/:release" + path, acting, f.Handle(method, path, h)}
	}
	return []route{
		{get, "/", page, p.Index},
		{get, "/timeline", page, p.Index},
		{get, "/timeline/*", page, p.Index},
		{get, "/try", page, p.Index},
		{get, "/try/*", page, p.Index},
		{get, "/trigger", page, p.Index},
		{get, "/trigger/*", page, p.Index},
		{get, "/why", page, p.Index},
		{get, "/why/*", page, p.Index},
		{get, "/resources", page, p.Index},
		{get, "/resources/*", page, p.Index},
		{get, "/ui/*", page, p.Asset},
		{get, "/healthz", health, s.healthz},
		{get, "/readyz", health, s.readyz},
		{get, "/metrics", process, echo.WrapHandler(s.metrics.Handler())},

		{get, "/ws", upgrade, s.socket},
		{get, "/ws/subscriptions-r4", upgrade, s.socket}, // Medplum's client has it built in
		{get, "/websocket", upgrade, s.socket},           // clients of the old R4 protocol do

		{post, "/oauth2/token", page, signIn.Token},
		{post, "/oauth2/logout", page, signIn.Logout},
		{get, "/auth/me", signedIn, signIn.Me},

		fhir(post, "", f.Bundle),
		fhir(get, "", f.SearchAll),
		fhir(get, "/metadata", f.Metadata),
		fhir(get, "/_history", f.History),
		fhir(get, "/:type", f.Search),
		fhir(post, "/:type", f.Create),
		fhir(put, "/:type", f.Update),
		fhir(patch, "/:type", f.Patch),
		fhir(del, "/:type", f.Delete),
		fhir(post, "/:type/_search", f.Search),
		fhir(get, "/:type/_history", f.History),
		fhir(get, "/:type/:id", f.Read),
		fhir(post, "/:type/:id", f.PostToInstance),
		fhir(put, "/:type/:id", f.Update),
		fhir(patch, "/:type/:id", f.Patch),
		fhir(del, "/:type/:id", f.Delete),
		fhir(get, "/:type/:id/_history", f.History),
		fhir(get, "/:type/:id/_history/:version", f.ReadVersion),
		acts(get, "/Subscription/$get-ws-binding-token", s.bindingToken),
		acts(post, "/Subscription/$get-ws-binding-token", s.bindingToken),
		acts(get, "/Subscription/:id/$get-ws-binding-token", s.bindingToken),
		acts(post, "/Subscription/:id/$get-ws-binding-token", s.bindingToken),
		fhir(get, "/Subscription/$status", s.status),
		fhir(post, "/Subscription/$status", s.status),
		fhir(get, "/Subscription/:id/$status", s.status),
		fhir(post, "/Subscription/:id/$status", s.status),
		fhir(get, "/Subscription/:id/$events", s.events),
		fhir(post, "/Subscription/:id/$events", s.events),
		acts(get, "/Subscription/:id/$resend", s.resend),
		acts(post, "/Subscription/:id/$resend", s.resend),
		{path: "/fhir/:release/*", needs: base},

		{get, "/mock", observed, m.Index},
		{get, "/mock/openapi.json", observed, m.OpenAPI},
		{post, "/mock/trigger", control, m.Trigger},
		{post, "/mock/await", waiting, m.Await},
		{post, "/mock/reset", control, m.Reset},
		{get, "/mock/clock", control, m.Clock},
		{put, "/mock/clock", control, m.SetClock},
		{post, "/mock/clock/advance", control, m.AdvanceClock},
		{post, "/mock/restart", control, m.Restart},
		{get, "/mock/scenarios", control, m.Scenarios},
		{get, "/mock/scenarios/:name", control, m.Scenario},
		{put, "/mock/scenarios/:name", control, m.PutScenario},
		{post, "/mock/scenarios/:name", waiting, m.StartScenario},
		{del, "/mock/scenarios/:name", control, m.StopScenario},
		{get, "/mock/generators", control, m.Generators},
		{post, "/mock/generators", control, m.AddGenerator},
		{patch, "/mock/generators/:name", control, m.ChangeGenerator},
		{del, "/mock/generators/:name", control, m.RemoveGenerator},
		{post, "/mock/generators/:name/start", control, m.StartGenerator},
		{post, "/mock/generators/:name/stop", control, m.StopGenerator},
		{post, "/mock/generators/:name/step", control, m.StepGenerator},
		{get, "/mock/faults", control, m.Faults},
		{put, "/mock/faults", control, m.SetFaults},
		{post, "/mock/faults", control, m.AddFaults},
		{del, "/mock/faults/:name", control, m.RemoveFault},
		{del, "/mock/faults", control, m.ClearFaults},
		{get, "/mock/sockets", control, m.Sockets},
		{del, "/mock/sockets/:socket", control, m.CloseSocket},
		{post, "/mock/sockets/:socket/frames", control, m.SendFrames},
		{get, "/mock/subscriptions", control, m.Subscriptions},
		{patch, "/mock/subscriptions/:id", control, m.ChangeSubscription},
		{post, "/mock/subscriptions/:id/notifications", control, m.Notify},
		{del, "/mock/subscriptions/:id/topic", control, m.DeleteTopic},
		{get, "/mock/tokens", control, m.Tokens},
		{del, "/mock/tokens/:token", control, m.RevokeToken},
		{post, "/mock/tokens/:token/expire", control, m.ExpireToken},
		{get, "/mock/settings", control, m.Settings},
		{put, "/mock/settings", control, m.SetSettings},
		{get, "/mock/manners", control, m.Manners},
		{put, "/mock/manners", control, m.SetManners},
		{get, "/mock/users", control, m.Users},
		{put, "/mock/users", control, m.SetUsers},
		{get, "/mock/explain", control, m.Explained},
		{post, "/mock/explain", control, m.Explain},
		{get, "/mock/resources", observed, m.Resources},
		{get, "/mock/state", observed, m.State},
		{get, "/mock/journal", observed, m.Journal},
		{get, "/mock/journal/stream", observed, m.JournalStream},
		{get, "/mock/journal/:seq", observed, m.JournalEntry},
		{path: "/mock/*", needs: control},
		{path: "/mock/journal/*", needs: observed},

		{get, "/rooms", house, r.List},
		{get, "/rooms/:name", house, r.Get},
		{put, "/rooms/:name", house, r.Put},
		{del, "/rooms/:name", house, r.Delete},
		{path: "/rooms/:room/*", needs: signedIn},
	}
}

// newServer wires everything up. Nothing runs but what the seed starts.
func newServer(o *command.Serve, addr net.Addr, log *slog.Logger) (*server, error) {
	s := &server{options: o, log: log, address: o.Scheme() + "://" + localAddress(addr), echo: echo.New()}
	s.gate = access.New(o.Secret(), s.address)
	if o.LogDropped == nil {
		o.LogDropped = func() uint64 { return 0 }
	}
	if o.Issued == nil {
		o.Issued = token.NewIndex(token.Remembered)
	}
	s.memory = memory.OfProcess(o.MaxMemory, func() bool { return s.rooms.Relieve() })
	s.metrics = metrics.New(metrics.Gauges{
		Rooms:         func() int { return len(s.rooms.List()) },
		Sockets:       func() int { return s.hub.count() },
		Subscriptions: func() int { return s.rooms.Counts().Subscriptions },
		Tokens:        func() int { return s.rooms.Counts().Tokens },
		Resources:     func() int { return s.rooms.Counts().Resources },
		Queued:        func() int { return s.hub.queued() },
		QueuedBytes:   func() int64 { return s.hub.shared.Pool.Used() },
		EventLogBytes: func() int64 { return s.rooms.Counts().EventLogBytes },
		TokenBytes:    func() int64 { return s.rooms.Counts().TokenBytes },
		LiveMemory:    s.memory.Live,
		MaxMemory:     s.memory.Limit,
		LogDropped:    func() uint64 { return o.LogDropped() },
	})
	s.hub = newHub(hubOptions{
		SlowAfter: o.SlowAfter, QueueBytes: o.QueueBytes, QueueTotal: o.QueueTotal, Strict: o.Strict, Admit: s.memory.Check, Logger: log, Observer: s.metrics,
	})
	var err error
	if s.content, err = s.readSeed(); err != nil {
		return nil, err
	}
	main, err := s.openRoom("", s.content, httprooms.Begin{})
	if err != nil {
		return nil, fmt.Errorf("the seed was refused: %w", err)
	}
	s.rooms = room.NewRooms(room.RoomsOptions{Default: main, Clock: s.clock(), Max: o.MaxRooms, TTL: o.RoomTTL, Leave: s.leaveRoom})
	s.edge = httpedge.New(s.echo, httpedge.Options{
		Address: s.address, PublicURL: o.PublicURL, Listen: o.Listen, AllowHost: o.AllowHost, AllowOrigin: o.AllowOrigin,
		MaxBodyBytes: o.MaxBodyBytes, BodiesAtOnce: o.MaxMemory / 16, ReadTimeout: o.ReadTimeout, Gate: s.gate, Rooms: s.rooms, Logger: log, Counted: s.metrics.Request,
	})
	s.fhir = httpfhir.New(s.echo, httpfhir.Options{Strict: o.Strict, Releases: o.Releases(), Version: command.Version(), MaxBytes: o.MaxResponseBytes, Logger: log})

	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.StdLogger = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	e.Logger.SetOutput(e.StdLogger.Writer()) // it would write to standard output
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.edge.HandleError
	e.Pre(s.edge.Normalize)
	// What every request passes, outermost first.
	e.Use(httpedge.NoStore, s.edge.ExplainBody, s.edge.Enter, s.edge.Record, s.edge.Log(), s.edge.Recover(), s.edge.GuardHost, s.edge.CORS(), s.edge.GuardOrigin,
		s.edge.GuardAccess, s.edge.LimitBody, httpedge.PlainBody, s.edge.NeedRoom, s.edge.Misbehave, httpfhir.RefuseOperations)
	s.table = s.routes()
	for _, r := range s.table {
		s.edge.Declare(r.path, r.needs)
		if r.handle == nil {
			continue
		}
		e.Add(r.method, r.path, r.handle)
		if r.needs.Room {
			e.Add(r.method, httpedge.InRoom(r.path), r.handle)
		}
	}
	return s, nil
}

func (s *server) clock() clock.Clock {
	if s.options.Clock != nil {
		return s.options.Clock
	}
	return clock.Real()
}

// openRoom makes a room whose addresses are below path, and lets sockets into it.
func (s *server) openRoom(path string, content *seed.Seed, begin httprooms.Begin) (*room.Room, error) {
	var source *random.Source
	if begin.Random != nil {
		source = random.Seeded(*begin.Random)
	}
	o := s.options
	own := o.Clock
	if !begin.Clock.IsZero() {
		own = nil // not the one of the server
	}
	r, refused := room.New(room.Options{
		Clock: own, ClockStart: begin.Clock, Random: source, Issued: o.Issued, TokenTTL: o.TokenTTL, BatchWindow: o.BatchWindow, Strict: o.Strict, SkipInvariants: o.SkipInvariants,
		Memory: s.memory, MaxTokenBytes: o.TokenBytes, LogBytes: o.EventLogBytes, KeepExpired: o.KeepExpired, PreferQuery: o.PreferQuery, AnyFilter: o.AnyFilter, JournalSize: cmp.Or(o.JournalSize, -1),
		Releases: o.Releases(), URL: s.root() + path, Settings: begin.Settings, Manners: begin.Manners, Seed: content, GeneratorsOff: cmp.Or(begin.Generators, o.Generators) == "off",
	})
	if refused != nil {
		return nil, refused
	}
	s.hub.openRoom(r)
	return r, nil
}

// openAnother is openRoom for a room that a client asks for.
func (s *server) openAnother(path string, content *seed.Seed, begin httprooms.Begin) (*room.Room, error) {
	if err := s.memory.Check(); err != nil {
		return nil, err
	}
	return s.openRoom(path, content, begin)
}

// leaveRoom closes the sockets of a room that closes.
func (s *server) leaveRoom(name string, r *room.Room, why string) {
	ctx, cancel := context.WithTimeout(context.Background(), stopSockets)
	defer cancel()
	s.hub.closeRoom(ctx, r, socket.RoomClosed.With(name, why))
}

// readBuiltin reads the built-in seed once: the rooms that hold it share it.
var readBuiltin = sync.OnceValues(func() (*seed.Seed, error) { return parseSeed("seed.json", builtinSeed) })

// readSeed returns the seed that the options name; nil if that is none.
func (s *server) readSeed() (*seed.Seed, error) {
	if s.options.Seed == "" {
		return readBuiltin()
	}
	name, data, err := s.options.SeedData()
	if err != nil || data == nil {
		return nil, err
	}
	return parseSeed(name, data)
}

func parseSeed(name string, data []byte) (*seed.Seed, error) {
	content, refused := seed.Read(data)
	if refused != nil {
		return nil, fmt.Errorf("cannot use the seed %s: %w", name, refused)
	}
	return content, nil
}
