package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

func TestJournal_StreamBeginsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 10 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	entries := s.Journal("")
	end := entries[len(entries)-1].Seq
	first := s.Follow("?since=0", "")
	_, _, data := first.Next()
	instance, _, _ := strings.Cut(strings.TrimPrefix(data, `{"instance":"`), `"`)
	id, r := first.Entry()
	if r.Seq != 1 || id != instance+"-1" {
		t.Fatalf("since=0: got entry %d as %q, want 1 as %q", r.Seq, id, instance+"-1")
	}
	for _, c := range []struct {
		query, lastID string
		want          uint64 // first entry
	}{
		{"?since=3", "", 4},
		{"?since=2000-01-01T00:00:00Z", "", 1},
		{"?since=3", instance + "-7", 8}, // what an EventSource comes back with
		{"?last-event-id=" + instance + "-5", "", 6},
		{"?last-event-id=" + instance + "-5", instance + "-6", 7},
		{"?last-event-id=other-5", "", 1},
		{"?last-event-id=" + instance + "-nonsense", "", 1},
	} {
		st := s.Follow(c.query, c.lastID)
		st.Next()
		if _, r := st.Entry(); r.Seq != c.want {
			t.Errorf("%s %s: got entry %d first, want %d", c.query, c.lastID, r.Seq, c.want)
		}
	}
	// Where nothing is left to tell, it goes on with what is new.
	for _, query := range []string{"", "?since=999999", "?last-event-id=" + instance + "-999999"} {
		st := s.Follow(query, "")
		st.Next()
		s.Must(200, "GET", "Subscription/abc", nil)
		if _, r := st.Entry(); r.Seq <= end {
			t.Errorf("%q: got entry %d, want one after %d", query, r.Seq, end)
		}
	}
	if a := s.Must(200, "HEAD", "/mock/journal/stream", nil); a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: got %s", a.Header.Get("Content-Type"))
	}
}

func TestJournal_StreamResumesWithoutLossOrDoubling(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	st := s.Follow("?kind=change&most=100000", "")
	if name, _, data := st.Next(); name != "hello" || !strings.Contains(data, `"instance"`) {
		t.Fatalf("got %q %s, want hello", name, data)
	}
	const writes = 30
	seen, id := []string{}, ""
	for n := range writes {
		s.Must(201, "PUT", fmt.Sprintf("Patient/p%d", n), map[string]any{"resourceType": "Patient", "id": fmt.Sprintf("p%d", n)})
		if n%10 == 9 { // read what there is, then break off and go on from there
			for len(seen) <= n {
				var r entry
				id, r = st.Entry()
				seen = append(seen, r.Resource)
			}
			st = s.Follow("?kind=change&most=100000", id)
			if name, _, _ := st.Next(); name != "hello" {
				t.Fatalf("got %q, want hello", name)
			}
		}
	}
	for n, resource := range seen {
		if resource != fmt.Sprintf("Patient/p%d", n) {
			t.Fatalf("got %v, want p0 to p%d in order", seen, writes-1)
		}
	}
}

func TestJournal_StreamOfAnotherLifeBeginsWithTheOldestEntry(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	st := s.Follow("?most=100000", "another-9999")
	st.Next() // hello
	if _, r := st.Entry(); r.Seq != 1 {
		t.Errorf("got entry %d, want 1", r.Seq)
	}
}

func TestJournal_StreamTellsWhatItSkips(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--journal-size", "10")
	for range 30 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	st := s.Follow("?most=100000", "x-0")
	st.Next() // hello
	first := s.Journal("")[0].Seq
	if name, _, data := st.Next(); name != "gap" || data != fmt.Sprintf(`{"skipped":%d}`, first-1) {
		t.Errorf("got %q %s, want a gap of the %d entries that are not kept", name, data, first-1)
	}
	if _, r := st.Entry(); r.Seq != first {
		t.Errorf("got entry %d after the gap, want %d", r.Seq, first)
	}
	slow := s.Follow("?most=1", "x-0")
	slow.Next()
	if name, _, data := slow.Next(); name != "gap" {
		t.Errorf("more than most: got %q %s, want a gap", name, data)
	}
}

// What a second may bring may come all at once.
func TestJournal_StreamLetsABurstPass(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for range 120 {
		s.Must(200, "GET", "Subscription/abc", nil)
	}
	end := s.Journal("?limit=1")[0].Seq
	st := s.Follow("?since=0&most="+strconv.FormatUint(end, 10), "")
	st.Next()
	for seq := uint64(1); seq <= end; seq++ {
		if _, r := st.Entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
	st = s.Follow("?since=0&most=5", "")
	st.Next()
	if name, _, data := st.Next(); name != "gap" || data != fmt.Sprintf(`{"skipped":%d}`, end-5) {
		t.Errorf("got %s %s, want a gap of %d", name, data, end-5)
	}
	for seq := end - 4; seq <= end; seq++ { // the newest
		if _, r := st.Entry(); r.Seq != seq {
			t.Fatalf("got entry %d, want %d", r.Seq, seq)
		}
	}
}

func TestJournal_StreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	var st *wiretest.Stream
	t.Run("server", func(t *testing.T) {
		s := vectorServer(t, fhir.R5)
		st = s.Follow("", "")
		st.Next()
	}) // has stopped, within the time a stop may take
	if name, _, data := st.Next(); name != "" {
		t.Errorf("got %q %s, want the end", name, data)
	}
}
