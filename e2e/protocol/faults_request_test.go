package protocol

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

func TestFaults_OnTheOperation(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		const path = "Subscription/$get-ws-binding-token?id=abc"
		s := vectorServer(t, r)
		s.faults(`{"name":"busy","on":"operation","operation":"get-ws-binding-token","times":2,"action":"status","status":503,"retryAfter":2}`)
		for range 2 {
			a := s.Must(503, "POST", path, nil)
			if code, diagnostics, _ := a.Issue(); code != "transient" || diagnostics != "refused by fault busy" || a.Header.Get("Retry-After") != "2" {
				t.Errorf("got %s %v", a.Raw, a.Header)
			}
		}
		s.Bind("abc")
		s.wantTold("fault", "$get-ws-binding-token was refused with 503 by fault busy")

		for _, c := range []struct{ action, code string }{{"refused-token", "forbidden"}, {"expired-token", "expired"}} {
			s.faults(`{"on":"operation","action":"` + c.action + `"}`)
			a := s.Must(200, "POST", path, nil)
			ws := s.Dial()
			ws.Send("bind-with-token " + a.Parameters("token")[0])
			ws.Outcome(c.code)
			past := a.Parameters("expiration")[0] < s.now().Format("2006-01-02T15:04:05Z")
			if past != (c.action == "expired-token") {
				t.Errorf("%s: got the expiration %s", c.action, a.Parameters("expiration")[0])
			}
		}

		expiration := func(p map[string]any) any { return p["valueDateTime"] }
		for action, check := range map[string]func(a response) bool{
			"no-expiration": func(a response) bool { return len(a.Parameters("expiration")) == 0 },
			"text-expiration": func(a response) bool {
				p := at(a.Body, "parameter", 1).(map[string]any)
				return p["name"] == "expiration" && expiration(p) == nil && p["valueString"] != nil
			},
			`other-url","url":"wss://other.example/ws`: func(a response) bool { return a.Parameters("websocket-url")[0] == "wss://other.example/ws" },
			"other-url": func(a response) bool { return a.Parameters("websocket-url")[0] == "ws://127.0.0.1:9/ws" },
			"old-names": func(a response) bool {
				return len(a.Parameters("subscription")) == 0 && a.Parameters("subscriptions")[0] == "abc,other" && at(a.Body, "parameter", 3, "valueString") != nil
			},
		} {
			s.Do("PUT", "Subscription/other", websocketSubscription("other", admissionURL))
			s.faults(`{"on":"operation","action":"` + action + `"}`)
			a := s.Must(200, "POST", path+"&id=other", nil)
			if !check(a) {
				t.Errorf("%s: got %s", action, a.Raw)
			}
			s.faults()
			ws := s.Dial()
			ws.Send("bind-with-token " + a.Parameters("token")[0])
			if f := ws.Next(); f.Kind() != "handshake" {
				t.Errorf("%s: got %s, want that the token is good", action, f.Raw)
			}
		}
	})
}

func TestFaults_NarrowedOnTheOperation(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/other", websocketSubscription("other", admissionURL))
	for narrow, want := range map[string][4]int{
		`"subscription":"abc"`:  {503, 503, 200, 503},
		`"method":"GET"`:        {200, 200, 200, 503},
		`"release":"R4"`:        {200, 200, 200, 200},
		`"release":"R5"`:        {503, 503, 503, 503},
		`"nth":2`:               {200, 503, 503, 503},
		`"nth":2,"times":1`:     {200, 503, 200, 200},
		`"probability":0.00001`: {200, 200, 200, 200},
	} {
		s.faults(`{"on":"operation","action":"status",` + narrow + `}`)
		got := [4]int{
			s.Do("POST", "Subscription/abc/$get-ws-binding-token", nil).Status,
			s.Do("POST", "Subscription/$get-ws-binding-token?id=other&id=abc", nil).Status,
			s.Do("POST", "Subscription/other/$get-ws-binding-token", nil).Status,
			s.Do("GET", "Subscription/$get-ws-binding-token?id=abc", nil).Status,
		}
		if got != want {
			t.Errorf("%s: got %v, want %v", narrow, got, want)
		}
	}
}

