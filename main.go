// Signalfhir is an in-memory development server for FHIR topic-based
// subscriptions over WebSocket.
//
// One process, one address. A client creates a Subscription, takes a binding
// token for it, opens a socket and binds; from then on every event travels one
// way:
//
//	HTTP write ─▶ store ─▶ topic ─▶ subscription ─▶ encode ─▶ hub ─▶ socket
//	/mock/trigger ─────────────────────▲    └─▶ $events, $status
//
// Read main.go first: start and stop. server.go has the table of routes and what every
// request passes, handlers.go the operations of Subscription, hub.go the sockets. The
// rules of FHIR are below internal/. docs/architecture.md shows the tree.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"signalfhir/internal/access"
	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/httprooms"
	"signalfhir/internal/logwriter"
	"signalfhir/internal/memory"
	"signalfhir/internal/token"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		second := <-signals // whoever sends it does not want to wait
		os.Exit(exitOfSignal + int(second.(syscall.Signal)))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// exitOfSignal is added to the number of a signal that ends the process, as shells do.
const exitOfSignal = 128

// run is the whole program with its surroundings passed in. It returns the exit
// code: 0 after a normal stop, 1 after a failure, 2 if the arguments are wrong.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	issued := token.NewIndex(token.Remembered)
	log := logwriter.New(stderr, logwriter.DefaultSize, issued.Redact)
	defer log.Close(stopLog)
	parsed, err := command.Parse(args, environ, stdout)
	switch {
	case errors.Is(err, command.ErrDone):
		return 0
	case err != nil:
		fmt.Fprintf(log, "signalfhir: %v\n", err)
		return 2
	}
	switch c := parsed.(type) {
	case *command.Serve:
		// Who started the server may close its output. The server is not there to fill
		// that, so it goes on.
		signal.Ignore(syscall.SIGPIPE)
		c.Issued = issued
		if c.Secret() != "" {
			issued.HideAlso(access.New(c.Secret(), "").Hide)
		}
		err = serveAndStop(ctx, c, stdin, stdout, log)
	case *command.Listen:
		err = c.Run(ctx, stdout, log)
	}
	if err != nil {
		fmt.Fprintf(log, "signalfhir: %v\n", err)
		return 1
	}
	return 0
}

// How long a stop may take. It takes two seconds at most in all: stopAll, which has the
// two before it, and stopLog.
const (
	stopRequests = 500 * time.Millisecond
	stopSockets  = time.Second
	stopAll      = 1750 * time.Millisecond
	stopLog      = 200 * time.Millisecond // to write what is left of the log
)

// How long a client may take to send the head of a request, if the options give it no
// time for the whole, and how long a connection without a request stays open.
const (
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
)

// serveAndStop runs a server until ctx ends or, if the options say so, standard input
// closes. It then waits for the server to stop in good order, but not for long: the
// server holds nothing that would have to be saved, and whoever stops it waits for it.
func serveAndStop(ctx context.Context, o *command.Serve, stdin io.Reader, stdout io.Writer, log *logwriter.Writer) error {
	logger := o.Logger(log)
	slog.SetDefault(logger) // of packages that know no other
	log.SetNote(func(dropped uint64) []byte {
		var line bytes.Buffer
		o.Logger(&line).Log(context.Background(), max(slog.LevelWarn, o.LogLevel), logwriter.Note(dropped))
		return line.Bytes()
	})
	o.LogDropped = log.Dropped
	if len(o.Ignored) > 0 {
		logger.Info("variables that Kubernetes sets for a service are not options, so they are ignored", "variables", strings.Join(o.Ignored, ", "))
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
	ended := make(chan error, 1)
	go func() { ended <- listenAndServe(ctx, o, stdout, log, logger) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(stopAll):
		logger.Warn("the server ends although something still runs in it: a long request, or a socket or standard output that nobody reads", "waited", stopAll)
		return nil
	}
}

// listenAndServe runs a server until ctx ends.
func listenAndServe(ctx context.Context, o *command.Serve, stdout, stderr io.Writer, logger *slog.Logger) error {
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (%w); choose another address with --listen, 127.0.0.1:0 takes a free port", o.Listen, err)
	}
	interfaces, _ := net.InterfaceAddrs() // without them the banner names fewer addresses
	hosts, beyond := command.Reach(listener.Addr(), interfaces)
	secure, err := o.TLS(hosts)
	if err != nil {
		listener.Close()
		return err
	}
	if secure != nil {
		listener = tls.NewListener(listener, secure)
	}
	defer memory.LimitRuntime(o.MaxMemory)()
	s, err := newServer(o, listener.Addr(), logger)
	if err != nil {
		listener.Close()
		return err
	}
	return s.serve(ctx, listener, func() {
		s.banner(stderr, hosts)
		if o.TLSSelfSigned {
			fmt.Fprintf(stderr, "  trust   the certificate is self-signed: curl needs -k, a browser asks once; its SHA-256 is\n          %s\n", command.Fingerprint(secure))
		}
		if beyond {
			warn(stderr, hosts, o)
		}
		if o.ReadyJSON {
			_ = json.NewEncoder(stdout).Encode(s.ready(s.root()))
		}
	})
}

