package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// A lost event stays numbered and in $events, and journal and explanation say why it is
// missing.
func TestFaults_Drop(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.faults(`{"name":"lose-second","on":"frame","subscription":"abc","type":"event-notification","number":{"from":2,"to":2},"times":1,"action":"drop"}`)
		ws := s.Bind("abc")
		for _, id := range []string{"a", "b", "c"} {
			s.Must(201, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		}
		if got := numbers(ws, 2); got != "1,3" {
			t.Errorf("got the events %s, want 1,3", got)
		}
		events := s.Must(200, "GET", "Subscription/abc/$events?eventsSinceNumber=1&eventsUntilNumber=9", nil)
		if got := strings.Join(events.Notification().Numbers(), ","); got != "1,2,3" {
			t.Errorf("$events has %s, want 1,2,3", got)
		}
		s.wantTold("fault", "event 2 was dropped by fault lose-second")
		s.wantTold("not-sent", "event 2 was dropped by fault lose-second; $events has it")
		told := s.Must(200, "GET", "/mock/explain?resource=Encounter/b&format=text", nil).Raw
		if want := "it got event 2; event 2 was dropped by fault lose-second"; !strings.Contains(string(told), want) {
			t.Errorf("explain says %s, want %s", told, want)
		}
		if got := s.counts(); got != "lose-second 1/1" {
			t.Errorf("got %s", got)
		}
	})
}

func TestFaults_OfNumbers(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		for _, c := range []struct{ fault, want, total string }{
			{`{"on":"frame","action":"skip-number","number":{"from":2},"times":1}`, "1,3,4", "4"},
			{`{"on":"frame","action":"skip-number","number":{"from":2}}`, "1,3,5", "5"},
			{`{"on":"frame","action":"repeat-number","number":{"from":2},"times":1}`, "1,1,2", "2"},
			{`{"on":"frame","action":"set-number","value":9,"number":{"from":2,"to":2}}`, "1,9,3", "3"},
		} {
			t.Run(c.fault, func(t *testing.T) {
				t.Parallel()
				s := vectorServer(t, r)
				s.faults(c.fault)
				ws, other := s.Bind("abc"), s.Bind("abc")
				s.faults(strings.Replace(c.fault, `{`, `{"socket":"s1",`, 1))
				s.events("abc", 3)
				var frames []wiretest.Frame
				for range 3 {
					frames = append(frames, ws.Next())
				}
				got := []string{}
				for _, f := range frames {
					got = append(got, strings.Join(f.Numbers(), "+"))
				}
				if strings.Join(got, ",") != c.want || frames[2].Total() != c.total {
					t.Errorf("got %v and %s in all, want %s and %s", got, frames[2].Total(), c.want, c.total)
				}
				// The frame of the others is another, and the journal has what really went out.
				if got := numbers(other, 3); got != "1,2,3" {
					t.Errorf("the other socket got %s, want 1,2,3", got)
				}
				sent := s.Journal("?kind=sent&socket=s1&text=event-notification&bodies=true")
				if second := sent[1]; second.Frame != string(frames[1].Raw) || second.First != 2 {
					t.Errorf("the journal has %s, want the frame that was sent", second.Frame)
				}
				// A handshake after the fault is gone has the true number.
				s.faults()
				ws.Send("bind-with-token " + s.Token("abc"))
				if f := ws.Next(); f.Total() != "3" {
					t.Errorf("got %s events in all, want 3", f.Total())
				}
			})
		}
	})
}

