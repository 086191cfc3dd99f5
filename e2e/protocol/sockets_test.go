package protocol

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
)

// socketPaths are the addresses a socket can be opened at.
var socketPaths = []string{"/ws", "/ws/subscriptions-r4", "/websocket"}

// A socket is counted as the upgrade that it is, and not as a request with 200. The request
// of /metrics is counted after its response, so the first one must see no GET with 200.
func TestSocket_IsNotLoggedAsARequest(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	for range 10 {
		ws := s.Bind("abc")
		if err := ws.Conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Fatal(err)
		}
		s.Must(200, "POST", "/mock/await", `{"bound":{"subscription":"abc","count":0}}`)
	}
	text := string(s.Must(200, "GET", "/metrics", nil).Raw)
	if strings.Contains(text, `signalfhir_http_requests_total{method="GET",status="200"`) {
		t.Errorf("a socket counts as a request:\n%s", text)
	}
	if !strings.Contains(text, `signalfhir_http_requests_total{method="POST",status="200"}`) {
		t.Errorf("requests are not counted:\n%s", text)
	}
}

func TestUnbind_StopsEventsOnThisSocketOnly(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	one, two := s.Dial(), s.Dial()
	for _, ws := range []*socket{one, two} {
		ws.Send("bind-with-token " + token)
		ws.Next()
	}
	one.Send("unbind-from-token " + token)
	one.Nothing()
	var open struct {
		Sockets []struct{ Bindings []string }
	}
	if err := json.Unmarshal(s.Must(200, "GET", "/mock/sockets", nil).Raw, &open); err != nil || len(open.Sockets) != 2 || len(open.Sockets[0].Bindings) != 0 || len(open.Sockets[1].Bindings) != 1 {
		t.Errorf("the sockets are %v (%v), want the first without a binding", open, err)
	}
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	two.WantEvent("1")
	one.Nothing()
}

func TestDelete_EndsBindingsAndTellsTheSocket(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(204, "DELETE", "Subscription/abc", nil)
	ws.Outcome("deleted")
	ws.Nothing()
}

// A HEAD asks what a GET would get. It opens no socket.
func TestHead_OpensNoSocket(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range socketPaths {
		a := s.Do("HEAD", path, nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		if a.Status != http.StatusUpgradeRequired {
			t.Errorf("%s: got %d, want 426", path, a.Status)
		}
	}
	if opened := s.Journal("?kind=opened"); len(opened) > 0 {
		t.Errorf("sockets were opened: %v", opened)
	}
}
