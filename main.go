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
// internal/command reads the options, main.go runs what they ask for, server.go
// lists the routes, handlers.go translates between HTTP and the room, mock.go serves the control
// routes, hub.go accepts sockets and hands them to rooms. The rules of FHIR live
// below internal/.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"signalfhir/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program with its surroundings passed in. It returns the exit
// code: 0 after a normal stop, 1 after a failure, 2 if the arguments are wrong.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	parsed, err := command.Parse(args, environ, stdout)
	switch {
	case errors.Is(err, command.ErrDone):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "signalfhir: %v\n", err)
		return 2
	}
	switch c := parsed.(type) {
	case *command.Serve:
		err = listenAndServe(ctx, c, stdin, stdout, stderr)
	case *command.Listen:
		err = c.Run(ctx, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "signalfhir: %v\n", err)
		return 1
	}
	return 0
}
