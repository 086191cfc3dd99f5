package protocol

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// Each mistake in the members of a body is named with its path and what would be right.
func TestControl_TakesNoOtherMembers(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	for _, c := range []struct{ method, path, body, at, detail string }{
		{"POST", "/mock/trigger", `{"subscriptoin":"abc"}`, "subscriptoin", `subscriptoin: unknown member "subscriptoin"; did you mean "subscription"?`},
		{"POST", "/mock/trigger", `{"Subscription":"abc"}`, "Subscription", `Subscription: unknown member "Subscription"; did you mean "subscription"?`},
		{"POST", "/mock/trigger", `{"subscription":"abc","x":1}`, "x", `x: unknown member "x"; known are topic, subscription, release, focus, reference, interaction, count, interval`},
		{"POST", "/mock/trigger", `{"subscription":"abc","subscription":"full"}`, "subscription", `subscription: duplicate member "subscription"; give it once`},
		{"POST", "/mock/trigger", `{"subscription":"abc"} {}`, "", `invalid JSON at line 1, column 24: data after the end of the object: '{'`},
		{"POST", "/mock/trigger", `{"subscription":"abc"}x`, "", `invalid JSON at line 1, column 23: data after the end of the object: 'x'`},
		{"POST", "/mock/trigger", `{"focus":{"id":"a","id":"b"}}`, "", `invalid JSON at line 1, column 20: duplicate member "id"`},
		{"POST", "/mock/trigger", `null`, "", `invalid JSON at line 1, column 1: expected a JSON object, which starts with {, got 'n'`},
		{"POST", "/mock/trigger", "{\"subscription\":\"\xff\"}", "", `invalid JSON at line 1, column 18: invalid UTF-8`},
		{"POST", "/mock/await", `{"bound":{"subscription":"abc","Count":1}}`, "bound.Count", `bound.Count: unknown member "Count"; did you mean "count"?`},
		{"POST", "/mock/await", `{"sent":{"count":1,"subscription":"abc","count":2}}`, "sent.count", `sent.count: duplicate member "count"; give it once`},
		{"POST", "/mock/generators", `{"name":"x","Patients":8}`, "Patients", `Patients: unknown member "Patients"; did you mean "patients"?`},
		{"POST", "/mock/reset", `{"to":"seed"}`, "to", `to: unknown member "to"; known are seed`},
		{"PUT", "/rooms/strict", `{"sed":"none"}`, "sed", `sed: unknown member "sed"; did you mean "seed"?`},
		{"PUT", "/rooms/strict", `{"random":-1}`, "random", `random: got a JSON number -1, expected a whole number from 0 to 18446744073709551615`},
		{"PUT", "/rooms/strict", `{"seed":{"resource":[]}}`, "resource", `resource: unknown member; expected description, random, resources, R4B, R4, generators`},
	} {
		problem := s.Must(400, c.method, c.path, c.body).Body
		place, _ := at(problem, "issues", 0, "expression", 0).(string)
		if problem["detail"] != c.detail || place != c.at {
			t.Errorf("%s: got %q at %q, want %q at %q", c.body, problem["detail"], place, c.detail, c.at)
		}
	}
	both := s.Must(400, "POST", "/mock/await", `{"bound":{"sub":1},"bound":{},"Sent":{}}`).Body
	if got := fmt.Sprint(both["detail"]); strings.Count(got, ";") < 4 || !strings.Contains(got, "bound.sub: ") || !strings.Contains(got, "Sent: ") {
		t.Errorf("got %q, want the three mistakes", got)
	}
}

// A route that has no parameters says so; one that has some lists them.
func TestControl_TakesNoOtherParameters(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	s.Admission()
	for _, c := range []struct{ method, path, detail string }{
		{"GET", "/mock/state?pretty=true", "pretty: there is no such parameter; this route has no parameters"},
		{"GET", "/mock/resources?Type=Encounter", "Type: there is no such parameter; known are release, type, text, offset, limit"},
		{"GET", "/mock/journal?text=%zz", `the query of the address could not be read: invalid URL escape "%zz"`},
		{"GET", "/rooms?x", "x: there is no such parameter; this route has no parameters"},
	} {
		if got := s.Must(400, c.method, c.path, nil).Body["detail"]; got != c.detail {
			t.Errorf("%s: got %q, want %q", c.path, got, c.detail)
		}
	}
}

