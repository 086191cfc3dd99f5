package protocol

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
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

func TestREST_ConditionalUpdate(t *testing.T) {
	t.Parallel()
	s := start(t)
	identified := func(id, value, family string) map[string]any {
		p := patient(id, family)
		if id == "" {
			delete(p, "id")
		}
		return with(p, "identifier", []any{map[string]any{"system": "urn:x", "value": value}})
	}
	made := s.Must(201, "PUT", "Patient?identifier=urn:x|1", identified("", "1", "A"))
	id := made.Body["id"].(string)
	if again := s.Must(200, "PUT", "Patient?identifier=urn:x|1&_format=json", identified("", "1", "B")); again.Body["id"] != id || again.Header.Get("ETag") != `W/"2"` {
		t.Errorf("got %s, want version 2 of the same", again.Raw)
	}
	s.Must(200, "PUT", "Patient?identifier=urn:x|1", identified(id, "1", "C"))
	s.Must(400, "PUT", "Patient?identifier=urn:x|1", identified("other", "1", "C"))
	s.Must(412, "PUT", "Patient?identifier=urn:x|1", identified("", "1", "C"), "If-Match", `W/"1"`)
	s.Must(412, "PUT", "Patient?identifier=urn:x|2", identified("", "2", "D"), "If-Match", `W/"1"`)
	s.Must(412, "DELETE", "Patient?identifier=urn:x|2", nil, "If-Match", `W/"1"`)
	s.Must(400, "PUT", "Patient/"+id+"?identifier=urn:x|2", identified(id, "1", "D"))
	s.Must(201, "PUT", "Patient?identifier=urn:x|2", identified("mine", "2", "D"))
	s.Must(409, "PUT", "Patient?identifier=urn:x|3", identified("mine", "3", "D"))
	s.Must(201, "POST", "Patient", identified("", "1", "twin"))
	s.Must(412, "PUT", "Patient?identifier=urn:x|1", identified("", "1", "C"))
	s.Must(422, "PUT", "Patient?colour=red", identified("", "1", "C"))
	s.Must(405, "PUT", "Patient", identified("", "1", "C"))
	s.Must(405, "PUT", "Patient?_format=json", identified("", "1", "C"))
}

func TestREST_ConditionalPatchAndDelete(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "Patient/p", patient("p", "A"))
	s.Must(201, "PUT", "Patient/q", patient("q", "Ab"))
	const patch = `[{"op":"replace","path":"/name/0/family","value":"B"}]`
	s.Must(412, "PATCH", "Patient?family=a", patch, "Content-Type", "application/json-patch+json")
	s.Must(404, "PATCH", "Patient?family=z", patch, "Content-Type", "application/json-patch+json")
	if a := s.Must(200, "PATCH", "Patient?family:exact=A", patch, "Content-Type", "application/json-patch+json"); a.Body["id"] != "p" {
		t.Errorf("got %s", a.Raw)
	}
	s.Must(412, "DELETE", "Patient?_id=p,q", nil)
	s.Must(204, "DELETE", "Patient?family=nobody", nil)
	s.Must(204, "DELETE", "Patient?family="+url.QueryEscape("B"), nil)
	s.Must(410, "GET", "Patient/p", nil)
	s.Must(405, "DELETE", "Patient", nil)
	s.Must(200, "GET", "Patient/q", nil)
}

func TestREST_FHIRPathPatch(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		s.Must(201, "PUT", "Patient/p", patient("p", "A"))
		patch := func(kind, path string, more string) string {
			return fmt.Sprintf(`{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":%q},{"name":"path","valueString":%q}%s]}]}`, kind, path, more)
		}
		a := s.Must(200, "PATCH", "Patient/p", patch("replace", "Patient.name[0].family", `,{"name":"value","valueString":"B"}`), "Content-Type", "application/fhir+json")
		if compact(a.Body["name"]) != `[{"family":"B"}]` {
			t.Errorf("got %s", a.Raw)
		}
		s.Must(422, "PATCH", "Patient/p", patch("replace", "Patient.gender", `,{"name":"value","valueCode":"male"}`), "Content-Type", "application/fhir+json")
		s.Must(422, "PATCH", "Patient/p", patch("add", "Patient", `,{"name":"name","valueString":"gender"},{"name":"value","valueCode":"robot"}`), "Content-Type", "application/fhir+json")
		s.Must(400, "PATCH", "Patient/p", patch("swap", "Patient.name", ""), "Content-Type", "application/fhir+json")
		for wrong, says := range map[string]string{
			patch("replace", "Patient.name[0].family", `,{"name":"value","valueString":"C","valueCode":"c"}`): "value takes only one type",
			patch("delete", "Patient.name[0].family", `,{"nmae":"value"}`):                                    "has no element",
		} {
			if a := s.Must(400, "PATCH", "Patient/p", wrong, "Content-Type", "application/fhir+json"); !strings.Contains(string(a.Raw), says) {
				t.Errorf("got %s, want it to say %q", a.Raw, says)
			}
		}
		s.Must(422, "PATCH", "Patient/p", patch("delete", "Patient.nmae", ""), "Content-Type", "application/fhir+json")
		s.Must(415, "PATCH", "Patient/p", compact(patient("p", "C")), "Content-Type", "application/fhir+json")
		s.Must(415, "PATCH", "Patient/p", "x", "Content-Type", "text/plain")
		if a := s.Must(200, "GET", "Patient/p", nil); a.Header.Get("ETag") != `W/"2"` {
			t.Errorf("a refused patch made a version: %s", a.Raw)
		}
	})
}

