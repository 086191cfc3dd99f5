package testkit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/testkit"
)

// A test reads as the story of the client; nothing in it counts twice.
func TestAwait_TellsTheStoryOfAClient(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	const id = "admission-id-only"
	if s.Mark() != 0 {
		t.Errorf("got mark %d, want none", s.Mark())
	}
	bind(t, s, id)
	taken := s.AwaitTokenTaken(id, 1)
	if taken.Kind != "token" || taken.Seq != s.Mark() {
		t.Errorf("got %s, mark %d; want the entry of a token as the mark", taken, s.Mark())
	}
	s.AwaitBound(id, 1)
	s.AwaitConnected(1)
	if e := s.AwaitMoreSent(id, "handshake", 1); e.Type != "handshake" {
		t.Errorf("got %s", e)
	}
	for number := range int64(3) {
		s.Trigger(testkit.Trigger{Subscription: id})
		if e := s.AwaitEvent(id, number+1); e.First != number+1 {
			t.Errorf("got %s, want event %d", e, number+1)
		}
	}
	s.AwaitSent(id, "event-notification", 3) // in all
}

func TestAwait_KnowsWhatTheClientDid(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	const id = "admission-id-only"
	first := bind(t, s, id)
	s.AwaitBound(id, 1)
	if err := first.WriteMessage(websocket.TextMessage, []byte("bind-with-token "+s.Token(id))); err != nil {
		t.Fatal(err)
	}
	if e := s.AwaitRenewed(id); e.Type != "renewed" || e.Subscription != id {
		t.Errorf("got %s", e)
	}
	if err := first.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "bye"), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if e := s.AwaitUnbound(id); e.Text != "the socket closed" {
		t.Errorf("got %s", e)
	}
	if e := s.AwaitClosedByClient(4000); e.Code != 4000 {
		t.Errorf("got %s", e)
	}
	s.AwaitConnected(0)
	bind(t, s, id)
	if e := s.AwaitBoundAgain(id); e.Kind != "bound" {
		t.Errorf("got %s", e)
	}
	s.Post(s.FHIR.R5+"/Subscription/"+id+"/$events?eventsSinceNumber=4", nil, nil)
	s.Post(s.FHIR.R5+"/Subscription/"+id+"/$events", nil, nil)
	if e := s.AwaitEventsCalledFrom(id, 4); e.First != 4 || !strings.HasSuffix(e.Text, "got 0") {
		t.Errorf("got %s", e)
	}
	if e := s.AwaitEventsCalled(id); e.First != 0 {
		t.Errorf("got %s, want the second call", e)
	}
	s.AwaitQuiet(time.Millisecond, "sent", "bound")
	all := testkit.JournalFilter{Kinds: []string{"bound", "unbound"}, Subscription: id, Count: 3}
	mark := s.Mark()
	if e := s.Since(0).AwaitEntry(all); e.Kind != "bound" || e.Seq >= mark {
		t.Errorf("got %s, want the second binding", e)
	}
	if s.Mark() != mark {
		t.Error("a server of Since moved the mark of another")
	}
	s.Reset()
	if e := s.AwaitEntry(testkit.JournalFilter{Kinds: []string{"reset"}}); e.Seq <= mark {
		t.Errorf("got %s, want a reset after %d", e, mark)
	}
}

// A second await of one token waits for another.
func TestAwait_OnceIsOnce(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	s.Token("admission-id-only")
	s.Token("admission-id-only")
	first, second := s.AwaitTokenTaken("", 1), s.AwaitTokenTaken("", 1)
	if first.Seq >= second.Seq {
		t.Errorf("the awaits returned the entries %d and %d", first.Seq, second.Seq)
	}
	if again := s.Since(first.Seq).AwaitTokenTaken("", 1); again.Seq != second.Seq {
		t.Errorf("after the first: got entry %d, want %d", again.Seq, second.Seq)
	}
}
