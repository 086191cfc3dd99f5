package protocol

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/wiretest"
)

// lastUpdated returns when the version in a response was stored.
func lastUpdated(t *testing.T, a response) time.Time {
	t.Helper()
	meta, _ := a.Body["meta"].(map[string]any)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(meta["lastUpdated"]))
	if err != nil {
		t.Fatalf("lastUpdated: %v in %s", err, a.Raw)
	}
	return at.UTC()
}

func TestREST_VersionsOfAResource(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := s.now()
	created := s.Must(201, "POST", "Patient", patient("ignored", "One"))
	id := created.Body["id"].(string)
	if id == "ignored" {
		t.Error("a create took the id of the body")
	}
	if got, want := created.Header.Get("Location"), s.FHIR+"/Patient/"+id+"/_history/1"; got != want {
		t.Errorf("Location: got %s, want %s", got, want)
	}
	if got := created.Header.Get("ETag"); got != `W/"1"` {
		t.Errorf("ETag: got %s, want W/\"1\"", got)
	}
	made := lastUpdated(t, created)
	if after := s.now(); made.Before(before) || made.After(after) {
		t.Errorf("lastUpdated: got %s, want the room's time, %s to %s", made, before, after)
	}
	if got, want := created.Header.Get("Last-Modified"), made.Format(http.TimeFormat); got != want {
		t.Errorf("Last-Modified: got %s, want %s as in the resource", got, want)
	}
	if got := created.Header.Get("Content-Type"); got != "application/fhir+json; charset=utf-8" {
		t.Errorf("Content-Type: got %s", got)
	}
	s.Must(200, "PUT", "Patient/"+id, patient(id, "Two"), "If-Match", `W/"1"`)
	s.Must(412, "PUT", "Patient/"+id, patient(id, "Lost"), "If-Match", `W/"1"`)
	patched := s.Must(200, "PATCH", "Patient/"+id, `[{"op":"replace","path":"/name/0/family","value":"Three"}]`, "Content-Type", "application/json-patch+json")
	if compact(patched.Body["name"]) != `[{"family":"Three"}]` {
		t.Errorf("the patch made %s", patched.Raw)
	}
	s.Must(422, "PATCH", "Patient/"+id, `[{"op":"test","path":"/name/0/family","value":"Two"}]`, "Content-Type", "application/json-patch+json")
	s.Must(412, "PATCH", "Patient/"+id, `[{"op":"test","path":"/name/0/family","value":"Two"}]`, "Content-Type", "application/json-patch+json", "If-Match", `W/"2"`)
	first := s.Must(200, "GET", "Patient/"+id+"/_history/1", nil)
	if compact(first.Body["name"]) != `[{"family":"One"}]` {
		t.Errorf("version 1 is %s", first.Raw)
	}
	s.Must(404, "GET", "Patient/"+id+"/_history/9", nil)
	s.Must(304, "GET", "Patient/"+id, nil, "If-None-Match", `W/"3"`)
	s.Must(204, "DELETE", "Patient/"+id, nil)
	s.Must(204, "DELETE", "Patient/"+id, nil) // idempotent
	s.Must(410, "GET", "Patient/"+id, nil)
	history := s.Must(200, "GET", "Patient/"+id+"/_history", nil)
	var methods []string
	for _, e := range asList(history.Body["entry"]) {
		methods = append(methods, text(e, "request", "method"))
	}
	if got := strings.Join(methods, " "); got != "DELETE PUT PUT POST" || history.Body["type"] != "history" {
		t.Errorf("history: got %s, want the four versions, newest first", got)
	}
	fhirtest.Valid(t, fhir.R5, history.Raw)
	again := s.Must(201, "PUT", "Patient/"+id, patient(id, "Back"))
	if got := again.Header.Get("ETag"); got != `W/"5"` {
		t.Errorf("ETag after a new life: got %s, want W/\"5\"", got)
	}
}

func TestREST_WhatComesBackIsWhatWentIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	const body = `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"<b>&amp;</b> ü \u2028"},"valueQuantity":{"value":1.50,"unit":"µg"}}`
	made := lastUpdated(t, s.Must(201, "PUT", "Observation/o", body)).Format("2006-01-02T15:04:05.000Z")
	got := string(s.Must(200, "GET", "Observation/o", nil).Raw)
	want := `{"resourceType":"Observation","id":"o","meta":{"versionId":"1","lastUpdated":"` + made + `"},"status":"final","code":{"text":"<b>&amp;</b> ü ` + "\u2028" + `"},"valueQuantity":{"value":1.50,"unit":"µg"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestREST_ConditionalCreate(t *testing.T) {
	t.Parallel()
	s := start(t)
	identified := func(value string) map[string]any {
		return map[string]any{"resourceType": "Patient", "identifier": []any{map[string]any{"system": "urn:x", "value": value}}}
	}
	const condition = "identifier=urn:x|1"
	first := s.Must(201, "POST", "Patient", identified("1"), "If-None-Exist", condition)
	second := s.Must(200, "POST", "Patient", identified("1"), "If-None-Exist", condition)
	if first.Body["id"] != second.Body["id"] {
		t.Errorf("got another patient: %s", second.Raw)
	}
	if a := s.Must(200, "POST", "Patient", identified("1"), "If-None-Exist", condition, "Prefer", "return=OperationOutcome"); !strings.Contains(string(a.Raw), "nothing was stored") {
		t.Errorf("the outcome does not tell that nothing was stored: %s", a.Raw)
	}
	for _, address := range []string{"?", "Patient?", s.FHIR + "/Patient?"} { // as some clients have it
		s.Must(200, "POST", "Patient", identified("1"), "If-None-Exist", address+condition)
	}
	for _, none := range []string{"?", "Patient?", "&"} {
		a := s.Must(412, "POST", "Patient", identified("1"), "If-None-Exist", none)
		if _, diagnostics, _ := a.Issue(); !strings.Contains(diagnostics, "no condition") {
			t.Errorf("%q: got %q, want what is missing", none, diagnostics)
		}
	}
	if a := s.Must(400, "POST", "Patient?"+condition, identified("1")); !strings.Contains(string(a.Raw), "If-None-Exist") {
		t.Errorf("a create with a search: got %s", a.Raw)
	}
	s.Must(201, "POST", "Patient?_format=json", identified("1"))
	s.Must(412, "POST", "Patient", identified("1"), "If-None-Exist", condition)
}

func TestREST_ConditionalRead(t *testing.T) {
	t.Parallel()
	s := start(t)
	made := lastUpdated(t, s.Must(201, "PUT", "Patient/p", patient("p", "A")))
	at, before := made.Format(http.TimeFormat), made.Add(-time.Second).Format(http.TimeFormat)
	for _, c := range []struct {
		status        int
		header, value string
	}{
		{304, "If-None-Match", `W/"1"`},
		{304, "If-None-Match", `"1"`},
		{304, "If-None-Match", `W/"7", W/"1"`},
		{304, "If-None-Match", `*`},
		{200, "If-None-Match", `W/"2"`},
		{304, "If-Modified-Since", at},
		{200, "If-Modified-Since", before},
		{200, "If-Modified-Since", "yesterday"},
	} {
		s.Must(c.status, "GET", "Patient/p", nil, c.header, c.value)
	}
	s.Must(200, "GET", "Patient/p", nil, "If-None-Match", `W/"2"`, "If-Modified-Since", at)
	// In a bundle the time is an instant.
	a := s.base(200, bundleOf("batch",
		entryOf("GET", "Patient/p", "request.ifModifiedSince", made.Format(time.RFC3339Nano)),
		entryOf("GET", "Patient/p", "request.ifModifiedSince", made.Add(-time.Millisecond).Format(time.RFC3339Nano))))
	if got := strings.Join(answers(a), "|"); got != "304 Not Modified|200 OK" {
		t.Errorf("got %s", got)
	}
}

func TestREST_UpdateThatMustNotReplace(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "Patient/p", patient("p", "A"), "If-None-Match", "*")
	a := s.Must(412, "PUT", "Patient/p", patient("p", "B"), "If-None-Match", "*")
	if _, diagnostics, _ := a.Issue(); !strings.Contains(diagnostics, "the current version of Patient/p is 1") {
		t.Errorf("got %q, want what is in the way", diagnostics)
	}
	s.Must(412, "PUT", "Patient/p", patient("p", "B"), "If-None-Match", `W/"1"`)
	s.Must(200, "PUT", "Patient/p", patient("p", "B"), "If-None-Match", `W/"7"`)
	s.Must(204, "DELETE", "Patient/p", nil)
	s.Must(201, "PUT", "Patient/p", patient("p", "C"), "If-None-Match", "*")
}

func TestREST_PreferAndFormat(t *testing.T) {
	t.Parallel()
	s := start(t)
	if a := s.Must(201, "PUT", "Patient/p", patient("p", "A"), "Prefer", "return=minimal"); len(a.Raw) != 0 || a.Header.Get("Location") == "" {
		t.Errorf("return=minimal: got %q", a.Raw)
	}
	if a := s.Must(200, "PUT", "Patient/p", patient("p", "A"), "Prefer", "return=OperationOutcome"); a.Body["resourceType"] != "OperationOutcome" {
		t.Errorf("return=OperationOutcome: got %s", a.Raw)
	}
	if a := s.Must(200, "GET", "Patient/p?_pretty=true", nil); !strings.Contains(string(a.Raw), "\n  \"id\": \"p\"") {
		t.Errorf("_pretty: got %s", a.Raw)
	}
	for _, accept := range []string{"", "*/*", "application/json", "application/fhir+json; fhirVersion=5.0", "text/html, application/*;q=0.5", "application/fhir+xml, */*;q=0.1"} {
		s.Must(200, "GET", "Patient/p", nil, "Accept", accept)
	}
	s.Must(200, "GET", "Patient/p?_format=json", nil, "Accept", "application/fhir+xml")
	s.Must(200, "GET", "Patient/p?_format=application/fhir+json", nil)
	s.Must(406, "GET", "Patient/p", nil, "Accept", "application/json;q=0, text/html")
	if a := s.Must(200, "GET", "Patient/p", nil, "Accept", "application/fhir+json; fhirVersion=5.0"); a.Header.Get("Content-Type") != "application/fhir+json; charset=utf-8; fhirVersion=5.0" {
		t.Errorf("Content-Type: got %s", a.Header.Get("Content-Type"))
	}
	if a := s.Must(200, "HEAD", "Patient/p", nil); len(a.Raw) != 0 || a.Header.Get("ETag") == "" {
		t.Errorf("HEAD: got %q", a.Raw)
	}
	if a := s.Do("HEAD", "Patient/none", nil); a.Status != 404 || len(a.Raw) != 0 {
		t.Errorf("HEAD of nothing: got %d %q", a.Status, a.Raw)
	}
	s.Must(200, "GET", "/fhir/r5/Patient/p/", nil) // case of the release, trailing slash
	if a := s.Do("PUT", "Patient/q", patient("q", "A"), "Content-Type", ""); a.Status != 201 {
		t.Errorf("no Content-Type: got %d, want it taken as JSON", a.Status)
	}
}

func TestREST_Search(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	var second string // when a was stored, later than c
	for _, id := range []string{"c", "a", "b"} {
		made := s.Must(201, "PUT", "Patient/"+id, patient(id, "Family "+id))
		if id == "a" {
			second = lastUpdated(t, made).Format(time.RFC3339Nano)
		}
		s.now() // so that the next one is later
	}
	ids := func(a response) string {
		var list []string
		for _, e := range asList(a.Body["entry"]) {
			entry := e.(map[string]any)
			if mode, _ := at(entry, "search", "mode").(string); mode == "match" {
				list = append(list, text(entry, "resource", "id"))
			}
		}
		return strings.Join(list, " ")
	}
	tests := map[string]struct{ query, want, total string }{
		"all, oldest first":      {"Patient", "c a b", "3"},
		"newest first":           {"Patient?_sort=-_lastUpdated", "b a c", "3"},
		"by _id":                 {"Patient?_id=a,b", "a b", "2"},
		"by _lastUpdated":        {"Patient?_lastUpdated=ge" + second, "a b", "2"},
		"by name":                {"Patient?name=family%20a", "a", "1"},
		"first page":             {"Patient?_count=2", "c a", "3"},
		"only the number":        {"Patient?_summary=count", "", "3"},
		"subscription by status": {"Subscription?status=active", "abc", "1"},
		"subscription by topic":  {"Subscription?topic=" + admissionURL, "abc", "1"},
		"subscription by type":   {"Subscription?type=websocket", "abc", "1"},
		"subscription by level":  {"Subscription?content-level=full-resource", "", "0"},
		"topic by url":           {"SubscriptionTopic?url=" + admissionURL, "admission", "1"},
		"topic by derived":       {"SubscriptionTopic?derived-or-self=" + admissionURL, "admission", "1"},
		"topic by resource":      {"SubscriptionTopic?resource=http://hl7.org/fhir/StructureDefinition/Encounter", "admission", "1"},
		"topic by status":        {"SubscriptionTopic?status=retired", "", "0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			a := s.Must(200, "GET", test.query, nil)
			if got := ids(a); got != test.want || compact(a.Body["total"]) != test.total {
				t.Errorf("got %q of %v, want %q of %s", got, a.Body["total"], test.want, test.total)
			}
			fhirtest.Valid(t, fhir.R5, a.Raw)
		})
	}
	page := s.Must(200, "GET", "Patient?_count=2&_sort=-_lastUpdated", nil)
	var next string
	for _, l := range asList(page.Body["link"]) {
		if link := l.(map[string]any); link["relation"] == "next" {
			next = link["url"].(string)
		}
	}
	if got := ids(s.Must(200, "GET", next, nil)); got != "c" {
		t.Errorf("the next page of %s has %q, want c", next, got)
	}
	if got := ids(s.Must(200, "POST", "Patient/_search", "_id=a", "Content-Type", "application/x-www-form-urlencoded")); got != "a" {
		t.Errorf("_search: got %q, want a", got)
	}
}

func TestREST_MetadataIsValidAndDiscoverable(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := s.Must(200, "GET", "metadata", nil)
	fhirtest.Valid(t, fhir.R5, a.Raw)
	if a.Body["fhirVersion"] != "5.0.0" || !strings.Contains(string(a.Raw), s.WS) {
		t.Errorf("got version %v; the socket is to be named", a.Body["fhirVersion"])
	}
	for _, id := range []string{"Subscription-get-ws-binding-token", "Subscription-status", "Subscription-events"} {
		definition := s.Must(200, "GET", "OperationDefinition/"+id, nil)
		fhirtest.Valid(t, fhir.R5, definition.Raw)
		if url := definition.Body["url"]; url != "http://hl7.org/fhir/OperationDefinition/"+id || !strings.Contains(string(a.Raw), url.(string)) {
			t.Errorf("%s: url %v is not the canonical one the CapabilityStatement names", id, url)
		}
	}
}

func TestToken_WebsocketURLBehindAProxy(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	const op = "Subscription/abc/$get-ws-binding-token"
	for want, headers := range map[string][]string{
		"wss://fhir.example.org":     {"X-Forwarded-Proto", "https", "X-Forwarded-Host", "fhir.example.org"},
		"ws://fhir.example.org:8443": {"X-Forwarded-Host", "fhir.example.org:8443, inner"},
		"ws://localhost:1234":        {"Host", "localhost:1234"},
	} {
		want = want + s.Path() + "/ws"
		if got := s.Must(200, "POST", op, nil, headers...).Parameters("websocket-url"); !slices.Equal(got, []string{want}) {
			t.Errorf("%v: got %s, want %s (OPW-16)", headers, got, want)
		}
	}
}

func TestToken_ParametersInEveryForm(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/def", websocketSubscription("def", admissionURL))
	const op = "Subscription/$get-ws-binding-token"
	body := func(values ...string) string {
		var list []string
		for _, value := range values {
			list = append(list, `{"name":"id",`+value+`}`)
		}
		return `{"resourceType":"Parameters","parameter":[` + strings.Join(list, ",") + `]}`
	}
	tests := map[string]struct {
		method, path string
		body         any
		want         string
	}{
		"GET":                     {"GET", op + "?id=abc", nil, "abc"},
		"repeated":                {"GET", op + "?id=def&id=abc", nil, "def abc"},
		"a comma list":            {"GET", op + "?id=def,abc", nil, "def abc"},
		"none: all of them":       {"POST", op, nil, "abc def"},
		"duplicates":              {"POST", op + "?id=abc&id=abc", nil, "abc"},
		"valueId":                 {"POST", op, body(`"valueId":"abc"`), "abc"},
		"valueString":             {"POST", op, body(`"valueString":"Subscription/abc"`), "abc"},
		"absolute":                {"POST", op, body(`"valueUri":"` + s.FHIR + `/Subscription/def"`), "def"},
		"body and query":          {"POST", op + "?id=def", body(`"valueId":"abc"`), "def abc"},
		"no parameters":           {"POST", op, `{"resourceType":"Parameters"}`, "abc def"},
		"unknown ones":            {"POST", op + "?idz=x&id=abc", nil, "abc"},
		"instance ignores ids":    {"POST", "Subscription/abc/$get-ws-binding-token?id=def", nil, "abc"},
		"percent-encoded":         {"POST", "Subscription/abc/%24get-ws-binding-token", nil, "abc"},
		"percent-encoded by type": {"GET", "Subscription/%24get-ws-binding-token?id=abc", nil, "abc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			a := s.Must(200, test.method, test.path, test.body)
			if got := strings.Join(a.Parameters("subscription"), " "); got != test.want {
				t.Errorf("got a token for %q, want %q", got, test.want)
			}
			fhirtest.Valid(t, fhir.R5, a.Raw)
		})
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil); a.Header.Get("ETag") != `W/"1"` {
		t.Error("issuing tokens made a new version of the subscription (OPW-15)")
	}
	strict := vectorServer(t, fhir.R5, "--strict")
	if a := strict.Must(405, "GET", op+"?id=abc", nil); a.Header.Get("Allow") != "POST" {
		t.Errorf("--strict: Allow is %q, want POST (OP-3)", a.Header.Get("Allow"))
	}
}

func TestTopic_ChangesReachItsSubscriptions(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	topic := admissionTopic()
	topic["resourceTrigger"] = []any{map[string]any{"resource": "Patient"}}
	s.Must(200, "PUT", "SubscriptionTopic/admission", topic)
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.Nothing()
	s.Must(201, "PUT", "Patient/p", patient("p", "A"))
	ws.WantEvent("1")

	s.Must(204, "DELETE", "SubscriptionTopic/admission", nil)
	status := s.Must(200, "GET", "Subscription/abc/$status", nil).Notification().Status()
	if status["status"] != "error" || status["error"] == nil {
		t.Fatalf("got %v, want status error that says the topic is gone (TOP-22)", status)
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil); a.Body["status"] != "error" {
		t.Errorf("the resource says %v, want error (LC-15)", a.Body["status"])
	}
	// LC-7: it goes on counting, though nothing is delivered.
	s.Must(200, "POST", "/mock/trigger", `{"subscription":"abc","reference":"Patient/p"}`)
	ws.Nothing()
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	s.Must(200, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	ws.WantEvent("3")
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

func TestCORS_LetsLoopbackPagesRead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	a := s.Must(200, "GET", "Subscription/abc", nil, "Origin", "http://localhost:3000")
	if a.Header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("got %v", a.Header)
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil, "Origin", "https://evil.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a foreign page may read")
	}
	preflight := s.Do("OPTIONS", "Subscription/abc", nil, "Origin", "http://localhost:3000", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,prefer")
	if preflight.Status != 204 || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "prefer") {
		t.Errorf("preflight: got %d %v", preflight.Status, preflight.Header)
	}
}

// A page of another site gets at no control route and opens no socket, whatever it
// is called.
func TestOrigin_ForeignPagesAreRefused(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	foreign := []string{"https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example:8080", "null"}
	refused := func(origin, method, path string, a response) {
		t.Helper()
		if a.Status != http.StatusForbidden || !strings.Contains(string(a.Raw), "--allow-origin "+origin) {
			t.Errorf("%s %s from %s: got %d %s, want 403 that names --allow-origin", method, path, origin, a.Status, a.Raw)
		}
	}
	for _, route := range []string{
		"POST trigger", "POST await", "POST reset",
		"GET generators", "POST generators", "PATCH generators/g", "DELETE generators/g",
		"POST generators/g/start", "POST generators/g/stop", "POST generators/g/step",
		"GET sockets", "GET subscriptions", "GET tokens", "DELETE tokens/t", "GET resources",
		"GET explain", "POST explain", "GET state", "GET journal", "GET journal/1",
		"GET journal/stream?limit=1", // with a wrong parameter: if it is let in, it ends
		"GET nothing",
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, origin := range foreign {
			refused(origin, method, path, s.Do(method, "/mock/"+path, nil, "Origin", origin))
		}
	}
	for _, path := range socketPaths {
		for _, origin := range foreign {
			refused(origin, "GET", path, s.Do("GET", path, nil, "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13", "Origin", origin))
		}
	}
	s.Must(200, "GET", "Subscription/abc", nil) // there was no reset
	if opened := s.Journal("?kind=opened"); len(opened) > 0 {
		t.Errorf("sockets were opened: %v", opened)
	}
}

// Pages of this machine, of the server itself and of --allow-origin are let in.
func TestOrigin_OtherPagesAreLetIn(t *testing.T) {
	t.Parallel()
	s := start(t, "--allow-origin", "https://app.example", "--allow-host", "dev.example")
	for _, origin := range []string{"", s.URL, "http://localhost:3000", "http://app.localhost:3000", "http://127.0.0.1:1", "http://[::1]:3000", "https://app.example"} {
		s.Must(204, "POST", "/mock/reset", nil, "Origin", origin)
		for _, path := range socketPaths {
			ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
			conn, _, err := websocket.Dial(ctx, s.socketsAt(path).WS, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
			cancel()
			if err != nil {
				t.Errorf("%s from %q: %v", path, origin, err)
				continue
			}
			conn.CloseNow()
		}
	}
	s.Must(204, "POST", "/mock/reset", nil, "Host", "dev.example:8080", "Origin", "http://dev.example:8080")
	s.Must(403, "POST", "/mock/reset", nil, "Host", "dev.example:8080", "Origin", "http://dev.example:8081")
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

// What breaks an invariant of its type is refused by its key, and the expression
// and place are told; --skip-invariants checks the form alone.
func TestREST_Invariants(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		broken := map[string]any{"resourceType": "Patient", "id": "p", "contact": []any{map[string]any{"gender": "male"}}, "name": []any{map[string]any{"period": map[string]any{"start": "2026-02-01", "end": "2026-01-01"}}}}
		a := s.Must(422, "PUT", "Patient/p", broken)
		for _, says := range []string{"pat-1 does not hold: ", "Patient.contact[0]", "per-1 does not hold: ", "Patient.name[0].period"} {
			if !strings.Contains(string(a.Raw), says) {
				t.Errorf("the answer does not say %q: %s", says, a.Raw)
			}
		}
		if code, _, _ := a.Issue(); code != "invariant" {
			t.Errorf("got %s, want invariant", code)
		}
		s.Must(404, "GET", "Patient/p", nil)
		s.base(422, bundleOf("transaction", entryOf("PUT", "Patient/p", "resource", broken)))

		lax := start(t, "--skip-invariants").on(r)
		lax.Must(201, "PUT", "Patient/p", broken)
	})
}
