package soak

import (
	"strings"
	"testing"
	"time"

	"signalfhir/testkit"
)

// history is a journal in the making.
type history []testkit.Entry

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// with returns the history with more entries, each a second after the other.
func (h history) with(more ...testkit.Entry) history {
	h = append(history{}, h...)
	for _, e := range more {
		e.Seq = uint64(len(h) + 1)
		e.Time = noon.Add(time.Duration(len(h)) * time.Second)
		h = append(h, e)
	}
	return h
}

func entry(kind string, edit func(*testkit.Entry)) testkit.Entry {
	e := testkit.Entry{Kind: kind, Subscription: "all-0", Socket: "s1", Token: "t1"}
	edit(&e)
	return e
}

func event(kind string, n int64) testkit.Entry {
	return entry(kind, func(e *testkit.Entry) {
		e.First, e.Last, e.Resource, e.Type = n, n, "Encounter/p0-1", "event-notification"
		if kind != "sent" {
			e.Socket = ""
		}
	})
}

func change(resource, interaction string) testkit.Entry {
	return testkit.Entry{Kind: "change", Resource: resource, Interaction: interaction, Version: "1"}
}

var (
	occurs    = []testkit.Entry{change("Encounter/p0-1", "update"), {Kind: "fired", Resource: "Encounter/p0-1"}}
	handshake = entry("sent", func(e *testkit.Entry) { e.Type = "handshake" })
	unbound   = entry("unbound", func(e *testkit.Entry) { e.Text = "token expired" })
	bound     = entry("bound", func(*testkit.Entry) {})
)

// begun has a subscription, a token that is valid for a minute, and an open socket.
func begun() history {
	return history{}.with(
		testkit.Entry{Kind: "status", Subscription: "all-0", Text: "active"}, change("Subscription/all-0", "create"),
		testkit.Entry{Kind: "token", Type: "issued", Token: "t1", Text: "for all-0 until 2026-01-01T12:01:02Z"},
		testkit.Entry{Kind: "opened", Socket: "s1", Text: "/ws?soak=c1 from 127.0.0.1:1"})
}

// violations returns what the model finds wrong with a history.
func violations(h history) string {
	var found []string
	m := newModel(time.Minute, func(v violation) { found = append(found, v.text) })
	for _, e := range h {
		m.take(e)
	}
	m.settle()
	return strings.Join(found, "\n")
}

// The model accepts what the server promises, and nothing else.
func TestModel(t *testing.T) {
	t.Parallel()
	greeted := begun().with(bound, handshake)
	later := func(h history, by time.Duration) history {
		h[len(h)-1].Time = h[len(h)-1].Time.Add(by)
		return h
	}
	for name, test := range map[string]struct {
		history history
		want    string // part of what is wrong; "" if nothing is
	}{
		"an event is sent":                         {greeted.with(occurs...).with(event("appended", 1), event("sent", 1)), ""},
		"nobody is bound":                          {begun().with(occurs...).with(event("appended", 1), event("not-sent", 1)), ""},
		"a binding expires":                        {later(greeted.with(unbound), time.Minute), ""},
		"a number is skipped":                      {greeted.with(occurs...).with(event("appended", 2)), "event 2 follows event 0"},
		"an event before the handshake":            {begun().with(bound).with(occurs...).with(event("appended", 1), event("sent", 1)), "before the handshake"},
		"an event is lost":                         {later(greeted.with(occurs...).with(event("appended", 1), unbound), time.Minute), "without the events [1]"},
		"an event is overtaken by a heartbeat":     {greeted.with(occurs...).with(event("appended", 1), entry("sent", func(e *testkit.Entry) { e.Type = "heartbeat" })), "are overtaken"},
		"an event twice":                           {greeted.with(occurs...).with(event("appended", 1), event("sent", 1), event("sent", 1)), "it should get []"},
		"a subscription is passed over":            {greeted.with(occurs...).with(change("Encounter/p0-2", "update"), testkit.Entry{Kind: "fired", Resource: "Encounter/p0-2"}), "the subscription got no event"},
		"a subscription that is off gets an event": {greeted.with(unbound, testkit.Entry{Kind: "status", Subscription: "all-0", Text: "off"}).with(occurs...).with(event("appended", 1)), "does not concern"},
		"a change without a topic":                 {greeted.with(occurs[0]), "fired no topic"},
		"a binding ends early":                     {greeted.with(unbound), "expired before"},
		"a binding outlives its subscription":      {greeted.with(change("Subscription/all-0", "delete")), "still bound"},
		"a binding outlives a reset":               {greeted.with(testkit.Entry{Kind: "reset"}), "outlived the reset"},
		"a binding outlives its socket":            {greeted.with(testkit.Entry{Kind: "closed", Socket: "s1"}), "ended while it was bound"},
		"a frame for a closed socket":              {begun().with(testkit.Entry{Kind: "closed", Socket: "s1"}, testkit.Entry{Kind: "sent", Socket: "s1", Type: "pong"}), "a closed socket"},
		"a refused transaction stores":             {begun().with(change("Encounter/"+neverWritten+"a", "create")), "refused transaction"},
		"an event after the expiry": {
			later(greeted.with(occurs...), 2*time.Minute).with(event("appended", 1), event("sent", 1)), "after the token expired",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			switch got := violations(test.history); {
			case test.want == "" && got != "":
				t.Errorf("found %s, want nothing", got)
			case !strings.Contains(got, test.want):
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}