func TestControl_BoundsNumbers(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, c := range []struct{ method, path, body, detail string }{
		{"POST", "/mock/trigger", `{"subscription":"abc","count":100001}`, "count: got 100001, expected 1 to 100000"},
		{"POST", "/mock/await", `{"bound":{"subscription":"abc","count":-1}}`, "bound.count: got -1, expected a whole number from 0 to 2147483647"},
		{"POST", "/mock/await", `{"sent":{"subscription":"abc","count":-1}}`, "sent.count: got -1, expected a whole number from 0 to 2147483647"},
		{"POST", "/mock/await", `{"sent":{"subscription":"abc","type":"event"}}`, `sent.type: got "event", expected handshake, heartbeat or event-notification`},
		{"GET", "/mock/resources?type=Encounter&limit=1001", "", `limit: got "1001", expected a whole number from 1 to 1000`},
		{"GET", "/mock/resources?type=Encounter&offset=2147483648", "", `offset: got "2147483648", expected a whole number from 0 to 2147483647`},
		{"GET", "/mock/journal?limit=1000001", "", `limit: got "1000001", expected a whole number from 1 to 1000000`},
		{"GET", "/mock/journal?since=9007199254740992", "", `since: got "9007199254740992", expected the number of an entry, at most 9007199254740991, or a time such as 2026-01-02T15:04:05Z`},
		{"GET", "/mock/journal/0", "", `seq: "0" is not a journal sequence number, which is from 1 to 9007199254740991; the member seq of each entry has it`},
		{"GET", "/mock/journal/stream?most=1000001", "", `most: got "1000001", expected a whole number from 1 to 1000000`},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		if got := s.Must(400, c.method, c.path, body).Body["detail"]; got != c.detail {
			t.Errorf("%s %s: got %q, want %q", c.path, c.body, got, c.detail)
		}
	}
}

func TestControl_NamesTheMemberThatIsWrong(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for body, want := range map[string][2]string{
		`{"subscription":"full","count":"two"}`:     {"count", "count: got a JSON string, expected a whole number"},
		`{"subscription":"full","count":1.5}`:       {"count", "count: got a JSON number 1.5, expected a whole number"},
		`{"subscription":["full"]}`:                 {"subscription", "subscription: got a JSON array, expected a string"},
		`{"subscription":"full","interval":"soon"}`: {"interval", `interval: got "soon", expected a time such as 250ms or 5s`},
	} {
		problem := s.Must(400, "POST", "/mock/trigger", body).Body
		issue := at(problem, "issues", 0).(map[string]any)
		if at := asList(issue["expression"]); problem["detail"] != want[1] || len(at) != 1 || at[0] != want[0] {
			t.Errorf("%s: got %v at %v, want %q at %s", body, problem["detail"], at, want[1], want[0])
		}
	}
}

