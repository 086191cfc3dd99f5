package journal_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
)

// frameOf returns a frame of n bytes.
func frameOf(n int) []byte { return bytes.Repeat([]byte("f"), n) }

func frame(data []byte) journal.Entry {
	return journal.Entry{Kind: journal.Sent, Subscription: "a", Socket: "s1", Type: "event-notification", Frame: data}
}

func exchange(body string) journal.Entry {
	return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{
		Method: "POST", Path: "/fhir/R5/Encounter", Status: 201, Took: 1500 * time.Microsecond,
		RequestHeaders: map[string]string{"Content-Type": "application/fhir+json"}, RequestBody: []byte(body),
		ResponseHeaders: map[string]string{"Location": "x"}, ResponseBody: []byte("{}"),
	}}
}

func TestPayload_TheOldestIsDropped(t *testing.T) {
	t.Parallel()
	j := journal.New(clock.NewManual(start), journal.Options{Size: 100, Payload: 100})
	for range 5 {
		j.Record(frame(frameOf(40)))
		j.Record(bound("a"))
	}
	var kept []bool
	for _, e := range j.Entries(journal.Filter{Kinds: []string{journal.Sent}}) {
		if e.Dropped == (e.Frame != nil) || e.Size != 40 {
			t.Errorf("entry %d: dropped %v, %d of %d bytes", e.Seq, e.Dropped, len(e.Frame), e.Size)
		}
		kept = append(kept, !e.Dropped)
	}
	if want := []bool{false, false, false, true, true}; !slices.Equal(kept, want) {
		t.Errorf("kept: got %v, want %v", kept, want)
	}
	for _, e := range j.Entries(journal.Filter{Kinds: []string{journal.Bound}}) {
		if e.Dropped {
			t.Errorf("entry %d had nothing to drop", e.Seq)
		}
	}
	if entries, held := j.Held(); entries != 10 || held != 80 {
		t.Errorf("held: got %d entries, %d bytes; want 10, 80", entries, held)
	}
}

func TestPayload_TheSameFrameInARowCountsOnce(t *testing.T) {
	t.Parallel()
	j := journal.New(clock.NewManual(start), journal.Options{Size: 3000, Payload: 1000})
	shared, other := frameOf(600), frameOf(500)
	for range 1000 {
		j.Record(frame(shared))
	}
	if _, held := j.Held(); held != 600 {
		t.Errorf("held: got %d bytes, want 600", held)
	}
	for _, e := range j.Entries(journal.Filter{}) {
		if &e.Frame[0] != &shared[0] {
			t.Fatal("a frame was copied")
		}
	}
	// One frame more, and the shared one is dropped from every entry.
	j.Record(frame(other))
	for _, e := range j.Entries(journal.Filter{}) {
		if dropped := e.Seq <= 1000; e.Dropped != dropped {
			t.Fatalf("entry %d: dropped %v, want %v", e.Seq, e.Dropped, dropped)
		}
	}
	if _, held := j.Held(); held != 500 {
		t.Errorf("held: got %d bytes, want 500", held)
	}
}

func TestPayload_AFrameBeyondTheBudgetIsNotKept(t *testing.T) {
	t.Parallel()
	j := journal.New(clock.NewManual(start), journal.Options{Size: 10, Payload: 100})
	huge := frameOf(101)
	for range 3 {
		j.Record(frame(huge))
	}
	for _, e := range j.Entries(journal.Filter{}) {
		if !e.Dropped || e.Size != 101 {
			t.Errorf("entry %d: dropped %v, size %d", e.Seq, e.Dropped, e.Size)
		}
	}
	if _, held := j.Held(); held != 0 {
		t.Errorf("held: got %d bytes, want 0", held)
	}
}

