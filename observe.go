package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/socket"
)

// The routes that look inside: what is there now, and what happened.

// state answers GET /mock/state: everything the page shows of the room.
func (s *server) state(c echo.Context) error {
	root := s.rootOf(c)
	sockets := s.hub.sockets(s.room)
	counts := s.room.Counts()
	return answerJSON(c, struct {
		Instance string            `json:"instance"`
		Version  string            `json:"version"`
		URL      string            `json:"url"`
		FHIR     map[string]string `json:"fhir"`
		WS       string            `json:"ws"`
		Counts   map[string]int    `json:"counts"`
		Sockets  []socket.State    `json:"sockets"`
		*room.State
	}{
		s.instance, command.Version(), root, s.bases(root), socketURL(root),
		map[string]int{"resources": counts.Resources, "subscriptions": counts.Subscriptions, "tokens": counts.Tokens, "sockets": len(sockets)},
		sockets, s.room.State(),
	})
}

// journal answers GET /mock/journal: what is kept and selected, oldest first.
func (s *server) journal(c echo.Context) error {
	if err := onlyParameters(c, append(selecting, "limit", "bodies", "format")...); err != nil {
		return err
	}
	f, err := journalFilter(c)
	if err != nil {
		return err
	}
	bodies, err := isSet(c, "bodies")
	if err != nil {
		return err
	}
	format := c.QueryParam("format")
	if format == "" && strings.Contains(c.Request().Header.Get("Accept"), "application/x-ndjson") {
		format = "ndjson"
	}
	j := s.room.Journal()
	switch format {
	case "", "json":
		first, last := j.Range()
		entries := []json.RawMessage{}
		for _, e := range j.Entries(f) {
			if e.Seq > last {
				break // of after the look at last
			}
			entries = append(entries, e.JSON(bodies))
		}
		return answerJSON(c, struct {
			Instance string            `json:"instance"`
			First    uint64            `json:"first"` // the oldest one kept
			Last     uint64            `json:"last"`
			Entries  []json.RawMessage `json:"entries"`
		}{s.instance, first, last, entries})
	case "ndjson":
		var lines bytes.Buffer
		for _, e := range j.Entries(f) {
			lines.Write(e.JSON(bodies))
			lines.WriteByte('\n')
		}
		return download(c, "application/x-ndjson", "signalfhir.ndjson", lines.Bytes())
	case "har":
		return download(c, "application/json", "signalfhir.har", journal.HAR(j.Entries(f), s.rootOf(c), command.Version()))
	}
	return fhir.Refuse(http.StatusBadRequest, "code-invalid", "got %q, expected json, ndjson or har", format).At("format")
}

func download(c echo.Context, kind, name string, data []byte) error {
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return c.Blob(http.StatusOK, kind, data)
}

// journalEntry answers GET /mock/journal/[seq] with frame, headers and bodies.
func (s *server) journalEntry(c echo.Context) error {
	seq, err := strconv.ParseUint(c.Param("seq"), 10, 64)
	if err != nil {
		return fhir.Refuse(http.StatusBadRequest, "value", "%q is no number of an entry", c.Param("seq"))
	}
	e, ok := s.room.Journal().Entry(seq)
	if !ok {
		first, last := s.room.Journal().Range()
		return fhir.Refuse(http.StatusNotFound, "not-found", "entry %d is not kept; the journal has %d to %d", seq, first, last)
	}
	return answerJSON(c, json.RawMessage(e.JSON(true)))
}

// selecting are the parameters that say which entries are wanted.
var selecting = []string{"kind", "subscription", "socket", "text", "since"}

// onlyParameters refuses a parameter that means nothing: it is most likely a
// misspelt one, and the answer not what was asked for.
func onlyParameters(c echo.Context, known ...string) error {
	for name := range c.QueryParams() {
		if !slices.Contains(known, name) {
			return fhir.Refuse(http.StatusBadRequest, "not-supported", "there is no such parameter; known are %s", strings.Join(known, ", ")).At(name)
		}
	}
	return nil
}

// journalFilter reads which entries are wanted.
func journalFilter(c echo.Context) (journal.Filter, error) {
	f := journal.Filter{Subscription: c.QueryParam("subscription"), Socket: c.QueryParam("socket"), Text: c.QueryParam("text")}
	for _, list := range c.QueryParams()["kind"] {
		for kind := range strings.SplitSeq(list, ",") {
			if kind == "" {
				continue
			}
			if !slices.Contains(journal.Kinds(), kind) {
				return f, fhir.Refuse(http.StatusBadRequest, "code-invalid", "got %q, expected one of %s", kind, strings.Join(journal.Kinds(), ", ")).At("kind")
			}
			f.Kinds = append(f.Kinds, kind)
		}
	}
	if since := c.QueryParam("since"); since != "" {
		var err error
		if f.After, err = strconv.ParseUint(since, 10, 64); err != nil {
			if f.Since, err = time.Parse(time.RFC3339, since); err != nil {
				return f, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected the number of an entry or a time such as 2026-01-02T15:04:05Z", since).At("since")
			}
		}
	}
	var err error
	f.Limit, err = whole(c, "limit", 1, 0)
	return f, err
}