func TestFaults_Duplicate(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"on":"frame","action":"duplicate","number":{"from":2,"to":2}}`, `{"on":"frame","action":"duplicate","count":2,"number":{"from":3,"to":3}}`)
	s.events("abc", 4)
	if got := numbers(ws, 7); got != "1,2,2,3,3,3,4" {
		t.Errorf("got %s", got)
	}
	s.wantTold("fault", "event 2 was sent 2 times by fault fault-1")
	if sent := s.Journal("?kind=sent&text=event-notification"); len(sent) != 7 {
		t.Errorf("the journal has %d frames, want 7", len(sent))
	}
	told := s.Must(200, "GET", "/mock/explain?subscription=abc&format=text", nil).Raw
	if want := "event 3 to s1: event 3 was sent 3 times by fault fault-2"; !strings.Contains(string(told), want) {
		t.Errorf("explain says %s, want %s", told, want)
	}
}

func TestFaults_Swap(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	ws := s.Bind("abc", "other")
	s.faults(`{"on":"frame","subscription":"abc","action":"swap"}`)
	s.events("abc", 1)
	s.events("other", 1) // does not wait
	s.events("abc", 4)
	var got []string
	for range 5 {
		f := ws.Next()
		got = append(got, f.Subscription()+" "+strings.Join(f.Numbers(), ","))
	}
	if want := "other 1; abc 2; abc 1; abc 4; abc 3"; strings.Join(got, "; ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	s.faults() // what waits for the next one is sent
	if f := ws.Next(); strings.Join(f.Numbers(), ",") != "5" {
		t.Errorf("got %s, want event 5", f.Raw)
	}
	ws.Nothing()
}

// A delayed frame keeps its place: what is behind it waits, unless it may overtake.
func TestFaults_Delay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, fault, want string }{
		{"in order", `{"on":"frame","action":"delay","by":"720h","number":{"from":2,"to":2}}`, "1"},
		{"overtaken", `{"on":"frame","action":"delay","by":"720h","overtake":true,"number":{"from":2,"to":2}}`, "1,3,4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			ws := s.Bind("abc")
			s.faults(c.fault)
			s.events("abc", 4)
			if got := numbers(ws, strings.Count(c.want, ",")+1); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			s.wantTold("fault", "event 2 was delayed for 720h0m0s by fault fault-1")
			s.Must(201, "PUT", "Encounter/e", encounter("e", "planned"))
			s.faults(strings.Replace(c.fault, `"from":2,"to":2`, `"from":5`, 1))
			s.Must(200, "PUT", "Encounter/e", encounter("e", "in-progress"))
			told := s.Must(200, "GET", "/mock/explain?resource=Encounter/e&format=text", nil).Raw
			if want := "it got event 5; event 5 was delayed for 720h0m0s by fault fault-1 on s1"; !strings.Contains(string(told), want) {
				t.Errorf("explain says %s, want %s", told, want)
			}
			s.faults()
			rest := map[string]string{"1": "2,3,4,5", "1,3,4": "2,5"}[c.want]
			if got := numbers(ws, strings.Count(rest, ",")+1); got != rest {
				t.Errorf("afterwards: got %s, want %s", got, rest)
			}
			ws.Nothing()
		})
	}
	t.Run("really", func(t *testing.T) {
		t.Parallel()
		s := vectorServer(t, fhir.R5)
		ws := s.Bind("abc")
		s.faults(`{"on":"frame","action":"delay","by":"20ms","jitter":"5ms","overtake":true,"number":{"from":1,"to":1}}`)
		s.events("abc", 2)
		if got := numbers(ws, 2); got != "2,1" && got != "1,2" { // the machine may have slept
			t.Errorf("got %s", got)
		}
	})
}

// What a fault holds is not lost silently.
func TestFaults_HeldFramesEndWithTheirSocket(t *testing.T) {
	t.Parallel()
	held := `{"name":"slow","on":"frame","action":"delay","by":"1h","type":"event-notification"}`
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(held)
	s.events("abc", 2)
	_ = ws.Conn.Close(4000, "enough")
	s.AwaitEntry("?kind=closed&socket=s1")
	s.wantTold("not-sent", "event 1 was held by fault slow and then dropped: enough; $events has it")
	s.wantTold("not-sent", "event 2 was held by fault slow and then dropped: enough; $events has it")

	ws = s.Bind("abc")
	s.events("abc", 1)
	s.Must(204, "POST", "/mock/reset", `{"seed":"none"}`)
	s.wantTold("not-sent", "event 3 was held by fault slow and then dropped: the room was reset; $events has it")
	if got := ws.Outcome("deleted"); !strings.Contains(got, "reset") {
		t.Errorf("got %s, want that the binding ended", got)
	}
}

func TestFaults_ReplaceAndTruncate(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
		ws := s.Bind("full")
		whole := ""
		for with, check := range map[string]func(raw string, f wiretest.Frame) bool{
			`"replace","with":"text","text":"hello"`: func(raw string, _ wiretest.Frame) bool { return raw == "hello" },
			`"replace","with":"not-json"`:            func(raw string, _ wiretest.Frame) bool { return !json.Valid([]byte(raw)) },
			`"replace","with":"no-bundle"`:           func(_ string, f wiretest.Frame) bool { return f.Body["resourceType"] == "Patient" },
			`"replace","with":"no-status"`: func(_ string, f wiretest.Frame) bool {
				return f.Body["resourceType"] == "Bundle" && at(f.Body, "entry", 0, "resource", "resourceType") == "Encounter"
			},
			`"replace","with":"wrong-type"`: func(_ string, f wiretest.Frame) bool {
				return f.Body["type"] == "collection" && f.Kind() == "event-notification"
			},
			`"truncate","bytes":40`: func(raw string, _ wiretest.Frame) bool {
				return len(raw) == 40 && strings.HasPrefix(raw, `{"resourceType":"Bundle"`)
			},
		} {
			s.faults(`{"name":"it","on":"frame","action":` + with + `}`)
			s.events("full", 1)
			f := ws.Next()
			if !check(string(f.Raw), f) {
				t.Errorf("%s: got %s", with, f.Raw)
			}
			sent := s.Journal("?kind=sent&limit=1&bodies=true")
			if sent[0].Frame != string(f.Raw) {
				t.Errorf("%s: the journal has %s", with, sent[0].Frame)
			}
			whole = with
		}
		if whole == "" {
			t.Error("nothing was tried")
		}
	})
}

func TestFaults_OfHandshakes(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.faults(`{"on":"frame","action":"no-handshake"}`)
		ws := s.Dial()
		ws.Send("bind-with-token " + s.Token("abc"))
		s.AwaitEntry("?kind=bound")
		s.events("abc", 1)
		ws.WantEvent("1")
		s.wantTold("fault", "the handshake was dropped by fault fault-1")

		s.faults(`{"on":"frame","action":"heartbeat-first"}`)
		ws.Send("bind-with-token " + s.Token("abc"))
		first, second := ws.Next(), ws.Next()
		if first.Kind() != "heartbeat" || second.Kind() != "handshake" || first.Total() != "1" || first.At("id") == second.At("id") {
			t.Errorf("got %s, then %s; want a heartbeat and a handshake", first.Raw, second.Raw)
		}
	})
}

// Answers of the server are frames, too.
func TestFaults_OfOtherFrames(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Dial()
	s.faults(`{"on":"frame","type":"pong","times":1,"action":"replace","with":"text","text":"gnop"}`, `{"on":"frame","type":"outcome","action":"truncate","bytes":5}`)
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "gnop" {
		t.Errorf("got %s, want gnop", f.Raw)
	}
	ws.Send("nonsense")
	if f := ws.Next(); string(f.Raw) != `{"res` {
		t.Errorf("got %s, want five bytes", f.Raw)
	}
	ws.Nothing()
}

