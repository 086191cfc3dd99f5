// Package listen placeholder
package listen

import (
	"context"
	"errors"
	"io"
	"time"
)

// Options placeholder
type Options struct {
	Server, Subscription, Topic, Content string
	Heartbeat                            int
	Filters                              []string
	JSON                                 bool
	Count                                int
	Timeout                              time.Duration
}

// Run placeholder
func Run(context.Context, Options, io.Writer, io.Writer) error { return errors.New("not yet") }
