// Package command reads the arguments of the program and the SIGNALFHIR_*
// variables into the command they ask for. It starts no server: whoever calls
// [Parse] runs what it returns.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/lmittmann/tint"

	"signalfhir/internal/access"
	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/listen"
	"signalfhir/internal/suggest"
	"signalfhir/internal/token"
)

// options are the commands of the program. Every flag of serve is also a variable
// SIGNALFHIR_<FLAG>.
type options struct {
	Serve   Serve            `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Listen  Listen           `cmd:"" help:"Subscribe to a server and print every notification."`
	Version kong.VersionFlag `short:"V" help:"Print the version and exit."`
}

// Serve are the options of the server.
type Serve struct {
	Listen           string        `default:"127.0.0.1:8080" env:"SIGNALFHIR_LISTEN" placeholder:"HOST:PORT" help:"Address to serve on; port 0 picks a free one (${default})."`
	ReadyJSON        bool          `name:"ready-json" env:"SIGNALFHIR_READY_JSON" help:"Print one JSON line with the addresses to stdout once requests are served."`
	Seed             string        `env:"SIGNALFHIR_SEED" placeholder:"FILE" help:"What the room holds at the start: a seed file, or \"none\" (default: the built-in seed.json)."`
	Generators       string        `enum:"on,off" default:"on" env:"SIGNALFHIR_GENERATORS" placeholder:"on|off" help:"Whether the generators of a seed start by themselves (${default})."`
	Release          []string      `env:"SIGNALFHIR_RELEASE" placeholder:"RELEASE" help:"Offer only these FHIR releases, such as R5,R4; all if none is named."`
	TokenTTL         time.Duration `name:"token-ttl" default:"30m" env:"SIGNALFHIR_TOKEN_TTL" help:"Lifetime of binding tokens, 8784h at most (${default})."`
	KeepExpired      bool          `name:"keep-expired" env:"SIGNALFHIR_KEEP_EXPIRED" help:"Let bindings outlive the tokens they were made with."`
	PublicURL        string        `name:"public-url" env:"SIGNALFHIR_PUBLIC_URL" placeholder:"URL" help:"Root URL clients reach the server at, if it differs from the address (behind a proxy)."`
	Strict           bool          `env:"SIGNALFHIR_STRICT" help:"Refuse what is otherwise accepted with a warning."`
	SkipInvariants   bool          `name:"skip-invariants" env:"SIGNALFHIR_SKIP_INVARIANTS" help:"Do not evaluate the invariants of resources that are written."`
	PreferQuery      bool          `name:"prefer-query" env:"SIGNALFHIR_PREFER_QUERY" help:"Where a topic's trigger has queryCriteria and fhirPathCriteria, let the former decide."`
	AnyFilter        bool          `name:"any-filter" env:"SIGNALFHIR_ANY_FILTER" help:"Take every search parameter of a type for a filter, also those the topic does not offer."`
	BatchWindow      time.Duration `name:"batch-window" default:"0s" env:"SIGNALFHIR_BATCH_WINDOW" help:"How long events wait to share a notification, up to a subscription's maxCount (${default}: one event each, at once)."`
	SlowAfter        time.Duration `name:"slow-after" default:"5s" env:"SIGNALFHIR_SLOW_AFTER" help:"Close a socket with 1013 that takes no frame for this time while more wait than its buffer holds (${default})."`
	QueueBytes       int64         `name:"queue-bytes" default:"67108864" env:"SIGNALFHIR_QUEUE_BYTES" help:"Bytes that may wait for one socket before it is closed with 1013 (${default})."`
	QueueTotal       int64         `name:"queue-bytes-total" default:"536870912" env:"SIGNALFHIR_QUEUE_BYTES_TOTAL" help:"Bytes that may wait for all sockets before the slowest is closed with 1013 (${default})."`
	EventLogBytes    int64         `name:"event-log-bytes" default:"67108864" env:"SIGNALFHIR_EVENT_LOG_BYTES" help:"Bytes of events a room keeps for $$events beyond the last 1000 of each subscription (${default})."`
	TokenBytes       int64         `name:"token-bytes" default:"67108864" env:"SIGNALFHIR_TOKEN_BYTES" help:"Bytes that the lists of subscriptions of a room's valid tokens may take (${default})."`
	MaxMemory        int64         `name:"max-memory" default:"1073741824" env:"SIGNALFHIR_MAX_MEMORY" help:"Bytes of memory above which writes get 507; reads go on (${default})."`
	MaxResponseBytes int64         `name:"max-response-bytes" default:"67108864" env:"SIGNALFHIR_MAX_RESPONSE_BYTES" help:"Bytes of resources in one response; a page ends early, an entry of a batch is refused (${default})."`
	JournalSize      int           `name:"journal-size" default:"10000" env:"SIGNALFHIR_JOURNAL_SIZE" help:"Entries the journal keeps; 0 keeps none and only counts (${default})."`
	RoomTTL          time.Duration `name:"room-ttl" default:"10m" env:"SIGNALFHIR_ROOM_TTL" help:"Close a room below /rooms after this time without a request, a socket and a scenario (${default})."`
	MaxRooms         int           `name:"max-rooms" default:"1000" env:"SIGNALFHIR_MAX_ROOMS" help:"Rooms that may be open below /rooms (${default})."`
	ReadTimeout      time.Duration `name:"read-timeout" default:"30s" env:"SIGNALFHIR_READ_TIMEOUT" help:"How long a client may take to send a request with its body; 0 is no limit (${default})."`
	MaxBodyBytes     int64         `name:"max-body-bytes" default:"2097152" env:"SIGNALFHIR_MAX_BODY_BYTES" help:"Largest request body in bytes (${default})."`
	AllowHost        []string      `name:"allow-host" env:"SIGNALFHIR_ALLOW_HOST" placeholder:"HOST" help:"Accept requests for this Host besides the address served on; * accepts any."`
	AllowOrigin      []string      `name:"allow-origin" env:"SIGNALFHIR_ALLOW_ORIGIN" placeholder:"ORIGIN" help:"Accept browsers from this origin besides loopback ones; * accepts any."`
	AuthToken        *string       `name:"auth-token" env:"SIGNALFHIR_AUTH_TOKEN" placeholder:"TOKEN" help:"Serve only clients that send this bearer token, or the cookie of a sign-in with it."`
	TLSCert          string        `name:"tls-cert" env:"SIGNALFHIR_TLS_CERT" placeholder:"FILE" help:"Serve https and wss with this certificate, a PEM file; needs --tls-key."`
	TLSKey           string        `name:"tls-key" env:"SIGNALFHIR_TLS_KEY" placeholder:"FILE" help:"Key of the certificate, a PEM file."`
	TLSSelfSigned    bool          `name:"tls-self-signed" env:"SIGNALFHIR_TLS_SELF_SIGNED" help:"Serve https and wss with a certificate made for this run."`
	LogFormat        string        `name:"log-format" enum:"text,json" default:"text" env:"SIGNALFHIR_LOG_FORMAT" help:"text or json (${default})."`
	LogLevel         slog.Level    `name:"log-level" default:"info" env:"SIGNALFHIR_LOG_LEVEL" help:"debug, info, warn or error (${default})."`
	ExitOnStdinClose bool          `name:"exit-on-stdin-close" env:"SIGNALFHIR_EXIT_ON_STDIN_CLOSE" help:"Stop when standard input closes, so that a test's server ends with the test."`

	Clock *clock.Adjustable `kong:"-"` // of the server and its rooms; nil: real, and each room has its own. Tests set one

	Issued     *token.Index  `kong:"-"` // learns of all tokens, for the log; nil: the server has its own
	LogDropped func() uint64 `kong:"-"` // returns how many lines the log has lost; nil: none
	Ignored    []string      `kong:"-"` // names of variables of Kubernetes, for the log
}

// checkAuthToken refuses a token that nobody could send, such as the empty one of a
// command that failed: the server would be open to everybody.
func checkAuthToken(token *string) error {
	if token == nil {
		return nil
	}
	if err := access.Check(*token); err != nil {
		return fmt.Errorf("--auth-token, or SIGNALFHIR_AUTH_TOKEN: %w", err)
	}
	return nil
}

// Secret returns the token of the server, or "".
func (o *Serve) Secret() string { return secret(o.AuthToken) }

func secret(token *string) string {
	if token == nil {
		return ""
	}
	return *token
}

// maxBytes is the largest limit of a number of bytes: 1 TiB.
const maxBytes = 1 << 40

// minMemory is the least --max-memory: the program itself takes half of it.
const minMemory = 32 << 20

// Validate reports every problem of the options at once. It drops trailing
// slashes of PublicURL.
func (o *Serve) Validate() error {
	var problems []error
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		problems = append(problems, fmt.Errorf("--listen %s: expected HOST:PORT such as 127.0.0.1:8080", o.Listen))
	}
	for _, name := range o.Release {
		if _, ok := fhir.ParseRelease(name); !ok {
			problems = append(problems, fmt.Errorf("--release %s: expected one of %v", name, fhir.Releases))
		}
	}
	if o.TokenTTL <= 0 || o.TokenTTL > token.MaxTTL {
		problems = append(problems, fmt.Errorf("--token-ttl %s: expected a duration above zero, such as 30m, and at most %s, which are 366 days", o.TokenTTL, token.MaxTTL))
	}
	if o.BatchWindow < 0 {
		problems = append(problems, fmt.Errorf("--batch-window %s: expected zero or more", o.BatchWindow))
	}
	if o.SlowAfter < time.Millisecond {
		problems = append(problems, fmt.Errorf("--slow-after %s: expected a duration of at least 1ms such as 5s", o.SlowAfter))
	}
	for _, limit := range []struct {
		flag         string
		bytes, least int64
	}{
		{"--queue-bytes", o.QueueBytes, 1},
		{"--queue-bytes-total", o.QueueTotal, 1},
		{"--event-log-bytes", o.EventLogBytes, 1},
		{"--token-bytes", o.TokenBytes, 1},
		{"--max-memory", o.MaxMemory, minMemory},
		{"--max-response-bytes", o.MaxResponseBytes, 1},
	} {
		if limit.bytes < limit.least || limit.bytes > maxBytes {
			problems = append(problems, fmt.Errorf("%s %d: expected %d to %d bytes", limit.flag, limit.bytes, limit.least, int64(maxBytes)))
		}
	}
	if o.JournalSize < 0 {
		problems = append(problems, fmt.Errorf("--journal-size %d: expected zero or more", o.JournalSize))
	}
	if o.RoomTTL <= 0 {
		problems = append(problems, fmt.Errorf("--room-ttl %s: expected a duration above zero such as 10m", o.RoomTTL))
	}
	if o.MaxRooms < 0 {
		problems = append(problems, fmt.Errorf("--max-rooms %d: expected zero or more", o.MaxRooms))
	}
	if o.ReadTimeout < 0 {
		problems = append(problems, fmt.Errorf("--read-timeout %s: expected zero, which is no limit, or more, such as 30s", o.ReadTimeout))
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
	problems = append(problems, checkAuthToken(o.AuthToken))
	problems = append(problems, o.checkTLS())
	return errors.Join(problems...)
}

// Releases returns the FHIR releases to offer, newest first.
func (o *Serve) Releases() []fhir.Release {
	if len(o.Release) == 0 {
		return fhir.Releases
	}
	return slices.DeleteFunc(slices.Clone(fhir.Releases), func(r fhir.Release) bool {
		return !slices.ContainsFunc(o.Release, func(name string) bool { return strings.EqualFold(name, string(r)) })
	})
}

// Listen are the options of the client in the binary.
type Listen struct {
	Server       string        `default:"http://127.0.0.1:8080" env:"SIGNALFHIR_SERVER" placeholder:"URL" help:"Server, or its FHIR base (${default})."`
	AuthToken    *string       `name:"auth-token" env:"SIGNALFHIR_AUTH_TOKEN" placeholder:"TOKEN" help:"Send this bearer token with every request."`
	TLSCA        string        `name:"tls-ca" placeholder:"FILE" help:"Trust the certificates in this PEM file too."`
	Insecure     bool          `short:"k" help:"Trust any certificate, as a self-signed one."`
	Subscription string        `xor:"what" placeholder:"ID" help:"Listen to this subscription."`
	Topic        string        `xor:"what" placeholder:"URL" help:"Create a subscription on this topic, and delete it at the end."`
	Content      string        `enum:"empty,id-only,full-resource" default:"id-only" help:"Payload level of a created subscription (${default})."`
	Heartbeat    int           `default:"30" placeholder:"SECONDS" help:"Heartbeat period of a created subscription (${default})."`
	Filter       []string      `placeholder:"PARAM=VALUE" help:"Filter of a created subscription; may be repeated."`
	JSON         bool          `name:"json" help:"Print the raw frames, one a line."`
	Count        int           `placeholder:"N" help:"Exit after N events."`
	Timeout      time.Duration `placeholder:"DURATION" help:"Give up after this time."`
}

// ErrDone means that nothing is left to run: [Parse] has printed the help or the
// version.
var ErrDone = errors.New("nothing is left to run")

// Parse reads the arguments and the SIGNALFHIR_* variables. It returns a *[Serve]
// or a *[Listen]. It prints help and version to stdout and then returns
// [ErrDone]. It refuses an unknown variable with the prefix, which is most likely
// a misspelt one, unless Kubernetes has set it.
func Parse(args, environ []string, stdout io.Writer) (command any, err error) {
	var o options
	// kong ends the process after --help and --version. Panicking instead
	// returns to this function, so that a test can call it.
	defer func() {
		if r := recover(); r != nil {
			if r != ErrDone { //nolint:errorlint // the very value thrown below
				panic(r)
			}
			err = ErrDone
		}
	}()
	parser, err := kong.New(&o,
		kong.Name("signalfhir"),
		kong.Description("An in-memory development server for FHIR topic-based subscriptions over WebSocket."),
		kong.Vars{"version": Version()},
		kong.Writers(stdout, stdout),
		kong.Exit(func(int) { panic(ErrDone) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, err
	}
	if o.Serve.Ignored, err = checkEnviron(parser.Model, environ); err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return nil, fmt.Errorf("%w; signalfhir --help lists the options", err)
	}
	if parsed.Command() == "listen" {
		return &o.Listen, checkAuthToken(o.Listen.AuthToken)
	}
	return &o.Serve, o.Serve.Validate()
}

// testVariables are read by the tests around the program, not by the program.
var testVariables = []string{"SIGNALFHIR_BIN", "SIGNALFHIR_SPEC", "SIGNALFHIR_SPEC_REQUIRED", "SIGNALFHIR_BROWSER_REQUIRED", "SIGNALFHIR_SHOTS"}

// A pod has variables for each service of its namespace. Those for one that is named
// signalfhir, or signalfhir-something, have the prefix of ours.
var (
	kubernetesName = regexp.MustCompile(`^SIGNALFHIR(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	kubernetesPort = regexp.MustCompile(`^SIGNALFHIR(_[A-Z0-9_]+)?_PORT=(tcp|udp|sctp)://`) // a mere number comes from somebody who means --listen
)

// checkEnviron refuses unknown variables. It returns the names of those that Kubernetes
// has set.
func checkEnviron(model *kong.Application, environ []string) (ignored []string, err error) {
	const prefix = "SIGNALFHIR_"
	known := slices.Clone(testVariables)
	for _, node := range append([]*kong.Node{model.Node}, model.Children...) {
		for _, flag := range node.Flags {
			known = append(known, flag.Envs...)
		}
	}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		switch rest := strings.TrimPrefix(name, prefix); {
		case rest == name || slices.Contains(known, name):
		case kubernetesName.MatchString(name) || kubernetesPort.MatchString(pair):
			ignored = append(ignored, name)
		default:
			slices.Sort(known)
			var rests []string // the prefix would make all names near to each other
			for _, k := range known {
				rests = append(rests, strings.TrimPrefix(k, prefix))
			}
			if nearest := suggest.Nearest(rest, rests); nearest != "" {
				return nil, fmt.Errorf("unknown variable %s; did you mean %s%s?", name, prefix, nearest)
			}
			return nil, fmt.Errorf("unknown variable %s; known are %s", name, strings.Join(known, ", "))
		}
	}
	return ignored, nil
}

