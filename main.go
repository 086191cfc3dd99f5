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
// main.go reads the options and runs the program, server.go lists the routes,
// handlers.go translates between HTTP and the room, mock.go serves the control
// routes, hub.go moves bytes to and from the sockets. The rules of FHIR live
// below internal/.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/lmittmann/tint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program with its surroundings handed in. It answers the exit
// code: 0 after a stop that was asked for, 1 when it could not go on, 2 when it
// was called wrongly.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command, err := parseOptions(args, environ, stdout)
	switch {
	case errors.Is(err, errAnswered):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "signalfhir: %v\n", err)
		return 2
	}
	if err := command.run(ctx, stdin, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "signalfhir: %v\n", err)
		return 1
	}
	return 0
}

// newLogger makes the log of the process.
func newLogger(o *serveOptions, w io.Writer) *slog.Logger {
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.LogLevel}))
	}
	f, isFile := w.(*os.File)
	noColor := !isFile || os.Getenv("NO_COLOR") != ""
	if isFile {
		stat, err := f.Stat()
		noColor = noColor || err != nil || stat.Mode()&os.ModeCharDevice == 0
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: o.LogLevel, TimeFormat: "15:04:05.000", NoColor: noColor}))
}
