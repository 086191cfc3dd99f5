package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httppage"
	"signalfhir/internal/httpsignin"
	"signalfhir/internal/metrics"
	"signalfhir/internal/random"
	"signalfhir/internal/room"
	"signalfhir/internal/seed"
)

var (
	//go:embed seed.json
	builtinSeed []byte

	//go:embed web
	web embed.FS
)

// server is the Echo app with the default room and the hub behind it.
type server struct {
	options *command.Serve
	log     *slog.Logger
	address string // http://host:port as seen from this machine
	echo    *echo.Echo
	room    *room.Room
	hub     *hub
	metrics *metrics.Metrics
	live    atomic.Bool // requests are served; false again while stopping

	instance string          // names this life of the server
	stopping context.Context // ends when the server stops
	stop     func()
}

// How long a stop may take. The mission allows two seconds in all.
const (
	stopRequests = 500 * time.Millisecond
	stopSockets  = time.Second
)

// listenAndServe runs a server until ctx ends or, if the options say so, standard
// input closes.
func listenAndServe(ctx context.Context, o *command.Serve, stdin io.Reader, stdout, stderr io.Writer) error {
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (%w); choose another address with --listen, 127.0.0.1:0 takes a free port", o.Listen, err)
	}
	s, err := newServer(o, listener.Addr(), o.Logger(stderr))
	if err != nil {
		listener.Close()
		return err
	}
	if o.ExitOnStdinClose {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	return s.serve(ctx, listener, func() {
		s.banner(stderr)
		if o.ReadyJSON {
			_ = json.NewEncoder(stdout).Encode(s.ready())
		}
	})
}

// newServer wires everything up; nothing runs but what the seed starts.
func newServer(o *command.Serve, addr net.Addr, log *slog.Logger) (*server, error) {
	s := &server{options: o, log: log, address: "http://" + localAddress(addr), echo: echo.New(), instance: random.Secure().ID()}
	s.stopping, s.stop = context.WithCancel(context.Background())
	content, err := s.seed()
	if err != nil {
		return nil, err
	}
	base := s.options.PublicURL
	if base == "" {
		base = s.address
	}
	s.metrics = metrics.New(metrics.Gauges{
		Sockets:       func() int { return s.hub.count() },
		Subscriptions: func() int { return s.room.Counts().Subscriptions },
		Tokens:        func() int { return s.room.Counts().Tokens },
		Resources:     func() int { return s.room.Counts().Resources },
	})
	s.hub = newHub(hubOptions{
		QueueSize:   o.QueueFrames,
		Strict:      o.Strict,
		CheckOrigin: s.originAllowed,
		Logger:      log,
		Observer:    s.metrics,
	})
	var refused *fhir.Error
	s.room, refused = room.New(room.Options{
		Clock:          o.Clock,
		TokenTTL:       o.TokenTTL,
		BatchWindow:    o.BatchWindow,
		Strict:         o.Strict,
		SkipInvariants: o.SkipInvariants,
		KeepExpired:    o.KeepExpired,
		PreferQuery:    o.PreferQuery,
		AnyFilter:      o.AnyFilter,
		JournalSize:    cmp.Or(o.JournalSize, -1),
		Releases:       o.Releases(),
		URL:            base,
		Seed:           content,
	})
	if refused != nil {
		return nil, fmt.Errorf("the seed was refused: %w", refused)
	}
	s.hub.openRoom(s.room)
	s.configure()
	s.routes()
	return s, nil
}

// localAddress is how a client on this machine reaches addr.
func localAddress(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (s *server) seed() (*seed.Seed, error) {
	name, data, err := s.options.SeedData(builtinSeed)
	if err != nil || data == nil {
		return nil, err
	}
	content, refused := seed.Read(data)
	if refused != nil {
		return nil, fmt.Errorf("cannot use the seed %s: %w", name, refused)
	}
	return content, nil
}

// configure sets up what every request passes through, outermost first.
func (s *server) configure() {
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = s.answerError
	e.Pre(normalizePath)
	e.Use(s.record)
	e.Use(s.requestLog())
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisableStackAll: true,
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			s.log.Error("a handler panicked", "error", err, "stack", string(stack))
			return err
		},
	}))
	e.Use(s.guardHost)
	e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOriginFunc:  func(origin string) (bool, error) { return s.allowsOrigin(origin), nil },
		AllowMethods:     []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowCredentials: true,
		ExposeHeaders:    []string{"Location", "Content-Location", "ETag", "Last-Modified"},
		MaxAge:           600,
	}))
	e.Use(s.limitBody)
	// Not of the groups: a group with middleware of its own answers 404 for
	// every method a route lacks.
	e.Use(s.speakFHIR, s.guardOrigin)
}