// Each narrowing lets a fault pass by what it is not about.
func TestFaults_Narrowing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ narrow, want, other string }{
		{`"subscription":"abc"`, "dropped", "2"},
		{`"subscription":"none"`, "1,2", "2"},
		{`"socket":"s1"`, "dropped", "2"},
		{`"socket":"s2"`, "1,2", "dropped"},
		{`"dialect":"ig"`, "dropped", "2"},
		{`"dialect":"ig-colon"`, "1,2", "dropped"},
		{`"release":"R5"`, "dropped", "dropped"},
		{`"release":"R4"`, "1,2", "2"},
		{`"type":"event-notification"`, "dropped", "dropped"},
		{`"type":"heartbeat"`, "1,2", "2"},
		{`"number":{"from":2}`, "1", "dropped"},
		{`"number":{"to":1}`, "2", "2"},
		{`"number":{"from":3,"to":9}`, "1,2", "2"},
		{`"socket":"s1","nth":2`, "1", "2"},
		{`"socket":"s1","times":1`, "2", "2"},
		{`"socket":"s1","nth":2,"times":5`, "1", "2"},
		{`"probability":1`, "dropped", "dropped"},
		{`"probability":1e-12`, "1,2", "2"},
		{`"subscription":"abc","socket":"s2"`, "1,2", "2"},
	} {
		t.Run(c.narrow, func(t *testing.T) {
			t.Parallel()
			s := vectorServer(t, fhir.R5)
			s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
			ws := s.Bind("abc")
			other := s.Dial()
			other.Send("bind-with-token: " + s.Token("other"))
			other.Next()
			s.events("other", 1)
			other.WantEvent("1")
			s.faults(`{"on":"frame","action":"drop",` + c.narrow + `}`)
			s.events("abc", 2)
			s.events("other", 1)
			s.faults() // the frames up to here are on their way
			for of, want := range map[*socket]string{ws: c.want, other: c.other} {
				if want != "dropped" {
					if got := numbers(of, strings.Count(want, ",")+1); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				}
				of.Nothing()
			}
		})
	}
}