// Run prints notifications until ctx ends, Count events have arrived or Timeout
// has passed.
func (o *Listen) Run(ctx context.Context, stdout, stderr io.Writer) error {
	trust, err := o.trust()
	if err != nil {
		return err
	}
	return listen.Run(ctx, listen.Options{
		Server:       o.Server,
		AuthToken:    secret(o.AuthToken),
		TLS:          trust,
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

// Version returns the version of the build: the module's, else the commit's.
func Version() string {
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

// SeedData returns the seed file that Seed names; nil if it names none.
func (o *Serve) SeedData() (name string, data []byte, err error) {
	if o.Seed == "none" || o.Seed == "" {
		return "", nil, nil
	}
	data, err = os.ReadFile(o.Seed)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the seed: %w", err)
	}
	return o.Seed, data, nil
}

// Logger returns the log of the process, written to w. It is in color if w, or what w
// wraps, is a terminal.
func (o *Serve) Logger(w io.Writer) *slog.Logger {
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.LogLevel}))
	}
	last := w
	if wraps, is := w.(interface{ Unwrap() io.Writer }); is {
		last = wraps.Unwrap()
	}
	f, isFile := last.(*os.File)
	noColor := !isFile || os.Getenv("NO_COLOR") != ""
	if isFile {
		stat, err := f.Stat()
		noColor = noColor || err != nil || stat.Mode()&os.ModeCharDevice == 0
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: o.LogLevel, TimeFormat: "15:04:05.000", NoColor: noColor}))
}
