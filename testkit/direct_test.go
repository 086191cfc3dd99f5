package testkit_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"signalfhir/testkit"
)

// next reads the next frame of a socket.
func next(t *testing.T, socket *websocket.Conn) string {
	t.Helper()
	_, data, err := socket.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestServer_DirectControl(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	const id = "admission-id-only"
	counter := int64(41)
	if state := s.PatchSubscription(id, testkit.SubscriptionPatch{Counter: &counter}); state.Events != 41 {
		t.Errorf("got %+v, want event 41", state)
	}
	socket := bind(t, s, id)
	if handshake := next(t, socket); !strings.Contains(handshake, `"eventsSinceSubscriptionStart":"41"`) {
		t.Errorf("got %s", handshake)
	}
	open := s.Sockets()
	if len(open) != 1 || len(open[0].Bindings) != 1 {
		t.Fatalf("got %+v, want a socket", open)
	}
	s.SendFrame(open[0].ID, "not JSON", "")
	if first, second := next(t, socket), next(t, socket); first != "not JSON" || second != "" {
		t.Errorf("got %q and %q", first, second)
	}
	if got := s.Notify(id, testkit.Notification{Type: "heartbeat"}); len(got.Sockets) != 1 || got.Why != "" {
		t.Errorf("got %+v", got)
	}
	if heartbeat := next(t, socket); !strings.Contains(heartbeat, `"type":"heartbeat"`) {
		t.Errorf("got %s", heartbeat)
	}
	s.Notify(id, testkit.Notification{Bundle: json.RawMessage(`{"a":1}`), Socket: open[0].ID})
	if bundle := next(t, socket); bundle != `{"a":1}` {
		t.Errorf("got %s", bundle)
	}
	failed := s.PatchSubscription(id, testkit.SubscriptionPatch{Status: "error", Error: &testkit.SubscriptionError{Code: "no-response", Text: "a test"}})
	if failed.Status != "error" || len(failed.Errors) != 1 || s.Get("Subscription/" + id)["status"] != "error" {
		t.Errorf("got %+v", failed)
	}
	s.CloseSocket(open[0].ID, 4000, "a & b")
	if end := ends(socket); !websocket.IsCloseError(end, 4000) || !strings.Contains(end.Error(), "a & b") {
		t.Errorf("got %v", end)
	}
	s.AwaitBound(id, 0)
	cut := bind(t, s, id)
	s.AwaitBound(id, 1)
	s.CutSocket("s2")
	if end := ends(cut); !websocket.IsCloseError(end, 1006) {
		t.Errorf("got %v, want no close frame", end)
	}
	s.AwaitBound(id, 0)
	third := bind(t, s, id)
	s.AwaitBound(id, 1)
	for _, token := range s.Tokens() {
		s.ExpireToken(token.Fingerprint)
	}
	if end := ends(third); !websocket.IsCloseError(end, 1008) {
		t.Errorf("got %v, want 1008", end)
	}
	if len(s.Subscriptions()) < 3 || len(s.Tokens()) > 0 {
		t.Errorf("got %d subscriptions and %d tokens", len(s.Subscriptions()), len(s.Tokens()))
	}
}

func TestServer_SetUsers(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithoutSeed())
	for _, want := range []string{"Practitioner/a", "Practitioner/dev"} {
		if want == "Practitioner/a" {
			s.SetUsers(testkit.User{ClientID: "a", Profile: want})
		} else {
			s.SetUsers()
		}
		res, err := http.PostForm(s.URL+"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"a"}})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("got %s %v, want %s", body, err, want)
		}
	}
}
