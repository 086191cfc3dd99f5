package protocol

import (
	"fmt"
	"slices"
	"testing"

	"signalfhir/testkit"
)

// running returns the names of the generators that run, and of those that do not.
func (s *server) running() (running, stopped []string) {
	s.T.Helper()
	for _, g := range asList(s.Must(200, "GET", "/mock/generators", nil).Body["generators"]) {
		if at(g, "running") == true {
			running = append(running, text(g, "name"))
		} else {
			stopped = append(stopped, text(g, "name"))
		}
	}
	return running, stopped
}

func (s *server) wantRunning(t *testing.T, when string, want ...string) {
	t.Helper()
	if running, stopped := s.running(); !slices.Equal(running, want) || len(running)+len(stopped) == 0 {
		t.Errorf("%s: running are %v, stopped %v; want running %v", when, running, stopped, want)
	}
}

// The generators of a seed start by themselves unless the room, or else the server, says
// that they do not. A client can start them.
func TestGenerators_AreOffIfTheRoomOrTheServerSaysSo(t *testing.T) {
	t.Parallel()
	for _, all := range []string{"on", "off"} {
		s := startSeeded(t, "--generators", all)
		if all == "on" {
			s.wantRunning(t, "a server with generators", "ward")
		} else {
			s.wantRunning(t, "a server without")
		}
		for _, room := range []string{"", "on", "off"} {
			t.Run(fmt.Sprintf("server %s, room %q", all, room), func(t *testing.T) {
				settings := map[string]any{"seed": "builtin"}
				if room != "" {
					settings["generators"] = room
				}
				r := &server{s.Room("r"+room, settings), s.log}
				if room == "on" || room == "" && all == "on" {
					r.wantRunning(t, "opened", "ward")
					return
				}
				r.wantRunning(t, "opened")
				r.Must(200, "POST", "/mock/generators/ward/start", nil)
				r.wantRunning(t, "started", "ward")
				r.Must(204, "POST", "/mock/reset", nil)
				r.wantRunning(t, "reset")
				r.Must(201, "POST", "/mock/generators", `{"name":"mine","scenario":"tasks","running":true}`)
				r.wantRunning(t, "added", "mine")
			})
		}
	}
}

// testkit leaves them off, and has an option for who wants them.
func TestGenerators_AreOffInTests(t *testing.T) {
	t.Parallel()
	serverOf(t, testkit.Start(t)).wantRunning(t, "a room of testkit")
	serverOf(t, testkit.Start(t, testkit.WithGenerators())).wantRunning(t, "a room with generators", "ward")
	serverOf(t, testkit.StartProcess(t)).wantRunning(t, "a process of testkit")
	serverOf(t, testkit.StartProcess(t, testkit.WithGenerators())).wantRunning(t, "a process with generators", "ward")
}

func TestGenerators_RefusesAnotherWord(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	want := `generators: got "none", expected on or off; without it the room does as the server does (--generators)`
	if got := s.Must(400, "PUT", "/rooms/x", `{"generators":"none"}`).Body["detail"]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
