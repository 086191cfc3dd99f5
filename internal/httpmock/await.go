package httpmock

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
	"signalfhir/internal/suggest"
)

// How long an await waits by default, and the bounds of its timeout.
const (
	awaitDefault = 10 * time.Second
	awaitLeast   = time.Millisecond
	awaitMost    = 5 * time.Minute
)

// seen is the tally that an await saw last.
type seen struct {
	Bound int            `json:"bound"`
	Sent  map[string]int `json:"sent"`
}

// met is the response to an await.
type met struct {
	Met   bool            `json:"met"`
	Seq   uint64          `json:"seq"`
	Entry json.RawMessage `json:"entry,omitempty"`
	Seen  *seen           `json:"seen,omitempty"`
}

// awaitTime reads a member that says how long to wait.
func awaitTime(member, text string, fallback time.Duration) (time.Duration, error) {
	if text == "" {
		return fallback, nil
	}
	d, err := duration(member, text)
	if err == nil && (d < awaitLeast || d > awaitMost) {
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time from 1ms to 5m", text).At(member)
	}
	return d, err
}

// Await serves POST /mock/await. It waits until something has happened, so that no test has
// to sleep.
func (m *Mock) Await(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in awaitBody
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	timeout, err := awaitTime("timeout", in.Timeout, awaitDefault)
	if err != nil {
		return err
	}
	wanted, err := in.condition(timeout)
	if err != nil {
		return err
	}
	w := &wait{condition: wanted, room: httpedge.Room(c), given: in.Since != nil}
	if err := w.begin(in.Since); err != nil {
		return err
	}
	if err := m.knowsSocket(w); err != nil {
		return err
	}
	open, leave := whileOpen(c)
	defer leave()
	ctx, cancel := context.WithTimeout(open, timeout)
	defer cancel()
	ok := w.run(ctx)
	tally := w.room.Journal().Tally(wanted.subscription)
	found := &seen{tally.Bound, tally.Sent}
	switch {
	case ok:
		response := met{Met: true, Seq: w.seq}
		if w.last != nil {
			response.Entry = w.last.JSON(false)
		}
		if wanted.tallied {
			response.Seen = found
		}
		return writeJSON(c, response)
	case w.room.Context().Err() != nil:
		return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the room closed while this request waited for %s", wanted.what)
	}
	refused := fhir.Refuse(http.StatusRequestTimeout, fhir.CodeTimeout, "waited %s for %s; seen instead: %s", timeout, wanted.what, m.instead(w))
	return httpedge.WriteProblem(c, refused, found)
}

// wait is one await under way.
type wait struct {
	*condition
	room  *room.Room
	given bool   // since was given, so earlier entries do not count
	after uint64 // only entries after this one count

	seq     uint64         // of the last entry that was needed
	last    *journal.Entry // that counted; nil for a state
	counted int
	missed  uint64 // entries that were dropped before they could be looked at
}

// begin finds the entry after which the wait counts, and refuses what can never be met.
func (w *wait) begin(since *uint64) error {
	j := w.room.Journal()
	reset, last := j.Span()
	w.after = reset
	if since != nil {
		w.after = *since
	}
	if w.after > last {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, but the last entry of this journal is %d; is the number from an earlier room of this name, or from before a restart?", w.after, last).At("since")
	}
	if !j.Keeps() && (w.state == nil || w.given) {
		return fhir.Refuse(http.StatusConflict, fhir.CodeNotSupported, "the journal keeps no entries (--journal-size 0), so only connected, bound and sent can be awaited, without since and number")
	}
	if w.subscription == "" {
		return nil
	}
	// One that was deleted is known by what the journal says of it.
	_, err := w.room.Subscription(w.subscription)
	if err == nil || len(j.Entries(journal.Filter{Subscription: w.subscription, Limit: 1})) > 0 {
		return nil
	}
	if fhir.StatusOf(err) == http.StatusNotFound {
		var ids []string
		for _, s := range w.room.Subscriptions() {
			ids = append(ids, s.ID)
		}
		return noSuch("Subscription/", w.subscription, ids).At(w.member + ".subscription")
	}
	return err
}