// A delay holds the request, until the fault is removed or the room closes.
func TestFaults_DelayOfTheOperation(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Must(201, "PUT", "/rooms/demo", `{"seed":"none"}`)
	in := &server{wiretest.New(t, s.URL+"/rooms/demo"), s.log}
	in.Admission()
	in.faults(`{"name":"slow","on":"operation","action":"delay","by":"1h"}`)
	came := in.Begin("POST", "Subscription/abc/$get-ws-binding-token", nil)
	in.AwaitEntry("?kind=fault&text=delayed")
	in.faults()
	if a := <-came; a.Status != 200 {
		t.Errorf("got %d, want 200", a.Status)
	}
	in.faults(`{"name":"slower","on":"operation","action":"delay","by":"1h"}`)
	came = in.Begin("POST", "Subscription/abc/$get-ws-binding-token", nil)
	in.AwaitEntry("?kind=fault&text=slower")
	s.Must(204, "DELETE", "/rooms/demo", nil)
	if a := <-came; a.Status != 503 {
		t.Errorf("got %d %s, want 503", a.Status, a.Raw)
	}
}

func TestFaults_OnRequests(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Patient/p", patient("p", "Sommer"))
	whole := s.Must(200, "GET", "Patient/p", nil)

	s.faults(`{"name":"slow-down","on":"request","action":"status","status":429,"retryAfter":3,"text":"too many","method":"GET","path":"/fhir/*/Patient/*"}`)
	a := s.Must(429, "GET", "Patient/p", nil)
	if code, diagnostics, _ := a.Issue(); code != "throttled" || diagnostics != "too many" || a.Header.Get("Retry-After") != "3" {
		t.Errorf("got %s %v", a.Raw, a.Header)
	}
	s.Must(200, "GET", "Encounter", nil)
	s.Must(201, "PUT", "Patient/q", patient("q", "Winter"))
	s.wantTold("fault", "GET "+s.Path()+"/fhir/R5/Patient/p was refused with 429 by fault slow-down")

	s.faults(`{"on":"request","action":"content-type","contentType":"text/html"}`)
	if a := s.Must(200, "GET", "Patient/p", nil); a.Header.Get("Content-Type") != "text/html" || string(a.Raw) != string(whole.Raw) {
		t.Errorf("got %v %s", a.Header, a.Raw)
	}
	s.faults(`{"on":"request","action":"empty","release":"R5"}`)
	if a := s.Must(200, "GET", "Patient/p", nil); len(a.Raw) != 0 {
		t.Errorf("got %s, want nothing", a.Raw)
	}
	if a := s.Must(404, "GET", "Patient/none", nil); len(a.Raw) != 0 {
		t.Errorf("got %s, want nothing", a.Raw)
	}
	s.Must(200, "GET", "/mock/state", nil) // a control route
	s.faults(`{"on":"request","action":"cut"}`, `{"on":"request","action":"empty"}`)
	if a := s.Must(200, "GET", "/ui/app.js", nil); len(a.Raw) != 0 {
		t.Errorf("got %s, want nothing", a.Raw)
	}

	s.faults(`{"on":"request","action":"delay","by":"1h","subscription":"abc"}`)
	came := s.Begin("GET", "Subscription/abc/$events", nil)
	s.AwaitEntry("?kind=fault&text=delayed")
	s.faults()
	if a := <-came; a.Status != 200 {
		t.Errorf("got %d, want 200", a.Status)
	}
}

// The client sees that a part of the body is missing.
func TestFaults_CutResponses(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Patient/p", patient("p", "Sommer"))
	whole := s.Must(200, "GET", "Patient/p", nil).Raw
	for fault, want := range map[string]int{`{"name":"half","on":"request","action":"cut"}`: len(whole) / 2, `{"name":"ten","on":"request","action":"cut","bytes":10}`: 10} {
		s.faults(fault)
		res, err := http.Get(s.FHIR + "/Patient/p")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if !errors.Is(err, io.ErrUnexpectedEOF) || string(got) != string(whole[:want]) || res.StatusCode != 200 {
			t.Errorf("%s: got %q and %v, want %d bytes and an unexpected end", fault, got, err, want)
		}
	}
	s.faults(`{"name":"long","on":"request","action":"cut","bytes":100000}`)
	s.Must(200, "GET", "Patient/p", nil)
	if got := s.counts(); got != "long 1/0" {
		t.Errorf("got %s", got)
	}
}

// Faults of requests do not change what sockets and control routes do, and a batch is one
// request.
func TestFaults_OfRequestsLeaveSocketsAlone(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	token := s.Token("abc")
	s.faults(`{"on":"request","action":"status"}`)
	ws := s.Dial()
	ws.Send("bind-with-token " + token)
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Errorf("got %s, want a handshake", f.Raw)
	}
	s.events("abc", 1)
	ws.WantEvent("1")
	s.Must(503, "GET", "/fhir/R5/metadata", nil)
	s.Must(503, "GET", "/", nil)
	if got := s.counts(); got != "fault-1 2/2" {
		t.Errorf("got %s", got)
	}
}
