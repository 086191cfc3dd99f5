package testkit_test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/testkit"
)

// bind does what a client under test would do.
func bind(t *testing.T, s *testkit.Server, subscription string) *websocket.Conn {
	t.Helper()
	res, err := http.Post(s.FHIR+"/Subscription/"+subscription+"/$get-ws-binding-token", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	socket, _, err := websocket.DefaultDialer.Dial(s.WS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	if err := socket.WriteMessage(websocket.TextMessage, []byte("bind-with-token "+token(t, res))); err != nil {
		t.Fatal(err)
	}
	return socket
}

func TestStart_GivesAServerThatNotifies(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	socket := bind(t, s, "admission-id-only")
	s.AwaitBound("admission-id-only", 1)
	events := s.Trigger(testkit.Trigger{Subscription: "admission-id-only"})
	if len(events) != 1 || events[0].Subscription != "admission-id-only" {
		t.Fatalf("got %v, want one event of admission-id-only", events)
	}
	s.AwaitSent("admission-id-only", "event-notification", 1)
	for _, want := range []string{`"type":"handshake"`, `"type":"event-notification"`} {
		_, frame, err := socket.ReadMessage()
		if err != nil || !strings.Contains(string(frame), want) {
			t.Fatalf("got %s, %v; want a frame with %s", frame, err, want)
		}
	}
	s.Reset()
	if patient := s.Create(`{"resourceType":"Patient","active":true}`); patient["id"] == "" {
		t.Errorf("got %v, want a stored patient", patient)
	}
}

func TestStart_ManyServersDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	const many = 8
	seen := map[string]bool{}
	for range many {
		s := testkit.Start(t, testkit.WithoutSeed(), testkit.WithTokenTTL(time.Minute))
		if seen[s.URL] {
			t.Fatalf("two servers at %s", s.URL)
		}
		seen[s.URL] = true
	}
}

func TestStop_ClosesSocketsWith1001AndEndsTheProcess(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	socket := bind(t, s, "admission-empty")
	s.AwaitBound("admission-empty", 1)
	s.Stop()
	for {
		_, _, err := socket.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("got %v, want a close with 1001 (WS-38)", err)
		}
		break
	}
	if process, err := os.FindProcess(s.PID); err == nil && process.Signal(syscall.Signal(0)) == nil {
		t.Errorf("process %d still runs", s.PID)
	}
}

func TestStart_FailsTheTestWithTheLogOfTheServer(t *testing.T) {
	t.Parallel()
	spy := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		testkit.Start(spy, testkit.WithSeed("/nowhere/seed.json"))
	}()
	<-done
	if !strings.Contains(spy.text, "/nowhere/seed.json") {
		t.Errorf("got %q, want what the server said", spy.text)
	}
}