func isSet(c echo.Context, name string) (bool, error) {
	switch v := c.QueryParam(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected true or false", v).At(name)
	}
}

// whole reads a parameter that is a whole number from least on.
func whole(c echo.Context, name string, least, fallback int) (int, error) {
	text := c.QueryParam(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected a whole number from %d on", text, least).At(name)
	}
	return n, nil
}

// How the stream paces itself: a batch goes out at once and then not more often
// than this, and a comment now and then keeps proxies from closing it.
const (
	streamPace  = 100 * time.Millisecond
	streamAlive = 15 * time.Second
)

// journalStream answers GET /mock/journal/stream: server-sent events, one an
// entry, from where the client left off. What it cannot follow it is told of.
func (s *server) journalStream(c echo.Context) error {
	if err := onlyParameters(c, append(selecting, "most", "last-event-id")...); err != nil {
		return err
	}
	f, err := journalFilter(c)
	if err != nil {
		return err
	}
	most, err := whole(c, "most", 1, 1000)
	if err != nil {
		return err
	}
	_, last := s.room.Journal().Range()
	seq := s.resume(c, f, last)
	f.After = 0
	h := c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	if _, head := c.Response().Writer.(headWriter); head {
		return nil
	}
	hello, _ := json.Marshal(map[string]any{"instance": s.instance, "version": command.Version(), "last": last})
	stream := &eventStream{Response: c.Response(), instance: s.instance, most: most, allowed: float64(most), at: time.Now(), said: time.Now()}
	stream.event("hello", hello)

	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	pace := time.NewTimer(0)
	defer pace.Stop()
	for stream.err == nil {
		stream.Flush()
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
		entries, skipped := s.follow(ctx, seq)
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
func (s *server) follow(ctx context.Context, seq uint64) (entries []journal.Entry, skipped uint64) {
	waiting, cancel := context.WithTimeout(ctx, streamAlive)
	defer cancel()
	entries, skipped, _ = s.room.Journal().Follow(waiting, seq, 1<<20)
	return entries, skipped
}

// resume is the number of the entry the client has seen last: by the event it
// comes back with, else by since. An event of another life of the server has
// seen nothing of this one; who names none sees what is new.
func (s *server) resume(c echo.Context, f journal.Filter, last uint64) uint64 {
	id := c.Request().Header.Get("Last-Event-ID")
	if id == "" {
		id = c.QueryParam("last-event-id")
	}
	switch {
	case id != "":
		instance, number, _ := strings.Cut(id, "-")
		seen, err := strconv.ParseUint(number, 10, 64)
		if instance != s.instance || err != nil {
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
	at       time.Time // when that was reckoned
	said     time.Time // when something was written last
	err      error
}

// batch writes entries as far as they are allowed, the newest of them, and how
// many were skipped. Where there is nothing to say for long it says that.
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

// maxFound bounds the resources of one answer of GET /mock/resources.
const maxFound = 1000

// resources answers GET /mock/resources: those of a type, also the deleted ones,
// what changed last first.
func (s *server) resources(c echo.Context) error {
	b := s.room.Base(s.options.Releases()[0])
	if name := c.QueryParam("release"); name != "" {
		r, ok := fhir.ParseRelease(name)
		if ok {
			b = s.room.Base(r)
		}
		if !ok || b == nil {
			return fhir.Refuse(http.StatusBadRequest, "code-invalid", "release: got %q, expected one of %v", name, s.options.Releases())
		}
	}
	typ := c.QueryParam("type")
	if err := b.Stores(typ); err != nil {
		return err
	}
	offset, err := whole(c, "offset", 0, 0)
	if err != nil {
		return err
	}
	limit, err := whole(c, "limit", 1, 50)
	if err != nil {
		return err
	}
	type one struct {
		ID       string          `json:"id"`
		Version  string          `json:"version"`
		Updated  time.Time       `json:"updated"`
		Deleted  bool            `json:"deleted,omitempty"`
		Resource json.RawMessage `json:"resource,omitempty"`
	}
	found, total := b.Find(typ, c.QueryParam("text"), offset, min(limit, maxFound))
	list := make([]one, len(found))
	for i, f := range found {
		list[i] = one{ID: f.ID, Version: f.VersionID, Updated: f.At, Deleted: f.Resource == nil}
		if f.Resource != nil {
			list[i].Resource = f.Resource.JSON
		}
	}
	return answerJSON(c, struct {
		Total     int   `json:"total"`
		Resources []one `json:"resources"`
	}{total, list})
}
