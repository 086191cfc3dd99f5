package protocol

import (
	"fmt"
	"testing"

	"signalfhir/internal/fhir"
)

// Faults act on what the control API sends, too, and it waits behind what they hold.
func TestFaults_ActOnTextsOfTheControlAPI(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"name":"lose","on":"frame","type":"custom","action":"drop","times":1}`, `{"name":"late","on":"frame","type":"event-notification","action":"delay","by":"1h"}`)
	text := func(texts ...string) {
		s.Must(204, "POST", "/mock/sockets/s1/frames", map[string]any{"texts": texts})
	}
	text("a", "b")
	if f := ws.Next(); string(f.Raw) != "b" {
		t.Errorf("got %s, want b: a fault drops a", f.Raw)
	}
	s.wantTold("fault", "the custom was dropped by fault lose")
	s.events("abc", 1)
	text("c")
	s.Must(204, "DELETE", "/mock/faults/late", nil)
	ws.WantEvent("1")
	if f := ws.Next(); string(f.Raw) != "c" {
		t.Errorf("got %s, want c, which waited", f.Raw)
	}
}

// What faults delay or do for a time follows the clock of the room, and not its jumps.
func TestFaults_FollowTheClock(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.subscribe()
	ws := s.Bind("abc")
	s.faults(
		`{"name":"slow","on":"frame","type":"event-notification","action":"delay","by":"10m","times":1}`,
		`{"name":"deaf","on":"message","type":"ping","action":"delay","by":"11m","times":1}`,
		`{"name":"end","on":"socket","action":"close","code":4000,"after":"20m"}`,
	)
	s.events("abc", 2)
	ws.Send(`{"type":"ping"}`)
	s.AwaitEntry("?kind=fault&text=ping") // the server has it
	s.wantTold("fault", "event 1 was delayed for 10m0s by fault slow")
	s.setClock("2026-01-01T06:00:00Z") // which is no time that passes
	s.advance("9m")
	s.advance("1m", "06:10:00 fault")
	ws.WantEvent("1")
	ws.WantEvent("2")
	s.advance("1m", "06:11:00 fault")
	if f := ws.Next(); string(f.Raw) != `{"type":"pong"}` {
		t.Errorf("got %s, want a pong", f.Raw)
	}
	if m := s.advance("9m", "06:20:00 fault"); m.Happened[0].Fault != "end" {
		t.Errorf("got %+v, want the fault end", m.Happened[0])
	}
	if code, _ := ws.Closed(); code != 4000 {
		t.Errorf("got %d, want 4000", code)
	}
}

// A subscription that becomes active after a time follows the clock of the room.
func TestActivation_FollowsTheClock(t *testing.T) {
	t.Parallel()
	s := clocked(t)
	s.Must(200, "PUT", "/mock/settings", `{"activation":{"after":"5s"}}`)
	s.subscribe("status", "requested")
	status := func(want string) {
		t.Helper()
		if got := text(s.Must(200, "GET", "Subscription/abc", nil).Body, "status"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s.setClock("2027-01-01T08:00:00Z")
	s.advance("4999ms")
	status("requested")
	s.advance("1ms", "08:00:05 activation abc")
	status("active")
}

// The journal says how a connection really ended, if a fault held the close frame until then.
func TestControl_CloseThatWaitsIsOvertaken(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  func(s *server, ws *socket)
		want string
	}{
		{"cut", func(s *server, _ *socket) { s.Must(204, "DELETE", "/mock/sockets/s1?cut=true", nil) }, "1006 the connection was cut (by control API)"},
		{"closed by the client", func(_ *server, ws *socket) { go ws.Conn.Close(1000, "bye") }, "1000 bye (by client)"},
		{"let go", func(s *server, _ *socket) { s.faults() }, "4000 late (by control API)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.subscribe()
			ws := s.Bind("abc")
			s.faults(`{"on":"socket","action":"stall","after":"0s"}`)
			s.Must(204, "DELETE", "/mock/sockets/s1?code=4000&reason=late", nil)
			row.end(s, ws)
			s.AwaitEntry("?kind=closed")
			if e := s.Journal("?kind=closed")[0]; fmt.Sprint(e.Code, " ", e.Text) != row.want {
				t.Errorf("got %d %s, want %s", e.Code, e.Text, row.want)
			}
		})
	}
}