// noSuch refuses an id of something that the room does not have, and never had.
func noSuch(kind, id string, ids []string) *fhir.Error {
	const most = 10 // ids that are listed
	hint := "the room has none"
	switch nearest := suggest.Nearest(id, ids); {
	case nearest != "":
		hint = "did you mean " + nearest + "?"
	case len(ids) > most:
		hint = fmt.Sprintf("the room has %s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
	case len(ids) > 0:
		hint = "the room has " + strings.Join(ids, ", ")
	}
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no %s%s; %s", kind, id, hint)
}

// knowsSocket refuses a condition that names a socket of which nothing is known.
func (m *Mock) knowsSocket(w *wait) error {
	if w.socket == "" || m.options.Socket(w.room, w.socket) != nil || len(w.room.Journal().Entries(journal.Filter{Socket: w.socket, Limit: 1})) > 0 {
		return nil
	}
	var ids []string
	for _, s := range m.options.Sockets(w.room) {
		ids = append(ids, s.ID)
	}
	return noSuch("socket ", w.socket, ids).At(w.member + ".socket")
}

// inWords returns what a subscription was sent, by type: "1 handshake, 2 heartbeats".
func inWords(sent map[string]int) string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(sent)) {
		words = append(words, quantity(sent[kind], kind))
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, ", ")
}

// run returns once the condition is met, with true, or ctx ends.
func (w *wait) run(ctx context.Context) bool {
	switch {
	case w.quiet > 0:
		return w.becomeQuiet(ctx)
	case w.state != nil && !w.given:
		_, ok := w.room.Journal().Await(ctx, w.subscription, w.state)
		if ok {
			w.seq = w.since()
		}
		return ok
	}
	return w.count(ctx)
}

// since returns the number of the entry since which a state holds, as far as the journal
// still has it. What came before is not known, so entries that nobody looked at are not
// passed over.
func (w *wait) since() uint64 {
	seq := w.after
	for _, e := range w.room.Journal().Entries(journal.Filter{After: w.after}) {
		if w.begins(&e) {
			if seq = e.Seq; !w.latest {
				break
			}
		}
	}
	return seq
}

// atOnce is the number of entries that an await reads at a time.
const atOnce = 500

// count reads the journal until enough entries were counted.
func (w *wait) count(ctx context.Context) bool {
	j := w.room.Journal()
	follow := j.FollowAtOnce
	if w.exchanges {
		// One that is reserved may count, and comes before those after it.
		follow = j.Follow
	}
	counts, seq := w.selects(), w.after
	if w.remembers {
		seq = 0
	}
	for {
		entries, skipped, err := follow(ctx, seq, atOnce)
		if err != nil && w.exchanges {
			// The time is up. What is there counts, even if an earlier exchange is not over.
			follow, w.exchanges = j.FollowAtOnce, false
			continue
		}
		if err != nil {
			return false
		}
		if seq += skipped; seq > w.after {
			w.missed += min(skipped, seq-w.after)
		}
		for i := range entries {
			e := &entries[i]
			seq = e.Seq
			if e.Kind == journal.Reset && !w.given {
				counts, w.counted, w.missed = w.selects(), 0, 0
			}
			if !counts(e) || e.Seq <= w.after || isAwait(e) {
				continue
			}
			if w.counted++; w.counted >= w.want {
				w.seq, w.last = e.Seq, e
				return true
			}
		}
	}
}

// isAwait reports whether an entry is an await, whose body has the text that it waits for.
func isAwait(e *journal.Entry) bool {
	return e.Exchange != nil && strings.HasSuffix(e.Exchange.Path, "/mock/await")
}

// becomeQuiet returns true when nothing was recorded for as long as the condition says. A
// reserved entry is an exchange that has begun.
func (w *wait) becomeQuiet(ctx context.Context) bool {
	j := w.room.Journal()
	_, begun := j.Span()
	counts := w.selects()
	w.seq = w.after
	ended, end := context.WithCancel(ctx)
	end()
	for seq, until := w.after, time.Now().Add(w.quiet); ; {
		waiting, cancel := context.WithDeadline(ctx, until)
		entries, skipped, err := j.FollowAtOnce(waiting, seq, atOnce)
		cancel()
		if err != nil { // an entry may have come in the same moment
			if entries, skipped, err = j.FollowAtOnce(ended, seq, atOnce); err != nil {
				return ctx.Err() == nil
			}
		}
		seq += skipped
		for i := range entries {
			e := &entries[i]
			if seq = e.Seq; e.Kind == "" {
				e.Kind, e.Subscription = journal.HTTP, w.subscription // what it is about is not known yet
			}
			if !counts(e) || isAwait(e) {
				continue
			}
			w.seq = e.Seq
			if e.Seq > begun {
				w.counted++
				w.last = e
				until = time.Now().Add(w.quiet)
			}
		}
	}
}

