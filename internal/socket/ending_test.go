package socket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/journal"
)

func TestCloseReasons_AreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range CloseReasons() {
		row := fmt.Sprintf("\n| %d | %s | ", r.Code, strings.NewReplacer("%s", "…", "%d", "…").Replace(r.Text))
		if !strings.Contains(string(doc), row) {
			t.Errorf("docs/protocol.md lacks the row%s", row)
		}
		if names[r.Name] || r.Name == "" {
			t.Errorf("two close reasons are named %q", r.Name)
		}
		names[r.Name] = true
	}
	table, err := os.ReadFile("ending.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(table), "= CloseReason{"); n != len(names) {
		t.Errorf("CloseReasons has %d of %d", len(names), n)
	}
	if _, rows, _ := strings.Cut(string(doc), "| code | reason |"); strings.Count(rows[:strings.Index(rows, "\n\n")], "\n")-1 != len(names) {
		t.Error("docs/protocol.md has rows that the table lacks")
	}
}

func TestCloseReason_IsCutAtARune(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"":                             "",
		strings.Repeat("x", 123):       strings.Repeat("x", 123),
		strings.Repeat("x", 124):       strings.Repeat("x", 123),
		strings.Repeat("é", 62):        strings.Repeat("é", 61),
		"x" + strings.Repeat("é", 62):  "x" + strings.Repeat("é", 61),
		strings.Repeat("x", 120) + "🙂": strings.Repeat("x", 120),
	} {
		if got := string(Ending{Code: 1001, Reason: reason}.payload()[2:]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return true }

func TestEndingOf(t *testing.T) {
	t.Parallel()
	o := &Options{MaxMessage: 1000, PongWait: time.Minute, WriteWait: time.Second}
	for _, row := range []struct {
		err  error
		want Ending
	}{
		{&websocket.CloseError{Code: 1000, Text: "bye"}, Ending{Code: 1000, Reason: "bye", By: "client"}},
		{websocket.ErrReadLimit, Ending{Code: 1009, Reason: "a frame has more than 1000 bytes", By: "server"}},
		{errors.New("websocket: RSV1 set"), Ending{Code: 1002, Reason: "RSV1 set", By: "server"}},
		{timeout{errors.New("read tcp: i/o timeout")}, Ending{Code: 1006, Reason: "no pong for 1m0s: the client is gone or does not read", By: "server"}},
		{timeout{errors.New("write tcp: i/o timeout")}, WriteTimeout.With(time.Second)},
		{websocket.ErrCloseSent, Ending{}},
		{io.EOF, Ending{}},
	} {
		if got, says := o.endingOf(row.err); got != row.want || says != (row.want != Ending{}) {
			t.Errorf("%v: got %v, want %v", row.err, got, row.want)
		}
	}
}

// What was queued and never written is known as lost.
func TestSocket_KnowsWhatItLost(t *testing.T) {
	t.Parallel()
	p := newPeers(t, func(*Options) {})
	s, conn := p.dial()
	last := int64(0)
	for s.out.bytes.Load() < 33<<20 { // beyond what the system keeps
		last++
		s.Send(event(int(last), 64<<10), unrecorded)
	}
	if lost, all := s.Lost("a", last); lost != 0 || all {
		t.Errorf("got %d and %v while it waits", lost, all)
	}
	conn.Close()
	r := s.room.(*record)
	<-r.ended
	unsent := r.of(journal.NotSent)
	if lost, all := s.Lost("a", last); len(unsent) != 1 || lost != unsent[0].First || lost == 0 || !all {
		t.Errorf("got %d and %v, the journal has %+v", lost, all, unsent)
	}
	if lost, _ := s.Lost("b", last); lost != 0 {
		t.Errorf("got %d of another subscription, want none", lost)
	}
}