func TestPayload_HeadersCountToo(t *testing.T) {
	t.Parallel()
	j := journal.New(clock.NewManual(start), journal.Options{Size: 100, Payload: 10_000})
	for range 20 {
		e := exchange("{}")
		e.Exchange.RequestHeaders["X-Long"] = strings.Repeat("h", 1000)
		given := *e.Exchange
		j.Record(e)
		if diff := cmp.Diff(&given, e.Exchange); diff != "" {
			t.Fatalf("the exchange was modified:\n%s", diff)
		}
	}
	entries := j.Entries(journal.Filter{})
	if first := entries[0]; !first.Dropped || first.Exchange.RequestHeaders != nil || first.Exchange.Status != 201 {
		t.Errorf("the oldest: got %+v, want only its summary", first.Exchange)
	}
	if last := entries[19]; last.Dropped || last.Exchange.RequestHeaders["X-Long"] == "" {
		t.Errorf("the newest: got %+v, want everything", last.Exchange)
	}
}

func TestRecord_TruncatesALongText(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(journal.Entry{Kind: journal.NotFired, Text: strings.Repeat("é", 1<<20)})
	if got := j.Entries(journal.Filter{})[0].Text; len(got) > 5000 || !strings.HasSuffix(got, "é…") {
		t.Errorf("got %d bytes that end with %q", len(got), got[len(got)-10:])
	}
}

// Whatever is recorded in whatever order, the entries hold no more than the
// budget, and at least that much is counted.
func TestPayload_IsNeverOverBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const budget = 1000
		j := journal.New(clock.NewManual(start), journal.Options{Size: rapid.IntRange(1, 20).Draw(t, "size"), Payload: budget})
		frames := [][]byte{frameOf(10), frameOf(300), frameOf(700), frameOf(1200)}
		for _, what := range rapid.SliceOfN(rapid.IntRange(-2, 3), 0, 100).Draw(t, "records") {
			switch what {
			case -2:
				j.Record(bound("a"))
			case -1:
				j.Record(exchange(strings.Repeat("b", 400)))
			default:
				j.Record(frame(frames[what]))
			}
			held := 0
			seen := map[*byte]bool{}
			for _, e := range j.Entries(journal.Filter{}) {
				if x := e.Exchange; x != nil {
					held += len(x.RequestBody) + len(x.ResponseBody)
				}
				if len(e.Frame) > 0 && !seen[&e.Frame[0]] {
					seen[&e.Frame[0]] = true
					held += len(e.Frame)
				}
			}
			// A frame whose first entry was dropped from the ring is no longer counted.
			if _, counted := j.Held(); counted < 0 || counted > budget || held > budget+700 {
				t.Fatalf("holds %d bytes, counts %d, budget %d", held, counted, budget)
			}
		}
	})
}