// A seeded room decides the same each time.
func TestFaults_ProbabilityIsOfTheRoom(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	run := func(room string, seed int) string {
		s.Must(201, "PUT", "/rooms/"+room, fmt.Sprintf(`{"seed":"none","random":%d}`, seed))
		in := &server{wiretest.New(t, s.URL+"/rooms/"+room), s.log}
		in.Admission()
		ws := in.Bind("abc")
		in.faults(`{"on":"frame","type":"event-notification","action":"drop","probability":0.5}`)
		in.events("abc", 40)
		in.faults()
		in.events("abc", 1)
		var got []string
		for {
			f := ws.Next()
			got = append(got, f.Numbers()...)
			if got[len(got)-1] == "41" {
				return strings.Join(got, ",")
			}
		}
	}
	a, b, c := run("a", 7), run("b", 7), run("c", 8)
	if a != b || a == c || strings.Count(a, ",") < 5 || strings.Count(a, ",") > 35 {
		t.Errorf("got %s, %s and, of another seed, %s", a, b, c)
	}
}

// What cannot be done with a frame is said, and the frame is sent as it is.
func TestFaults_WhatCannotBeApplied(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.Must(201, "PUT", "Subscription/c", `{"resourceType":"Subscription","id":"c","status":"active","reason":"x","criteria":"Encounter?status=in-progress","channel":{"type":"websocket"}}`)
	s.faults(`{"on":"frame","action":"skip-number"}`, `{"on":"frame","action":"heartbeat-first"}`, `{"on":"frame","action":"truncate","bytes":500}`)
	ws := s.Dial()
	ws.Send("bind c")
	if f := ws.Next(); string(f.Raw) != "bound c" {
		t.Fatalf("got %s", f.Raw)
	}
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	if f := ws.Next(); string(f.Raw) != "ping c" {
		t.Fatalf("got %s", f.Raw)
	}
	s.wantTold("fault", "fault fault-1 (skip-number) could not be applied to event 1: it is not a notification bundle, so it has no such part")
	s.wantTold("fault", "fault fault-2 (heartbeat-first) could not be applied to the handshake: it is not a notification bundle, so it has no such part")
	s.wantTold("fault", "fault fault-3 (truncate) could not be applied to event 1: it has only 6 bytes")
	if got := s.counts(); got != "fault-1 1/0, fault-2 1/0, fault-3 2/0" {
		t.Errorf("got %s", got)
	}
	// What needs no bundle is possible in the old protocol too.
	s.faults(`{"on":"frame","dialect":"legacy","action":"duplicate"}`)
	s.Must(201, "PUT", "Encounter/f", encounter("f", "in-progress"))
	for range 2 {
		if f := ws.Next(); string(f.Raw) != "ping c" {
			t.Fatalf("got %s", f.Raw)
		}
	}
}

// Medplum's client gets frames of its own form on R4.
func TestFaults_OfNumbersForMedplum(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	ws := s.Dial()
	ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
	ws.Next()
	s.faults(`{"on":"frame","dialect":"medplum","action":"skip-number","times":1}`)
	s.events("abc", 2)
	for _, want := range []string{"2", "3"} {
		f := ws.WantEvent(want)
		if f.Status()["resourceType"] != "SubscriptionStatus" || f.Total() != want {
			t.Errorf("got %s", f.Raw)
		}
	}
}

// Heartbeats can be kept away or come late.
func TestFaults_OfHeartbeats(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.faults(`{"on":"frame","action":"no-heartbeat"}`)
	s.Must(201, "PUT", "Subscription/beats", websocketSubscription("beats", admissionURL, "heartbeatPeriod", 1))
	ws := s.Bind("beats")
	s.AwaitEntry("?kind=fault&text=heartbeat")
	s.wantTold("fault", "the heartbeat was dropped by fault fault-1")
	s.faults()
	if f := ws.Next(); f.Kind() != "heartbeat" {
		t.Errorf("got %s, want a heartbeat", f.Raw)
	}
}
