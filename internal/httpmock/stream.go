package httpmock

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
)

// The stream sends a batch at most once per streamPace. If it is silent for streamAlive, it
// sends a comment, so that proxies do not close it.
const (
	streamPace  = 100 * time.Millisecond
	streamAlive = 15 * time.Second
	maxPace     = 1_000_000 // entries a second, the bound of the parameter most
)

// JournalStream serves GET /mock/journal/stream: a server-sent event for each entry after the
// last one that the client has seen. An event "gap" has the number of skipped entries.
func (m *Mock) JournalStream(c echo.Context) error {
	if err := httpedge.NoBody(c, append(selecting, "most", "last-event-id")...); err != nil {
		return err
	}
	f, err := journalFilter(c)
	if err != nil {
		return err
	}
	most, err := wholeNumber(c, "most", 1, maxPace, 1000)
	if err != nil {
		return err
	}
	r := httpedge.Room(c)
	_, last := r.Journal().Range()
	seq := resume(c, f, last)
	f.After = 0
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	if httpedge.IsHead(c) {
		return nil
	}
	hello, _ := json.Marshal(map[string]any{"instance": r.Instance(), "version": m.options.Version, "last": last})
	stream := &eventStream{Response: c.Response(), instance: r.Instance(), most: most, allowed: float64(most), at: time.Now(), said: time.Now()}
	stream.event("hello", hello)

	ctx, cancel := whileOpen(c)
	defer cancel()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for stream.err == nil {
		stream.Flush()
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
		entries, skipped := follow(ctx, r.Journal(), seq)
		if ctx.Err() != nil {
			return nil
		}
		pace.Reset(streamPace)
		seq += skipped
		if len(entries) > 0 {
			seq = entries[len(entries)-1].Seq
		}
		stream.batch(slices.DeleteFunc(entries, func(e journal.Entry) bool { return !f.Selects(&e) }), skipped)
	}
	return nil
}

// follow waits for entries, or for the time to show that the stream is alive.
func follow(ctx context.Context, j *journal.Journal, seq uint64) (entries []journal.Entry, skipped uint64) {
	waiting, cancel := context.WithTimeout(ctx, streamAlive)
	defer cancel()
	entries, skipped, _ = j.Follow(waiting, seq, 1<<20)
	return entries, skipped
}

// resume returns the number of the last entry the client has seen. The client names it by
// the event it comes back with, or by since. An event of another room, or of an earlier one
// of the same name, counts as none seen. A client that names nothing gets new entries only.
func resume(c echo.Context, f journal.Filter, last uint64) uint64 {
	id := c.Request().Header.Get("Last-Event-ID")
	if id == "" {
		id = c.QueryParam("last-event-id")
	}
	switch {
	case id != "":
		instance, number, _ := strings.Cut(id, "-")
		seen, err := strconv.ParseUint(number, 10, 64)
		if instance != httpedge.Room(c).Instance() || err != nil {
			return 0
		}
		return min(seen, last)
	case !f.Since.IsZero():
		return 0
	case c.QueryParam("since") != "":
		return min(f.After, last)
	}
	return last
}

// eventStream writes server-sent events. Its first failure ends it.
type eventStream struct {
	*echo.Response
	instance string
	most     int       // entries a second
	allowed  float64   // of them now
	at       time.Time // when allowed was computed
	said     time.Time // when something was written last
	err      error
}

// batch writes the newest entries, as many as are allowed, and the number of those that were
// skipped. If nothing was written for long, it writes a comment.
func (s *eventStream) batch(entries []journal.Entry, skipped uint64) {
	now := time.Now()
	s.allowed = min(float64(s.most), s.allowed+float64(s.most)*now.Sub(s.at).Seconds())
	s.at = now
	if surplus := len(entries) - int(s.allowed); surplus > 0 {
		skipped += uint64(surplus)
		entries = entries[surplus:]
	}
	s.allowed -= float64(len(entries))
	if skipped > 0 {
		s.event("gap", fmt.Appendf(nil, `{"skipped":%d}`, skipped))
	}
	for i := range entries {
		s.entry(&entries[i])
	}
	if now.Sub(s.said) >= streamAlive {
		s.comment("alive")
	}
}

func (s *eventStream) event(name string, data []byte) {
	s.write("event: %s\ndata: %s\n\n", name, data)
}

func (s *eventStream) entry(e *journal.Entry) {
	s.write("id: %s-%d\ndata: %s\n\n", s.instance, e.Seq, e.JSON(false))
}

func (s *eventStream) comment(text string) { s.write(": %s\n\n", text) }

func (s *eventStream) write(format string, args ...any) {
	if s.err == nil {
		s.said = time.Now()
		_, s.err = fmt.Fprintf(s.Response, format, args...)
	}
}

// whileOpen returns a context that ends with the request or with its room.
func whileOpen(c echo.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.Request().Context())
	stop := context.AfterFunc(httpedge.Room(c).Context(), cancel)
	return ctx, func() { stop(); cancel() }
}