// instead says in words what an await in vain saw.
func (m *Mock) instead(w *wait) string {
	const most = 3 // entries of a list
	var before, near, frames []string
	early := 0
	counts := w.selects()
	for _, e := range w.room.Journal().Entries(journal.Filter{}) {
		if isAwait(&e) {
			continue
		}
		if e.Kind == journal.Sent {
			frames = append(frames, line(&e))
		}
		switch selected := counts(&e); {
		case selected && e.Seq <= w.after:
			early++
			before = []string{line(&e)}
		case selected && w.state == nil:
			near = append(near, line(&e)+" (counted)")
		case e.Seq > w.after && w.near(&e):
			near = append(near, line(&e))
		}
	}
	newest := func(title string, list []string) string {
		if len(list) == 0 {
			return title + " none"
		}
		if more := len(list) - most; more > 0 {
			return fmt.Sprintf("%s %s, and %d before", title, strings.Join(list[more:], ", "), more)
		}
		return title + " " + strings.Join(list, ", ")
	}
	var parts []string
	if w.quiet > 0 {
		parts = append(parts, quantity(w.counted, "entry")+" came meanwhile")
		if w.last != nil {
			parts = append(parts, "the last was "+line(w.last))
		}
	} else if w.state == nil || w.given {
		if w.progress != nil {
			parts = append(parts, w.progress())
		} else {
			parts = append(parts, fmt.Sprintf("%d of %d", w.counted, w.want))
		}
		if early > 0 && w.given {
			parts = append(parts, fmt.Sprintf("%d up to since %d, which do not count, the last is %s", early, w.after, before[0]))
		}
		parts = append(parts, newest("similar entries:", near))
	}
	if w.missed > 0 {
		parts = append(parts, fmt.Sprintf("%d entries after %d were dropped from the journal before they could be counted, and may have been what was waited for; a larger --journal-size keeps more", w.missed, w.after))
	}
	if w.subscription != "" {
		tally := w.room.Journal().Tally(w.subscription)
		parts = append(parts, fmt.Sprintf("Subscription/%s has %s and was sent %s", w.subscription, quantity(tally.Bound, "bound socket"), inWords(tally.Sent)))
	}
	var sockets []string
	for _, s := range m.options.Sockets(w.room) {
		bound := "bound to nothing"
		if len(s.Bindings) > 0 {
			bound = "bound to " + strings.Join(s.Bindings, " ")
		}
		sockets = append(sockets, s.ID+" "+bound)
	}
	parts = append(parts, newest("open sockets:", sockets), newest("last frames:", frames))
	if d := w.room.ClockDetail(); d.Mode == room.ManualClock && d.Next != nil {
		due := d.Due[0]
		of := cmp.Or(due.Subscription, due.Topic, due.Generator, due.Token, due.Fault, due.Scenario)
		parts = append(parts, fmt.Sprintf("the clock is manual and shows %s; due next: %s %s at %s, once POST /mock/clock/advance lets that time pass", d.Now.Format(time.RFC3339Nano), due.Kind, of, due.At.Format(time.RFC3339Nano)))
	}
	return strings.Join(parts, "; ")
}

// line returns an entry as a few words.
func line(e *journal.Entry) string {
	text := fmt.Sprintf("entry %d %s", e.Seq, e.Kind)
	add := func(words string, there bool) {
		if there {
			text += " " + words
		}
	}
	if x := e.Exchange; x != nil {
		add(fmt.Sprintf("%s %s %d", x.Method, x.Path, x.Status), true)
	}
	add(e.Type, e.Type != "")
	add(fmt.Sprintf("event %d", e.First), e.First > 0 && e.First == e.Last)
	add(fmt.Sprintf("events %d to %d", e.First, e.Last), e.First > 0 && e.Last > e.First)
	add("Subscription/"+e.Subscription, e.Subscription != "")
	add(e.Socket, e.Socket != "")
	add(e.Resource, e.Resource != "")
	add(fmt.Sprint(e.Code), e.Code != 0)
	const most = 100
	add("("+strings.ToValidUTF8(e.Text[:min(len(e.Text), most)], "")+")", e.Text != "")
	return text
}