func TestHistory_OfTypeAndSystem(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		s.Must(201, "PUT", "Patient/p", patient("p", "A"))
		s.Must(201, "PUT", "Organization/o", map[string]any{"resourceType": "Organization", "id": "o", "name": "O"})
		since := s.now().Format(time.RFC3339Nano)
		s.now() // so that what comes is later
		s.Must(200, "PUT", "Patient/p", patient("p", "B"))
		s.Must(204, "DELETE", "Organization/o", nil)
		versions := func(a response) string {
			fhirtest.Valid(t, r, a.Raw)
			var all []string
			for _, e := range asList(a.Body["entry"]) {
				entry := e.(map[string]any)
				request := entry["request"].(map[string]any)
				all = append(all, fmt.Sprint(request["method"], " ", request["url"], " ", at(entry, "response", "etag")))
			}
			return strings.Join(all, ", ")
		}
		for path, want := range map[string]string{
			"_history":                              `DELETE Organization/o W/"2", PUT Patient/p W/"2", PUT Organization/o W/"1", PUT Patient/p W/"1"`,
			"Patient/_history":                      `PUT Patient/p W/"2", PUT Patient/p W/"1"`,
			"_history?_count=1":                     `DELETE Organization/o W/"2"`,
			"_history?_count=1&_offset=3":           `PUT Patient/p W/"1"`,
			"_history?_since=" + since:              `DELETE Organization/o W/"2", PUT Patient/p W/"2"`,
			"Encounter/_history":                    ``,
			"Patient/p/_history":                    `PUT Patient/p W/"2", PUT Patient/p W/"1"`,
			"Patient/p/_history?_count=1":           `PUT Patient/p W/"2"`,
			"Patient/p/_history?_count=1&_offset=1": `PUT Patient/p W/"1"`,
			"Patient/p/_history?_since=" + since:    `PUT Patient/p W/"2"`,
		} {
			if got := versions(s.Must(200, "GET", path, nil)); got != want {
				t.Errorf("%s: got %s, want %s", path, got, want)
			}
		}
		if a := s.Must(200, "GET", "_history?_count=3", nil); fmt.Sprint(a.Body["total"]) != "4" || !strings.Contains(compact(a.Body["link"]), `"next"`) {
			t.Errorf("the first of two pages: got %s", a.Raw)
		}
		s.Must(400, "GET", "_history?_since=yesterday", nil)
		s.Must(400, "GET", "Patient/_history?_count=x", nil)
		s.Must(400, "GET", "Patient/p/_history?_count=x", nil)
		if _, diagnostics, _ := s.Must(400, "GET", "Patient/p/_history?_at=2026", nil).Issue(); !strings.Contains(diagnostics, "a history takes _since, _count") {
			t.Errorf("got %q, want what a history takes", diagnostics)
		}
		s.Must(404, "GET", "Patient/none/_history", nil)
		s.Must(404, "GET", "Klingon/_history", nil)
	})
}

// A reset makes another version 1. A browser that has the old one gets the new one, even
// if both were written in the same second.
func TestCache_AVersionOfBeforeAResetIsOld(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p"}`)
	old := s.Must(200, "GET", "Patient/p", nil)
	s.Must(204, "POST", "/mock/reset", nil)
	s.Must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p","active":true}`)
	a := s.Must(200, "GET", "Patient/p", nil, "If-None-Match", old.Header.Get("ETag"), "If-Modified-Since", old.Header.Get("Last-Modified"))
	if a.Body["active"] != true {
		t.Errorf("got %s, want what was written after the reset", a.Raw)
	}
}
