package journal_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/journal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The archive of a small flow, of a socket known only by its frames, and of
// dropped payload.
func TestHAR_Golden(t *testing.T) {
	t.Parallel()
	j, c := newJournal(20)
	said := func(e journal.Entry) {
		c.Advance(250 * time.Millisecond)
		j.Record(e)
	}
	e := exchange(`{"resourceType":"Encounter"}`)
	e.Exchange.Path = "/fhir/R5/Encounter?b=2&a=1&a=é"
	said(e)
	said(journal.Entry{Kind: journal.Opened, Socket: "s1", Text: "/ws?token=12345678 from 127.0.0.1:4000"})
	said(journal.Entry{Kind: journal.Received, Socket: "s1", Type: "bind-with-token", Frame: []byte("bind-with-token 12345678"), Text: "bind-with-token 12345678"})
	said(journal.Entry{Kind: journal.Bound, Subscription: "a", Socket: "s1"})
	said(frame([]byte(`{"resourceType":"Bundle"}`)))
	said(journal.Entry{Kind: journal.Received, Socket: "s2", Type: "binary", Text: "5 bytes"})
	e = exchange("")
	e.Exchange.Truncated, e.Exchange.ResponseHeaders = true, nil
	said(e)
	said(journal.Entry{Kind: journal.Closed, Socket: "s1", Code: 1000})

	var got bytes.Buffer
	if err := json.Indent(&got, journal.HAR(j.Entries(journal.Filter{}), "http://127.0.0.1:8080", "v1"), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", "golden", "flow.har")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the archive (-want +got):\n%s", diff)
	}
}

func TestHAR_OfNothingHasEntries(t *testing.T) {
	t.Parallel()
	if got := string(journal.HAR(nil, "http://x", "v1")); got != `{"log":{"version":"1.2","creator":{"name":"signalfhir","version":"v1"},"entries":[]}}` {
		t.Errorf("got %s", got)
	}
}

func TestHAR_MarksDroppedPayload(t *testing.T) {
	t.Parallel()
	e := exchange("{}")
	e.Dropped = true
	e.Exchange.RequestHeaders, e.Exchange.RequestBody, e.Exchange.ResponseHeaders, e.Exchange.ResponseBody = nil, nil, nil, nil
	var har struct {
		Log struct {
			Entries []struct{ Comment string }
		}
	}
	if err := json.Unmarshal(journal.HAR([]journal.Entry{e}, "http://x", "v1"), &har); err != nil {
		t.Fatal(err)
	}
	if got := har.Log.Entries[0].Comment; got == "" {
		t.Error("the entry does not say that bodies were dropped")
	}
}

// Whatever entries hold, an archive and each line is JSON, and a text in it is that of the
// entry.
func FuzzHAR(f *testing.F) {
	f.Add("/fhir/R5/Encounter?b=2&a=1&a=%zz", "text/plain; charset=\"", `{"resourceType":"Encounter"}`, "s1", "/ws from 127.0.0.1:4000")
	f.Add("//\xff", "", "\x00\xff\u2028", "", "?")
	f.Fuzz(func(t *testing.T, path, header, body, socket, text string) {
		j, _ := newJournal(20)
		e := exchange(body)
		e.Exchange.Path, e.Exchange.ResponseHeaders = path, map[string]string{"Content-Type": header, header: path}
		j.Record(e)
		for _, kind := range []string{journal.Opened, journal.Received, journal.Sent, journal.Closed} {
			j.Record(journal.Entry{Kind: kind, Socket: socket, Text: text, Frame: []byte(body), Code: len(text)})
		}
		entries := j.Entries(journal.Filter{})
		if archive := journal.HAR(entries, "http://127.0.0.1:8080", "v1"); !json.Valid(archive) {
			t.Fatalf("not JSON: %s", archive)
		}
		for i := range entries {
			var back struct{ Text, Frame string }
			line := entries[i].JSON(true)
			if err := json.Unmarshal(line, &back); err != nil || bytes.ContainsRune(line, '\n') {
				t.Fatalf("%v in %q", err, line)
			}
			if e := entries[i]; utf8.ValidString(e.Text) && back.Text != e.Text || utf8.Valid(e.Frame) && back.Frame != string(e.Frame) {
				t.Fatalf("%q is not the entry %+v", line, e)
			}
		}
	})
}
