package protocol

import (
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

func TestBind_InEveryDialect(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for name, send := range map[string]func(*server) *socket{
		"space": func(s *server) *socket {
			ws := s.Dial()
			ws.Send("bind-with-token " + s.Token("abc"))
			return ws
		},
		"colon": func(s *server) *socket {
			ws := s.Dial()
			ws.Send("BIND-WITH-TOKEN: " + s.Token("abc"))
			return ws
		},
		"quotes": func(s *server) *socket {
			ws := s.Dial()
			ws.Send(`bind-with-token "` + s.Token("abc") + `"`)
			return ws
		},
		"JSON": func(s *server) *socket {
			ws := s.Dial()
			ws.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("abc") + `"}}`)
			return ws
		},
		"URL": func(s *server) *socket { return s.Dial("?token=" + s.Token("abc")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if f := send(s).Next(); f.Kind() != "handshake" || f.Subscription() != "abc" {
				t.Errorf("got %s, want the handshake of abc", f.Raw)
			}
		})
	}
	bad := s.Dial("?token=nonsense")
	bad.Outcome("unknown")
	if code, _ := bad.Closed(); code != 1008 {
		t.Errorf("a bad token on the URL: closed with %d, want 1008 (WS-10)", code)
	}
}

func TestPing_IsAnsweredInItsDialect(t *testing.T) {
	t.Parallel()
	ws := start(t).Dial()
	ws.Send("ping")
	if f := ws.Next(); string(f.Raw) != "pong" {
		t.Errorf("got %s, want pong", f.Raw)
	}
	ws.Send(`{"type":"ping"}`)
	if f := ws.Next(); f.Body["type"] != "pong" {
		t.Errorf("got %s, want a JSON pong (WS-16)", f.Raw)
	}
}

// WSL-1 to WSL-8: the protocol of R4, for subscriptions whose criteria is a search.
func TestLegacy_BindAndPing(t *testing.T) {
	t.Parallel()
	for _, r := range []fhir.Release{fhir.R4, fhir.R4B} {
		s := vectorServer(t, r)
		classic := func(id, criteria string) string {
			return `{"resourceType":"Subscription","id":"` + id + `","status":"requested","reason":"x","criteria":"` + criteria + `","channel":{"type":"websocket"}}`
		}
		s.Must(201, "PUT", "Subscription/busy", classic("busy", "Encounter?status=in-progress"))
		s.Must(201, "PUT", "Subscription/any", classic("any", "Encounter"))
		for _, path := range []string{"/ws", "/websocket", "/ws/subscriptions-r4"} {
			ws := s.socketsAt(path).Dial()
			ws.Send("bind Subscription/busy,any")
			for _, want := range []string{"bound busy", "bound any"} {
				if f := ws.Next(); string(f.Raw) != want {
					t.Fatalf("%s %s: got %s, want %s", r, path, f.Raw, want)
				}
			}
			s.Must(201, "POST", "Encounter", encounter("", "planned"))
			if f := ws.Next(); string(f.Raw) != "ping any" {
				t.Errorf("%s: got %s, want ping any", r, f.Raw)
			}
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
			for _, want := range []string{"ping any", "ping busy"} {
				if f := ws.Next(); string(f.Raw) != want {
					t.Errorf("%s: got %s, want %s", r, f.Raw, want)
				}
			}
			ws.Send("unbind any")
			ws.Nothing()
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
			if f := ws.Next(); string(f.Raw) != "ping busy" {
				t.Errorf("%s: got %s, want ping busy alone", r, f.Raw)
			}
			ws.Nothing() // WSL-4: also no word of what is deleted
		}
		if held := s.Journal("?kind=not-sent&subscription=busy"); len(held) == 0 || !strings.Contains(held[0].Text, "Encounter?status=in-progress does not select it") {
			t.Errorf("%s: the journal says %v of what was not selected", r, held)
		}
		ws := s.Dial()
		ws.Send("bind abc") // WSL-6
		ws.Outcome("business-rule")
		ws.Send("bind nobody") // WSL-5
		ws.Outcome("not-found")
		if a := s.Do("PUT", "Subscription/bad", classic("bad", "Encounter?nothing=1")); a.Status != 422 {
			t.Errorf("a search that cannot be: got %d %s, want 422", a.Status, a.Raw)
		}
		if a := s.Do("PUT", "Subscription/bad", classic("bad", "Nothing?status=1")); a.Status != 422 {
			t.Errorf("a type that is none: got %d %s, want 422", a.Status, a.Raw)
		}
	}
}

