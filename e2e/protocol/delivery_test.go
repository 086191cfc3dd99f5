package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

func TestHub_SlowSocketIsClosedWith1013AndLosesNothing(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--queue-bytes", "2097152", "--slow-after", "1h")
	// It is the queue that ends the slow socket, however long the rest takes, and not the
	// time for a frame.
	s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource", "timeout", 60))
	slow, quick := s.dialSlow(), s.Bind("full")
	slow.Send("bind-with-token " + s.Token("full"))
	if f := slow.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.Raw)
	}
	// Large frames fill what the system buffers between the two ends.
	focus := encounter("big", "in-progress", "text", map[string]any{"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">" + strings.Repeat("x", 256<<10) + "</div>"})
	const events, round = 40, 4 // a round stays below the queue
	for n := 0; n < events; n += round {
		s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "full", "focus": focus, "count": round})
		for i := range round { // a slow socket holds nobody else up
			if err := readEvent(quick, n+i+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What the slow one reads now is a beginning without a gap, then the close.
	last := 0
	for {
		err := readEvent(slow, last+1)
		if err == nil {
			last++
			continue
		}
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 1013 || !strings.Contains(closed.Reason, "$events") {
			t.Fatalf("after event %d: got %v, want a close with 1013 that names $events", last, err)
		}
		break
	}
	if last == events {
		t.Fatal("the socket kept up; the test proves nothing")
	}
	missed := s.Must(200, "GET", fmt.Sprintf("Subscription/full/$events?content=id-only&eventsSinceNumber=%d", last+1), nil).Notification()
	if got := len(missed.Numbers()); got != events-last {
		t.Errorf("$events has %d of the %d missed events", got, events-last)
	}
}

// dialSlow opens a socket for which the system keeps little that is not read.
func (s *server) dialSlow() *socket {
	s.T.Helper()
	return s.DialWith(&http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(512 << 10) // of far less, reading takes minutes
		}
		return conn, err
	}}})
}

// readEvent reads a frame that has to carry an event, without parsing all of it.
func readEvent(ws *socket, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
	defer cancel()
	_, data, err := ws.Conn.Read(ctx)
	if err == nil && !bytes.Contains(data[:min(len(data), 1000)], []byte(`"eventNumber":"`+strconv.Itoa(number)+`"`)) {
		return fmt.Errorf("got %.600s, want event %d", data, number)
	}
	return err
}

func TestHub_BurstArrivesWholeAndInOrder(t *testing.T) {
	t.Parallel()
	const events, burst = 20_000, 2_000
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	for n := 0; n < events; n += burst {
		fired := s.Begin("POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": burst})
		for i := range burst {
			ws.WantEvent(strconv.Itoa(n + i + 1))
		}
		if a := <-fired; a.Status != 200 {
			t.Fatalf("got %d %s", a.Status, a.Raw)
		}
	}
	ws.Nothing()
}

func TestHub_ThousandSocketsGetTheSameFrame(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	sockets := make([]*socket, 1000)
	for i := range sockets {
		sockets[i] = s.Dial()
		sockets[i].Send("bind-with-token " + token)
		if f := sockets[i].Next(); f.Kind() != "handshake" {
			t.Fatalf("got %s, want a handshake", f.Raw)
		}
	}
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	first := string(sockets[0].WantEvent("1").Raw)
	for _, ws := range sockets[1:] {
		if raw := string(ws.WantEvent("1").Raw); raw != first {
			t.Fatalf("two sockets got different frames:\n%s\n%s", raw, first)
		}
	}
}
