package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/listen"
)

// options are the flags of the program. Every flag of serve is also a variable
// SIGNALFHIR_<FLAG>.
type options struct {
	Serve   serveOptions     `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Listen  listenOptions    `cmd:"" help:"Subscribe to a server and print every notification."`
	Version kong.VersionFlag `short:"V" help:"Print the version and exit."`
}

// serveOptions configure the server.
type serveOptions struct {
	Listen           string        `default:"127.0.0.1:8080" env:"SIGNALFHIR_LISTEN" placeholder:"HOST:PORT" help:"Address to serve on; port 0 picks a free one (${default})."`
	ReadyJSON        bool          `name:"ready-json" env:"SIGNALFHIR_READY_JSON" help:"Print one JSON line with the addresses to stdout once requests are served."`
	Seed             string        `env:"SIGNALFHIR_SEED" placeholder:"FILE" help:"What the room holds at the start: a seed file, or \"none\" (default: the built-in seed.json)."`
	Release          []string      `env:"SIGNALFHIR_RELEASE" placeholder:"RELEASE" help:"Offer only these FHIR releases, such as R5,R4; all where none is named."`
	TokenTTL         time.Duration `name:"token-ttl" default:"30m" env:"SIGNALFHIR_TOKEN_TTL" help:"Lifetime of binding tokens (${default})."`
	KeepExpired      bool          `name:"keep-expired" env:"SIGNALFHIR_KEEP_EXPIRED" help:"Let bindings outlive the tokens they were made with."`
	PublicURL        string        `name:"public-url" env:"SIGNALFHIR_PUBLIC_URL" placeholder:"URL" help:"Root URL clients reach the server at, where it differs from the address (behind a proxy)."`
	Strict           bool          `env:"SIGNALFHIR_STRICT" help:"Refuse what is otherwise accepted with a warning."`
	SkipInvariants   bool          `name:"skip-invariants" env:"SIGNALFHIR_SKIP_INVARIANTS" help:"Do not evaluate the invariants of resources that are written."`
	PreferQuery      bool          `name:"prefer-query" env:"SIGNALFHIR_PREFER_QUERY" help:"Where a topic's trigger has queryCriteria and fhirPathCriteria, let the former decide."`
	AnyFilter        bool          `name:"any-filter" env:"SIGNALFHIR_ANY_FILTER" help:"Take every search parameter of a type for a filter, also those the topic does not offer."`
	BatchWindow      time.Duration `name:"batch-window" default:"0s" env:"SIGNALFHIR_BATCH_WINDOW" help:"How long events wait to share a notification, up to a subscription's maxCount (${default}: one event each, at once)."`
	QueueFrames      int           `name:"queue-frames" default:"256" env:"SIGNALFHIR_QUEUE_FRAMES" help:"Frames that may wait for a slow socket before it is closed with 1013 (${default})."`
	JournalSize      int           `name:"journal-size" default:"10000" env:"SIGNALFHIR_JOURNAL_SIZE" help:"Entries the journal keeps; 0 keeps none and only counts (${default})."`
	MaxBodyBytes     int64         `name:"max-body-bytes" default:"2097152" env:"SIGNALFHIR_MAX_BODY_BYTES" help:"Largest request body in bytes (${default})."`
	AllowHost        []string      `name:"allow-host" env:"SIGNALFHIR_ALLOW_HOST" placeholder:"HOST" help:"Accept requests for this Host besides the address served on; * accepts any."`
	AllowOrigin      []string      `name:"allow-origin" env:"SIGNALFHIR_ALLOW_ORIGIN" placeholder:"ORIGIN" help:"Accept browsers from this origin besides loopback ones; * accepts any."`
	LogFormat        string        `name:"log-format" enum:"text,json" default:"text" env:"SIGNALFHIR_LOG_FORMAT" help:"text or json (${default})."`
	LogLevel         slog.Level    `name:"log-level" default:"info" env:"SIGNALFHIR_LOG_LEVEL" help:"debug, info, warn or error (${default})."`
	ExitOnStdinClose bool          `name:"exit-on-stdin-close" env:"SIGNALFHIR_EXIT_ON_STDIN_CLOSE" help:"Stop when standard input closes, so that a test's server ends with the test."`

	clock clock.Clock // the machine's where nil; tests bring their own
}

// validate reports every problem of the options at once.
func (o *serveOptions) validate() error {
	var problems []error
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		problems = append(problems, fmt.Errorf("--listen %s: expected HOST:PORT such as 127.0.0.1:8080", o.Listen))
	}
	for _, name := range o.Release {
		if _, ok := fhir.ParseRelease(name); !ok {
			problems = append(problems, fmt.Errorf("--release %s: expected one of %v", name, fhir.Releases))
		}
	}
	if o.TokenTTL <= 0 {
		problems = append(problems, fmt.Errorf("--token-ttl %s: expected a duration above zero such as 30m", o.TokenTTL))
	}
	if o.BatchWindow < 0 {
		problems = append(problems, fmt.Errorf("--batch-window %s: expected zero or more", o.BatchWindow))
	}
	if o.QueueFrames < 1 {
		problems = append(problems, fmt.Errorf("--queue-frames %d: expected at least 1", o.QueueFrames))
	}
	if o.JournalSize < 0 {
		problems = append(problems, fmt.Errorf("--journal-size %d: expected zero or more", o.JournalSize))
	}
	if o.MaxBodyBytes < 1 {
		problems = append(problems, fmt.Errorf("--max-body-bytes %d: expected at least 1", o.MaxBodyBytes))
	}
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			problems = append(problems, fmt.Errorf("--public-url %s: expected an absolute http or https URL such as https://fhir.example.org", o.PublicURL))
		}
		o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	}
	return errors.Join(problems...)
}

// releases are those to offer, newest first.
func (o *serveOptions) releases() []fhir.Release {
	if len(o.Release) == 0 {
		return fhir.Releases
	}
	return slices.DeleteFunc(slices.Clone(fhir.Releases), func(r fhir.Release) bool {
		return !slices.ContainsFunc(o.Release, func(name string) bool { return strings.EqualFold(name, string(r)) })
	})
}

// listenOptions configure the client in the binary.
type listenOptions struct {
	Server       string        `default:"http://127.0.0.1:8080" env:"SIGNALFHIR_SERVER" placeholder:"URL" help:"Server, or its FHIR base (${default})."`
	Subscription string        `xor:"what" placeholder:"ID" help:"Listen to this subscription."`
	Topic        string        `xor:"what" placeholder:"URL" help:"Create a subscription on this topic, and delete it at the end."`
	Content      string        `enum:"empty,id-only,full-resource" default:"id-only" help:"Payload level of a created subscription (${default})."`
	Heartbeat    int           `default:"30" placeholder:"SECONDS" help:"Heartbeat period of a created subscription (${default})."`
	Filter       []string      `placeholder:"PARAM=VALUE" help:"Filter of a created subscription; may be repeated."`
	JSON         bool          `name:"json" help:"Print the raw frames, one a line."`
	Count        int           `placeholder:"N" help:"Exit after N events."`
	Timeout      time.Duration `placeholder:"DURATION" help:"Give up after this time."`
}

// errAnswered ends a run that only had to print something, such as --help.
var errAnswered = errors.New("answered")

// command is what the arguments ask for.
type command interface {
	run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error
}

// parseOptions reads the arguments and the SIGNALFHIR_* variables. A variable
// with our prefix that means nothing is refused, since it is most likely a
// misspelt one.
func parseOptions(args, environ []string, stdout io.Writer) (c command, err error) {
	var o options
	// kong ends the process after --help and --version; a panic of our own
	// brings the decision back here, where it can be tested.
	defer func() {
		if r := recover(); r != nil {
			if r != errAnswered { //nolint:errorlint // the very value thrown below
				panic(r)
			}
			err = errAnswered
		}
	}()
	parser, err := kong.New(&o,
		kong.Name("signalfhir"),
		kong.Description("An in-memory development server for FHIR topic-based subscriptions over WebSocket."),
		kong.Vars{"version": version()},
		kong.Writers(stdout, stdout),
		kong.Exit(func(int) { panic(errAnswered) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, err
	}
	if err := checkEnviron(parser.Model, environ); err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return nil, fmt.Errorf("%w; signalfhir --help lists the options", err)
	}
	if parsed.Command() == "listen" {
		return &o.Listen, nil
	}
	return &o.Serve, o.Serve.validate()
}

// The variables that are for the tests around the program, not for it.
var testVariables = []string{"SIGNALFHIR_BIN", "SIGNALFHIR_SPEC", "SIGNALFHIR_SPEC_REQUIRED", "SIGNALFHIR_BROWSER_REQUIRED", "SIGNALFHIR_SHOTS"}

func checkEnviron(model *kong.Application, environ []string) error {
	known := slices.Clone(testVariables)
	for _, node := range append([]*kong.Node{model.Node}, model.Children...) {
		for _, flag := range node.Flags {
			known = append(known, flag.Envs...)
		}
	}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "SIGNALFHIR_") && !slices.Contains(known, name) {
			slices.Sort(known)
			return fmt.Errorf("the variable %s means nothing here; known are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// run serves until ctx ends or, if so asked, standard input closes.
func (o *serveOptions) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	log := newLogger(o, stderr)
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %s (%w); choose another address with --listen, 127.0.0.1:0 takes a free port", o.Listen, err)
	}
	s, err := newServer(o, listener.Addr(), log)
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

// run listens until ctx ends or what was asked for has arrived.
func (o *listenOptions) run(ctx context.Context, _ io.Reader, stdout, stderr io.Writer) error {
	return listen.Run(ctx, listen.Options{
		Server:       o.Server,
		Subscription: o.Subscription,
		Topic:        o.Topic,
		Content:      o.Content,
		Heartbeat:    o.Heartbeat,
		Filters:      o.Filter,
		JSON:         o.JSON,
		Count:        o.Count,
		Timeout:      o.Timeout,
	}, stdout, stderr)
}

// version is the version of the build: the module's, else the commit's.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "devel-" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "devel"
}

// seedData is the seed the options name: nil for an empty room.
func (o *serveOptions) seedData() (name string, data []byte, err error) {
	switch o.Seed {
	case "none":
		return "", nil, nil
	case "":
		return "seed.json", builtinSeed, nil
	}
	data, err = os.ReadFile(o.Seed)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the seed: %w", err)
	}
	return o.Seed, data, nil
}