// localAddress is how a client on this machine reaches addr.
func localAddress(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// serve serves requests on l until ctx ends, then stops gracefully: no new
// requests, sockets closed with 1001, every goroutine ended. ready is called
// once requests are served.
func (s *server) serve(ctx context.Context, l net.Listener, ready func()) error {
	unused := &httpedge.Unused{}
	// The time ends with the body. What takes long after it, such as a stream, is not cut.
	srv := &http.Server{Handler: s.echo, ConnState: unused.Note, ReadHeaderTimeout: cmp.Or(s.options.ReadTimeout, headTimeout), ReadTimeout: s.options.ReadTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)}
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
	s.rooms.End() // ends the requests that wait
	unused.Close()
	requests, cancel := context.WithTimeout(context.Background(), stopRequests)
	defer cancel()
	if srv.Shutdown(requests) != nil {
		srv.Close() // a long poll may still hang; sockets are the hub's
	}
	sockets, cancel := context.WithTimeout(context.Background(), stopSockets)
	defer cancel()
	s.hub.shutdown(sockets)
	s.rooms.Close()
	s.memory.Close()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// ready describes the room whose URL is root.
func (s *server) ready(root string) httprooms.Ready {
	return httprooms.Ready{URL: root, FHIR: httpedge.Bases(root, s.options.Releases()), WS: httpedge.SocketURL(root), PID: os.Getpid(), Version: command.Version()}
}

// banner greets a newcomer. hosts are those that the server can be reached at.
func (s *server) banner(w io.Writer, hosts []string) {
	root := s.root()
	fmt.Fprintf(w, "signalfhir %s\n  page    %s/\n", command.Version(), root)
	for _, r := range s.options.Releases() {
		fmt.Fprintf(w, "  fhir    %s/fhir/%s\n", root, r)
	}
	fmt.Fprintf(w, "  socket  %s\n", httpedge.SocketURL(root))
	for _, host := range hosts[1:] {
		fmt.Fprintf(w, "  also    %s://%s/\n", s.options.Scheme(), host)
	}
	for _, sub := range s.rooms.Default().Subscriptions() {
		if sub.Content == string(fhir.IDOnly) { // a first step with a visible result
			curl, listen := "curl", "signalfhir listen"
			if s.options.TLSSelfSigned { // which no client trusts
				curl, listen = curl+" -k", listen+" -k"
			}
			if s.options.Secret() != "" { // listen reads the variable
				curl += ` -H "Authorization: Bearer $SIGNALFHIR_AUTH_TOKEN"`
			}
			fmt.Fprintf(w, "  start   %s -X POST '%s/fhir/%s/Subscription/%s/$get-ws-binding-token'\n", curl, root, sub.Release, sub.ID)
			fmt.Fprintf(w, "  watch   %s --server %s/fhir/%s --subscription %s\n", listen, root, sub.Release, sub.ID)
			break
		}
	}
}

// warn says what is open on a server that is not for this machine alone.
func warn(w io.Writer, hosts []string, o *command.Serve) {
	_, port, _ := net.SplitHostPort(hosts[0])
	switch {
	case o.Secret() == "":
		fmt.Fprintf(w, `
  WARNING: the network can reach this server, and it has no authentication.
  Whoever reaches it can read, write and delete everything, take binding tokens and open
  sockets. Keep real data out. --auth-token lets in only those who have a token;
  --listen 127.0.0.1:%s serves this machine only.

`, port)
	case o.Scheme() == "http":
		fmt.Fprint(w, `
  WARNING: the network can reach this server, and it does not encrypt. Whoever listens
  there can read the token of --auth-token and everything else. --tls-self-signed, or
  --tls-cert and --tls-key, encrypt.

`)
	}
}

// root returns the URL of the server if there is no request that says it.
func (s *server) root() string {
	if s.options.PublicURL != "" {
		return s.options.PublicURL
	}
	return s.address
}