func TestEntry_JSON(t *testing.T) {
	t.Parallel()
	j, _ := newJournal(10)
	j.Record(exchange(`{"a":"<é>"}`))
	j.Record(journal.Entry{Kind: journal.Sent, Subscription: "a", Socket: "s1", Type: "event-notification", First: 1, Last: 2, Frame: []byte(`{"x":1}`)})
	j.Record(journal.Entry{Kind: journal.Closed, Socket: "s1", Code: 1013, Text: "full"})
	entries := j.Entries(journal.Filter{})
	for i, want := range []string{
		`{"seq":1,"time":"2026-01-01T10:00:00Z","kind":"http","size":14,"http":{"method":"POST","path":"/fhir/R5/Encounter","status":201,"took":1.5}}`,
		`{"seq":2,"time":"2026-01-01T10:00:00Z","kind":"sent","subscription":"a","socket":"s1","type":"event-notification","first":1,"last":2,"size":7}`,
		`{"seq":3,"time":"2026-01-01T10:00:00Z","kind":"closed","socket":"s1","code":1013,"text":"full"}`,
	} {
		if got := string(entries[i].JSON(false)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got, want := string(entries[1].JSON(true)), `"frame":"{\"x\":1}"}`; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want …%s", got, want)
	}
	var whole struct {
		HTTP struct {
			RequestHeaders, ResponseHeaders map[string]string
			RequestBody, ResponseBody       string
		}
	}
	if err := json.Unmarshal(entries[0].JSON(true), &whole); err != nil {
		t.Fatal(err)
	}
	if h := whole.HTTP; h.RequestBody != `{"a":"<é>"}` || h.ResponseBody != "{}" || h.RequestHeaders["Content-Type"] == "" || h.ResponseHeaders["Location"] != "x" {
		t.Errorf("got %+v, want headers and bodies", h)
	}
}

func TestEntries_FindText(t *testing.T) {
	t.Parallel()
	j, c := newJournal(20)
	j.Record(exchange(`{"id":"In-The-Body"}`))
	j.Record(frame([]byte("in-the-frame")))
	c.Advance(time.Minute)
	j.Record(journal.Entry{Kind: journal.Refused, Socket: "s2", Text: "in-the-text"})
	j.Record(journal.Entry{Kind: journal.Fired, Topic: "http://in-the-topic", Resource: "Encounter/in-the-id"})
	for name, c := range map[string]struct {
		filter journal.Filter
		want   []uint64
	}{
		"body":              {journal.Filter{Text: "in-the-body"}, []uint64{1}},
		"path":              {journal.Filter{Text: "post /FHIR"}, []uint64{1}},
		"frame":             {journal.Filter{Text: "IN-THE-FRAME"}, []uint64{2}},
		"text":              {journal.Filter{Text: "the-text"}, []uint64{3}},
		"topic":             {journal.Filter{Text: "in-the-topic"}, []uint64{4}},
		"resource":          {journal.Filter{Text: "encounter/in"}, []uint64{4}},
		"everywhere":        {journal.Filter{Text: "in-the"}, []uint64{1, 2, 3, 4}},
		"socket":            {journal.Filter{Socket: "s2"}, []uint64{3}},
		"since a time":      {journal.Filter{Since: start.Add(time.Second)}, []uint64{3, 4}},
		"after a number":    {journal.Filter{After: 3}, []uint64{4}},
		"after the last":    {journal.Filter{After: 4}, []uint64{}},
		"the newest two":    {journal.Filter{Limit: 2}, []uint64{3, 4}},
		"newest that match": {journal.Filter{Text: "in-the-", Limit: 1}, []uint64{4}},
	} {
		if got := seqs(j.Entries(c.filter)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	for seq, ok := range map[uint64]bool{0: false, 1: true, 4: true, 5: false} {
		if e, found := j.Entry(seq); found != ok || ok && e.Seq != seq {
			t.Errorf("Entry(%d): got %v %v", seq, e.Seq, found)
		}
	}
}

func BenchmarkRecordFrames(b *testing.B) {
	shared := frameOf(1000)
	for name, size := range map[string]int{"off": -1, "on": 10_000} {
		b.Run(name, func(b *testing.B) {
			j := journal.New(clock.Real(), journal.Options{Size: size})
			e := frame(shared)
			e.Time = start
			b.ReportAllocs()
			for b.Loop() {
				j.Record(e)
			}
		})
	}
}

// If there is no memory, entries are recorded without their payload.
func TestPayload_IsNotKeptIfThereIsNoMemory(t *testing.T) {
	t.Parallel()
	full := false
	j := journal.New(clock.NewManual(start), journal.Options{Full: func() bool { return full }})
	frame := []byte(`{"resourceType":"Bundle"}`)
	record := func() {
		j.Record(journal.Entry{Kind: journal.Sent, Frame: frame})
		j.Complete(j.Reserve(), journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "GET", Path: "/", ResponseBody: frame}})
	}
	record()
	full = true
	record()
	j.Record(journal.Entry{Kind: journal.Sent, Frame: frame})
	full = false
	record() // the frame is charged again, though it is the one before
	entries := j.Entries(journal.Filter{})
	if len(entries) != 7 {
		t.Fatalf("%d entries, want 7", len(entries))
	}
	for i, e := range entries {
		kept := len(e.Frame) > 0 || e.Exchange != nil && len(e.Exchange.ResponseBody) > 0
		if want := i < 2 || i > 4; kept != want || e.Dropped == want {
			t.Errorf("entry %d: kept %v, dropped %v, want kept %v", i, kept, e.Dropped, want)
		}
	}
	if _, held := j.Held(); held != 4*len(frame) {
		t.Errorf("%d bytes are held, want %d", held, 4*len(frame))
	}
}