// What Medplum's client needs (clients.md): a classic subscription by POST, a
// token by GET, JSON frames, a SubscriptionStatus with a relative reference. What
// it leaves behind is collected when its socket is gone.
func TestMedplum_FlowAndCollection(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	create := func() string {
		a := s.Must(201, "POST", "Subscription", `{"resourceType":"Subscription","status":"active","reason":"x","criteria":"Communication","channel":{"type":"websocket"}}`)
		return a.Body["id"].(string)
	}
	id := create()
	secret := s.Must(200, "GET", "Subscription/"+id+"/$get-ws-binding-token", nil).Parameters("token")[0]
	in := s.socketsAt("/ws/subscriptions-r4")
	ws := in.Dial()
	ws.Send(`{"type":"bind-with-token","payload":{"token":"` + secret + `"}}`)
	handshake := ws.Next()
	if handshake.Kind() != "handshake" || handshake.Status()["resourceType"] != "SubscriptionStatus" {
		t.Fatalf("got %s, want a handshake with a SubscriptionStatus", handshake.Raw)
	}
	if got := at(handshake.Status(), "subscription", "reference"); got != "Subscription/"+id {
		t.Errorf("the subscription is %v, want a relative reference", got)
	}
	s.Must(201, "PUT", "Communication/c", `{"resourceType":"Communication","id":"c","status":"completed"}`)
	f := ws.WantEvent("1")
	if resource := f.At("entry", 1, "resource").(map[string]any); resource["id"] != "c" {
		t.Errorf("got %v, want the communication", resource)
	}
	if got := s.Journal("?kind=received&socket=s1")[0].Dialect; got != "medplum" {
		t.Errorf("the journal says dialect %q", got)
	}
	// Another socket holds one of its own, which stays.
	kept := create()
	other := in.Dial()
	other.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token(kept) + `"}}`)
	other.Next()
	ws.Conn.CloseNow()
	s.await("Subscription", []string{kept})
	other.Send(`{"type":"unbind-from-token","payload":{"token":"` + s.Token(kept) + `"}}`) // another token holds nothing
	nothingJSON(other)
	s.await("Subscription", []string{kept})
	// One with an id of the client's is nobody's leftover.
	s.Must(201, "PUT", "Subscription/mine", `{"resourceType":"Subscription","id":"mine","status":"active","reason":"x","criteria":"Communication","channel":{"type":"websocket"}}`)
	mine := in.Dial()
	mine.Send(`{"type":"bind-with-token","payload":{"token":"` + s.Token("mine") + `"}}`)
	mine.Next()
	mine.Conn.CloseNow()
	other.Conn.CloseNow()
	s.await("Subscription", []string{"mine"})
}

// await waits until the resources of a type are these. Each look is a request.
func (s *server) await(typ string, want []string) {
	s.T.Helper()
	var ids []string
	for range 2000 {
		ids = nil
		for _, e := range asList(s.Must(200, "GET", typ, nil).Body["entry"]) {
			ids = append(ids, text(e, "resource", "id"))
		}
		if slices.Equal(ids, want) {
			return
		}
	}
	s.T.Errorf("got %s %v, want %v", typ, ids, want)
}

// nothingJSON is nothing for a client that speaks JSON.
func nothingJSON(ws *socket) {
	ws.T.Helper()
	ws.Send(`{"type":"ping"}`)
	if f := ws.Next(); string(f.Raw) != `{"type":"pong"}` {
		ws.T.Fatalf("got %s, want no frame", f.Raw)
	}
}