// routes is the one list of everything the server answers.
func (s *server) routes() {
	e := s.echo
	page, signIn := httppage.New(echo.MustSubFS(web, "web")), httpsignin.New(s.rootOf, s.room.Clock())
	e.GET("/", page.Index)
	for _, view := range []string{"/timeline", "/try", "/trigger", "/why", "/resources"} {
		e.GET(view, page.Index)
		e.GET(view+"/*", page.Index)
	}
	e.GET("/ui/*", page.Asset)
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.GET("/metrics", echo.WrapHandler(s.metrics.Handler()))

	e.GET("/ws", s.socket)
	e.GET("/ws/subscriptions-r4", s.socket) // Medplum's client has it built in
	e.GET("/websocket", s.socket)           // clients of the old R4 protocol do

	e.POST("/oauth2/token", signIn.Token)
	e.POST("/oauth2/logout", signIn.Logout)
	e.GET("/auth/me", signIn.Me)

	f := e.Group("/fhir/:release")
	f.POST("", s.bundle)
	f.GET("", s.searchOfAll)
	f.GET("/metadata", s.metadata)
	f.GET("/_history", s.history)

	f.GET("/:type", s.search)
	f.POST("/:type", s.create)
	f.PUT("/:type", s.update)
	f.PATCH("/:type", s.patch)
	f.DELETE("/:type", s.delete)
	f.POST("/:type/_search", s.search)
	f.GET("/:type/:id", s.read)
	f.POST("/:type/:id", s.postedToInstance)
	f.PUT("/:type/:id", s.update)
	f.PATCH("/:type/:id", s.patch)
	f.DELETE("/:type/:id", s.delete)
	f.GET("/:type/_history", s.history)
	f.GET("/:type/:id/_history", s.history)
	f.GET("/:type/:id/_history/:version", s.readVersion)

	for _, methods := range []string{http.MethodGet, http.MethodPost} {
		f.Add(methods, "/Subscription/$get-ws-binding-token", s.bindingToken)
		f.Add(methods, "/Subscription/:id/$get-ws-binding-token", s.bindingToken)
		f.Add(methods, "/Subscription/$status", s.status)
		f.Add(methods, "/Subscription/:id/$status", s.status)
		f.Add(methods, "/Subscription/:id/$events", s.events)
		f.Add(methods, "/Subscription/:id/$resend", s.resend)
	}

	m := e.Group("/mock")
	m.POST("/trigger", s.trigger)
	m.POST("/await", s.await)
	m.POST("/reset", s.reset)
	m.GET("/generators", s.generators)
	m.POST("/generators", s.addGenerator)
	m.PATCH("/generators/:name", s.changeGenerator)
	m.DELETE("/generators/:name", s.removeGenerator)
	m.POST("/generators/:name/start", s.startGenerator)
	m.POST("/generators/:name/stop", s.stopGenerator)
	m.POST("/generators/:name/step", s.stepGenerator)
	m.GET("/sockets", s.sockets)
	m.GET("/subscriptions", s.subscriptions)
	m.GET("/tokens", s.tokens)
	m.DELETE("/tokens/:token", s.revokeToken)
	m.GET("/resources", s.resources)
	m.GET("/explain", s.explained)
	m.POST("/explain", s.explain)
	m.GET("/state", s.state)
	m.GET("/journal", s.journal)
	m.GET("/journal/stream", s.journalStream)
	m.GET("/journal/:seq", s.journalEntry)
}

// serve answers requests on l until ctx ends, then stops in good order: no new
// requests, sockets closed with 1001, every goroutine ended. ready is called
// once requests are served.
func (s *server) serve(ctx context.Context, l net.Listener, ready func()) error {
	srv := &http.Server{Handler: s.echo, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	s.live.Store(true)
	ready()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.live.Store(false)
	s.stop()
	requests, cancel := context.WithTimeout(context.Background(), stopRequests)
	defer cancel()
	if srv.Shutdown(requests) != nil {
		srv.Close() // a long poll may still hang; sockets are the hub's
	}
	sockets, cancel := context.WithTimeout(context.Background(), stopSockets)
	defer cancel()
	s.hub.shutdown(sockets)
	s.room.Close()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// readyLine is what --ready-json prints.
type readyLine struct {
	URL     string            `json:"url"`
	FHIR    map[string]string `json:"fhir"`
	WS      string            `json:"ws"`
	PID     int               `json:"pid"`
	Version string            `json:"version"`
}

func (s *server) ready() readyLine {
	root := s.root()
	return readyLine{URL: root, FHIR: s.bases(root), WS: socketURL(root), PID: os.Getpid(), Version: command.Version()}
}

// bases are the FHIR bases by release.
func (s *server) bases(root string) map[string]string {
	bases := map[string]string{}
	for _, r := range s.options.Releases() {
		bases[string(r)] = root + "/fhir/" + string(r)
	}
	return bases
}

// banner greets a newcomer.
func (s *server) banner(w io.Writer) {
	root := s.root()
	fmt.Fprintf(w, "signalfhir %s\n  page    %s/\n", command.Version(), root)
	for _, r := range s.options.Releases() {
		fmt.Fprintf(w, "  fhir    %s/fhir/%s\n", root, r)
	}
	fmt.Fprintf(w, "  socket  %s\n", socketURL(root))
	for _, sub := range s.room.Subscriptions() {
		if sub.Content == string(fhir.IDOnly) { // a first step that shows something
			fmt.Fprintf(w, "  start   curl -X POST '%s/fhir/%s/Subscription/%s/$get-ws-binding-token'\n", root, sub.Release, sub.ID)
			fmt.Fprintf(w, "  watch   signalfhir listen --server %s/fhir/%s --subscription %s\n", root, sub.Release, sub.ID)
			break
		}
	}
}

// root is the URL of the server where no request tells it.
func (s *server) root() string {
	if s.options.PublicURL != "" {
		return s.options.PublicURL
	}
	return s.address
}

func socketURL(root string) string { return "ws" + strings.TrimPrefix(root, "http") + "/ws" }