func TestMock_TriggerAndAwait(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/full", websocketSubscription("full", admissionURL, "content", "full-resource"))
	ws := s.Bind("full")
	focus := encounter("given", "in-progress", "subject", reference("Patient/9"))
	s.Must(200, "POST", "/mock/trigger", map[string]any{"topic": admissionURL, "focus": focus, "interaction": "update"})
	f := ws.WantEvent("1")
	entry := f.At("entry", 1).(map[string]any)
	if entry["fullUrl"] != s.FHIR+"/Encounter/given" || at(entry, "request", "method") != "PUT" {
		t.Errorf("got %v, want the focus that was given", entry)
	}
	fhirtest.CheckNotification(t, fhir.R5, f.Raw)
	s.Must(404, "GET", "Encounter/given", nil) // nothing was stored

	s.Must(200, "POST", "/mock/trigger", `{"subscription":"full","count":3}`)
	ws.WantEvent("2")
	ws.WantEvent("3")
	ws.WantEvent("4")
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"full","interaction":"delete"}`)
	if entry := asList(ws.WantEvent("5").Body["entry"])[1].(map[string]any); entry["resource"] != nil {
		t.Errorf("a delete carries a resource: %v", entry)
	}
	s.Must(200, "POST", "/mock/await", `{"sent":{"subscription":"full","type":"event-notification","count":5}}`)
	s.Must(200, "POST", "/mock/await", `{"bound":{"subscription":"full"}}`)
	late := s.Must(408, "POST", "/mock/await", `{"sent":{"subscription":"full","count":99},"timeout":"10ms"}`)
	if late.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(compact(late.Body["seen"]), `"event-notification":5`) {
		t.Errorf("got %s, want a problem that says what was seen", late.Raw)
	}
	for name, bad := range map[string]struct {
		status     int
		path, body string
	}{
		"neither topic nor subscription": {400, "/mock/trigger", `{}`},
		"both":                           {400, "/mock/trigger", `{"topic":"x","subscription":"full"}`},
		"unknown topic":                  {404, "/mock/trigger", `{"topic":"http://example.org/none"}`},
		"unknown subscription":           {404, "/mock/trigger", `{"subscription":"none"}`},
		"misspelt member":                {400, "/mock/trigger", `{"subscriptoin":"full"}`},
		"not JSON":                       {400, "/mock/trigger", `x`},
		"invalid focus":                  {400, "/mock/trigger", `{"subscription":"full","focus":{"resourceType":"Encounter"}}`},
		"bad reference":                  {400, "/mock/trigger", `{"subscription":"full","reference":"Encounter"}`},
		"bad interaction":                {400, "/mock/trigger", `{"subscription":"full","interaction":"touch"}`},
		"too many":                       {400, "/mock/trigger", `{"subscription":"full","count":10000000}`},
		"await nothing":                  {400, "/mock/await", `{}`},
		"await an unknown subscription":  {404, "/mock/await", `{"bound":{"subscription":"none"}}`},
		"unknown generator":              {404, "/mock/generators/none/start", ``},
		"unknown scenario":               {400, "/mock/generators", `{"name":"x","scenario":"none"}`},
	} {
		a := s.Do("POST", bad.path, bad.body)
		if a.Status != bad.status || a.Header.Get("Content-Type") != "application/problem+json" || a.Body["detail"] == "" {
			t.Errorf("%s: got %d %s, want a problem with %d", name, a.Status, a.Raw, bad.status)
		}
	}
	if a := s.Do("POST", "/mock/reset", nil, "Origin", "https://evil.example"); a.Status != http.StatusForbidden {
		t.Errorf("a foreign page could reset the server: %d", a.Status)
	}
}

func TestState_ShowsTheRoom(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("1")
	state := s.Must(200, "GET", "/mock/state", nil).Body
	need(t, state, "instance", "version", "now", "url", "fhir", "ws", "counts", "subscriptions", "sockets", "tokens", "topics", "types", "generators", "scenarios", "totals", "rates")
	totals := state["totals"].(map[string]any)
	if totals["events"] != 1.0 || totals["frames"] != 2.0 || totals["received"] != 1.0 {
		t.Errorf("totals: got %v, want one event, two frames, one received", totals)
	}
	if frames := asList(at(state, "rates", "frames")); len(frames) != 300 {
		t.Errorf("rates: got %d seconds, want 300", len(frames))
	}
	topic := at(state, "topics", 0).(map[string]any)
	if topic["url"] != admissionURL || topic["events"] != 1.0 {
		t.Errorf("topic: got %v, want admission, fired once", topic)
	}
}

func TestResources_FindsByIDAndTellsWhatIsDeleted(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, id := range []string{"day-1", "day-2", "night"} {
		s.Must(201, "PUT", "Encounter/"+id, encounter(id, "in-progress"))
		s.now() // so that the next one is later
	}
	s.Must(204, "DELETE", "Encounter/day-1", nil)
	found := s.Must(200, "GET", "/mock/resources?type=Encounter&text=DAY&limit=5", nil).Body
	list := asList(found["resources"])
	if found["total"] != 2.0 || len(list) != 2 {
		t.Fatalf("got %v, want two", found)
	}
	gone, kept := list[0].(map[string]any), list[1].(map[string]any)
	if gone["id"] != "day-1" || gone["version"] != "2" || gone["deleted"] != true || gone["resource"] != nil {
		t.Errorf("got %v, want day-1, deleted in version 2", gone)
	}
	if kept["id"] != "day-2" || kept["deleted"] != nil || at(kept, "resource", "status") != "in-progress" {
		t.Errorf("got %v, want day-2 with its resource", kept)
	}
	if list := asList(s.Must(200, "GET", "/mock/resources?type=Encounter&offset=1&limit=1&release=r5", nil).Body["resources"]); len(list) != 1 || at(list[0], "id") != "night" {
		t.Errorf("the second page: got %v, want night", list)
	}
	for path, status := range map[string]int{"type=Encounter&release=R9": 400, "type=Encounter&limit=0": 400, "type=Encounter&offset=-1": 400, "type=Meal": 404, "": 404} {
		s.Must(status, "GET", "/mock/resources?"+path, nil)
	}
	for _, e := range asList(s.Must(200, "GET", "/mock/journal?kind=http&limit=100", nil).Body["entries"]) {
		if path := text(e, "http", "path"); strings.HasPrefix(path, "/mock/resources") {
			t.Error("looking at resources is recorded; a page that follows them would fill the record")
		}
	}
}

// The gauges of /metrics go up and down with what they count.
func TestMetrics_GaugesFollow(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	gauges := func(when string, subscriptions, tokens, sockets, resources int) {
		t.Helper()
		text := string(s.Must(200, "GET", "/metrics", nil).Raw)
		for name, want := range map[string]int{"subscriptions": subscriptions, "tokens": tokens, "sockets": sockets, "resources": resources} {
			if line := fmt.Sprintf("\nsignalfhir_%s %d\n", name, want); !strings.Contains(text, line) {
				t.Errorf("%s: want %q in\n%s", when, strings.TrimSpace(line), text)
			}
		}
	}
	gauges("at first", 0, 0, 0, 0)
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	gauges("with a subscription", 1, 0, 0, 2)
	revoked := s.Token("abc")
	s.Bind("abc")
	gauges("with a bound socket", 1, 2, 1, 2)
	s.Must(204, "DELETE", "/mock/tokens/"+revoked, nil)
	gauges("with a token revoked", 1, 1, 1, 2)
	s.Must(204, "POST", "/mock/reset", nil)
	gauges("after a reset", 0, 0, 1, 0) // the socket stays open
}

func TestReset_ReturnsToTheSeed(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	before := s.Must(200, "GET", "Patient?_summary=count", nil)
	ws := s.Bind("admission-id-only")
	token := s.Token("admission-id-only")
	s.Must(201, "PUT", "Patient/mine", map[string]any{"resourceType": "Patient", "id": "mine"})
	s.Must(204, "DELETE", "Subscription/lab-full", nil)

	s.Must(204, "POST", "/mock/reset", nil)
	ws.Outcome("deleted") // the socket stays and is told that its binding is gone
	ws.Nothing()
	s.Must(404, "GET", "Patient/mine", nil)
	s.Must(200, "GET", "Subscription/lab-full", nil)
	if after := s.Must(200, "GET", "Patient?_summary=count", nil); compact(after.Body["total"]) != compact(before.Body["total"]) {
		t.Errorf("patients: got %v, want %v as at the start", after.Body["total"], before.Body["total"])
	}
	ws.Send("bind-with-token " + token)
	ws.Outcome("unknown")
	ws.Send("bind-with-token " + s.Token("admission-id-only"))
	if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "0" {
		t.Errorf("got %s with total %s, want a handshake with 0", f.Kind(), f.Total())
	}
}

// A trigger makes at least one event.
func TestTrigger_RefusesACountOfZero(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	for _, count := range []string{"0", "-1", "100001"} {
		a := s.Do("POST", "/mock/trigger", `{"subscription":"admission-full","count":`+count+`}`)
		if a.Status != 400 || !strings.Contains(string(a.Raw), "got "+count+", expected 1 to 100000") {
			t.Errorf("%s: got %d %s, want 400", count, a.Status, a.Raw)
		}
	}
	for body, events := range map[string]int{`{"subscription":"admission-full"}`: 1, `{"subscription":"admission-full","count":2}`: 2} {
		if got := asList(s.Must(200, "POST", "/mock/trigger", body).Body["events"]); len(got) != events {
			t.Errorf("%s: got %v, want %d events", body, got, events)
		}
	}
}

// A reset reads its body: with seed none the room holds nothing, until the next reset.
func TestReset_ReadsItsBody(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	holds := func(want bool, after string) {
		t.Helper()
		if got := s.Must(200, "GET", "/mock/state", nil).Body["counts"].(map[string]any)["resources"] != 0.0; got != want {
			t.Errorf("after %s: the room holds something: %v, want %v", after, got, want)
		}
	}
	holds(true, "the start")
	for _, body := range []string{`{"seed":"none"}`, ``, `{"seed":"none"}`, `{}`, `{"seed":"none"}`, `{"seed":null}`} {
		s.Must(204, "POST", "/mock/reset", body)
		holds(body != `{"seed":"none"}`, body)
	}
	s.Must(204, "POST", "/mock/reset", `{"seed":"none"}`)
	if entries := s.Journal("?kind=reset"); !strings.Contains(entries[len(entries)-1].Text, "holds nothing") {
		t.Errorf("the journal says %q", entries[len(entries)-1].Text)
	}
	s.Must(201, "PUT", "/rooms/r", `{"seed":"builtin"}`)
	s.Must(204, "POST", "/rooms/r/mock/reset", ``)
	s.Must(200, "GET", "/rooms/r/fhir/R5/Patient/example", nil)
	for body, says := range map[string]string{
		`garbage`:          "invalid JSON at line 1, column 1",
		`{"seed":"other"}`: `got \"other\", expected \"none\"`,
		`{"seed":{}}`:      "got a JSON object, expected a string",
		`{"sed":"none"}`:   `did you mean \"seed\"?`,
		`{"seed":""}`:      `expected \"none\"`,
	} {
		if a := s.Do("POST", "/mock/reset", body); a.Status != 400 || !strings.Contains(string(a.Raw), says) {
			t.Errorf("%s: got %d %s, want 400 with %s", body, a.Status, a.Raw, says)
		}
	}
	holds(false, "refused resets")
}
