package testkit

import (
	"net/http"
	"time"
)

type clockOption time.Time

// WithClock gives the room a manual clock that shows start: it moves only with
// [Server.Advance] and [Server.SetClock].
func WithClock(start time.Time) Option { return clockOption(start) }

func (o clockOption) room(settings map[string]any) error {
	settings["clock"] = time.Time(o)
	return nil
}

// Clock is what the clock of a server shows.
type Clock struct {
	Mode    string      `json:"mode"` // real or manual
	Now     time.Time   `json:"now"`
	Pending int         `json:"pending"` // calls that wait for their time
	Due     []ClockCall `json:"due"`     // the first of them
}

// ClockCall is something that happens, or has happened, at a time. It names what it
// concerns.
type ClockCall struct {
	At           time.Time `json:"at"`
	Kind         string    `json:"kind"` // heartbeat, batch, binding, end, token, generator, activation, fault or trigger
	Subscription string    `json:"subscription"`
	Topic        string    `json:"topic"` // canonical URL
	Generator    string    `json:"generator"`
	Token        string    `json:"token"` // fingerprint
	Fault        string    `json:"fault"` // name
}

// ClockMove is what a move of the clock did.
type ClockMove struct {
	Mode     string      `json:"mode"` // real or manual
	Now      time.Time   `json:"now"`
	Calls    int         `json:"calls"`    // that ran
	Happened []ClockCall `json:"happened"` // the first 1000 that had an effect, in order of time
	Omitted  int         `json:"omitted"`  // those that Happened leaves out
	Since    uint64      `json:"since"`    // the entries of the journal after this one say what happened in detail
}

// Clock returns what the clock of the server shows, and what is due.
func (s *Server) Clock() Clock {
	s.t.Helper()
	var c Clock
	s.control(http.MethodGet, "clock", nil, &c)
	return c
}

// SetClock makes the clock manual and sets it to a time, also to an earlier one. What
// depends on a time of day, such as the expiry of a token, happens if its time has come.
// What depends on a duration, such as a heartbeat, keeps what is left of it. A zero time
// makes the clock stand still where it is.
func (s *Server) SetClock(now time.Time) ClockMove {
	s.t.Helper()
	in := map[string]any{"mode": "manual"}
	if !now.IsZero() {
		in["now"] = now
	}
	return s.moveClock(http.MethodPut, "clock", in)
}

// SetRealClock makes the clock show the time of the machine.
func (s *Server) SetRealClock() ClockMove {
	s.t.Helper()
	return s.moveClock(http.MethodPut, "clock", map[string]any{"mode": "real"})
}

// Advance lets time pass on a manual clock. When it returns, all that was due has happened,
// and its frames are on their way to the sockets. If that is too much for one move, Advance
// fails the test.
func (s *Server) Advance(by time.Duration) ClockMove {
	s.t.Helper()
	return s.moveClock(http.MethodPost, "clock/advance", map[string]any{"by": by.String()})
}

func (s *Server) moveClock(method, route string, in map[string]any) ClockMove {
	s.t.Helper()
	in["timeout"] = awaitPatience.String()
	var out struct {
		ClockMove
		Done bool
		Note string
	}
	s.control(method, route, in, &out)
	if !out.Done {
		s.t.Fatalf("testkit: %s", out.Note)
	}
	return out.ClockMove
}
