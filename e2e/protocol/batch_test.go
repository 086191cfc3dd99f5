package protocol

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/wiretest"
)

// entryOf is an entry of a batch or transaction: method and url, then pairs of
// members of the entry or, with a "request." before their name, of its request.
func entryOf(method, url string, pairs ...any) map[string]any {
	request := map[string]any{"method": method, "url": url}
	entry := map[string]any{"request": request}
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		if inside, ok := strings.CutPrefix(name, "request."); ok {
			request[inside] = pairs[i+1]
		} else {
			entry[name] = pairs[i+1]
			if resource, ok := pairs[i+1].(map[string]any); ok && resource["id"] == "" {
				delete(resource, "id") // the server is to choose one
			}
		}
	}
	return entry
}

func bundleOf(kind string, entries ...any) map[string]any {
	return map[string]any{"resourceType": "Bundle", "type": kind, "entry": entries}
}

// base posts a bundle to the FHIR base.
func (s *server) base(status int, bundle map[string]any, headers ...string) response {
	s.T.Helper()
	return s.Must(status, "POST", s.FHIR, compact(bundle), headers...)
}

// answers are the responses of a bundle: "201 Created", …
func answers(a response) []string {
	var all []string
	for _, e := range asList(a.Body["entry"]) {
		all = append(all, text(e, "response", "status"))
	}
	return all
}

func TestBatch_EachEntryIsARequestOfItsOwn(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		s.Must(201, "PUT", "Patient/p", patient("p", "A"))
		a := s.base(200, bundleOf("batch",
			entryOf("POST", "Patient", "resource", patient("", "New")),
			entryOf("PUT", "Patient/q", "resource", patient("wrong", "Q")),
			entryOf("GET", "Patient/p"),
			entryOf("GET", "Patient?family=a"),
			entryOf("GET", "/Patient/p/", "request.ifNoneMatch", `W/"1"`),
			entryOf("GET", s.URL+"/fhir/"+strings.ToLower(string(r))+"/Patient/p/_history/1"),
			entryOf("GET", "Klingon/1"),
			entryOf("GET", "Subscription/$status"),
			entryOf("DELETE", "Patient/p", "request.ifMatch", `W/"7"`),
			entryOf("PATCH", "Patient/p", "resource", map[string]any{"resourceType": "Binary", "contentType": "application/json-patch+json", "data": "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9uYW1lLzAvZmFtaWx5IiwidmFsdWUiOiJCIn1d"}),
			entryOf("DELETE", "Patient/p"),
		))
		want := "201 Created|400 Bad Request|200 OK|200 OK|304 Not Modified|200 OK|404 Not Found|200 OK|412 Precondition Failed|200 OK|204 No Content"
		if got := strings.Join(answers(a), "|"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		fhirtest.Valid(t, r, a.Raw)
		entries := asList(a.Body["entry"])
		if e := compact(entries[1]); !strings.Contains(e, "the body has id") || !strings.Contains(e, "OperationOutcome") {
			t.Errorf("the refused entry does not say why: %s", e)
		}
		if e := compact(entries[9]); !strings.Contains(e, `"family":"B"`) {
			t.Errorf("the patch did not work: %s", e)
		}
		s.Must(410, "GET", "Patient/p", nil)
		s.Must(404, "GET", "Patient/q", nil)
	})
}

// What the client of a batch prefers is true of each entry.
func TestBatch_HonoursPrefer(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		bundle := bundleOf("batch",
			entryOf("POST", "Patient", "resource", patient("", "A")),
			entryOf("PUT", "Patient/p", "resource", patient("p", "P")),
			entryOf("GET", "Patient?colour=red"))
		for _, tt := range []struct {
			prefer, written string // the type of the resource of a write
			search          string // status
		}{
			{"", "Patient", "200 OK"},
			{"return=representation", "Patient", "200 OK"},
			{"return=minimal", "", "200 OK"},
			{"return=OperationOutcome", "OperationOutcome", "200 OK"},
			{"handling=strict", "Patient", "400 Bad Request"},
			{"return=minimal, handling=strict", "", "400 Bad Request"},
		} {
			a := s.base(200, bundle, "Prefer", tt.prefer)
			for i, e := range asList(a.Body["entry"])[:2] {
				resource, _ := at(e, "resource").(map[string]any)
				if typ, _ := resource["resourceType"].(string); typ != tt.written {
					t.Errorf("%q: write %d: got %q, want %q: %s", tt.prefer, i, typ, tt.written, compact(e))
				}
			}
			if got := answers(a)[2]; got != tt.search {
				t.Errorf("%q: a search by an unknown parameter: got %s, want %s", tt.prefer, got, tt.search)
			}
		}
	})
}

func TestTransaction_ResolvesReferencesAndFiresInOrderAfterwards(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		s.Must(201, "PUT", "Patient/gone", patient("gone", "X"))
		s.Must(201, "PUT", "Encounter/old", encounter("old", "planned", "subject", reference("Patient/gone")))
		s.Must(201, "PUT", "Organization/acme", map[string]any{"resourceType": "Organization", "id": "acme", "identifier": []any{map[string]any{"system": "urn:o", "value": "1"}}, "name": "Acme"})
		const urn = "urn:uuid:11111111-1111-4111-8111-111111111111"
		_, first := inRelease(r, "Encounter", encounter("", "in-progress", "subject", reference(urn), "serviceProvider", reference("Organization?identifier=urn:o|1")))
		_, second := inRelease(r, "Encounter/old", encounter("old", "in-progress", "subject", reference(urn)))
		a := s.base(200, bundleOf("transaction",
			entryOf("PUT", "Encounter/old", "resource", second),
			entryOf("POST", "Encounter", "resource", first),
			entryOf("GET", "Encounter?status=in-progress"),
			entryOf("POST", "Patient", "resource", patient("", "New"), "fullUrl", urn),
			entryOf("DELETE", "Patient/gone"),
		), "Prefer", "return=representation")
		fhirtest.Valid(t, r, a.Raw)
		if got := strings.Join(answers(a), "|"); got != "200 OK|201 Created|200 OK|201 Created|204 No Content" {
			t.Fatalf("got %s", got)
		}
		entries := asList(a.Body["entry"])
		made := text(entries[3], "resource", "id")
		created := at(entries[1], "resource").(map[string]any)
		if got := compact(created["subject"]) + compact(created["serviceProvider"]); got != compact(reference("Patient/"+made))+compact(reference("Organization/acme")) {
			t.Errorf("the references became %s", got)
		}
		if e := compact(entries[2]); !strings.Contains(e, `"total":2`) {
			t.Errorf("the search does not see the writes: %s", e)
		}
		// DELETE, POST, PUT: the created encounter comes before the changed one.
		one, two := ws.WantEvent("1"), ws.WantEvent("2")
		if !strings.Contains(string(one.Raw), "/Encounter/"+created["id"].(string)) || !strings.Contains(string(two.Raw), "/Encounter/old") {
			t.Errorf("the events came in another order:\n%s\n%s", one.Raw, two.Raw)
		}
		s.Must(410, "GET", "Patient/gone", nil)
	})
}

// Topic, subscription and the change it is about in one transaction: whatever
// their order, the topic is there first, and the subscription hears of the change.
func TestTransaction_TakesTopicSubscriptionAndChangeTogether(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.base(200, bundleOf("transaction",
		entryOf("PUT", "Encounter/e", "resource", encounter("e", "in-progress")),
		entryOf("PUT", "Subscription/abc", "resource", websocketSubscription("abc", admissionURL)),
		entryOf("PUT", "SubscriptionTopic/admission", "resource", admissionTopic()),
	))
	s.Bind("abc")
	if a := s.Must(200, "GET", "Subscription/abc/$status", nil); !strings.Contains(string(a.Raw), `"eventsSinceSubscriptionStart":"1"`) {
		t.Errorf("the subscription did not hear of the change: %s", a.Raw)
	}
	// And the topic goes with the subscriptions that need it.
	s.base(200, bundleOf("transaction", entryOf("DELETE", "SubscriptionTopic/admission"), entryOf("DELETE", "Subscription/abc")))
	s.Must(410, "GET", "Subscription/abc", nil)
}

func TestTransaction_IsAllOrNothing(t *testing.T) {
	t.Parallel()
	good := entryOf("POST", "Patient", "resource", patient("", "Good"))
	tests := []struct {
		name   string
		bad    map[string]any
		status int
		code   string
		says   string
	}{
		{"an invalid resource", entryOf("POST", "Patient", "resource", map[string]any{"resourceType": "Patient", "colour": "red"}), 400, "structure", "Bundle.entry[1].resource.colour"},
		{"a resource of another type", entryOf("POST", "Group", "resource", patient("", "A")), 400, "invalid", "expected Group"},
		{"an id that differs", entryOf("PUT", "Patient/x", "resource", patient("y", "A")), 400, "invalid", "must be the same"},
		{"If-Match that does not", entryOf("PUT", "Patient/p", "resource", patient("p", "A"), "request.ifMatch", `W/"9"`), 412, "conflict", "If-Match"},
		{"a patch of nothing", entryOf("PATCH", "Patient/none", "resource", map[string]any{"resourceType": "Parameters", "parameter": []any{}}), 404, "not-found", "Patient/none"},
		{"a patch that is none", entryOf("PATCH", "Patient/p", "resource", patient("", "x")), 400, "value", "Binary"},
		{"a condition that selects several", entryOf("PUT", "Patient?active=true", "resource", map[string]any{"resourceType": "Patient", "active": true}), 412, "multiple-matches", "at most one"},
		{"an unknown type", entryOf("POST", "Klingon", "resource", map[string]any{"resourceType": "Klingon"}), 404, "not-supported", "Klingon"},
		{"the same resource twice", entryOf("DELETE", "Patient/p", "fullUrl", "x"), 0, "invalid", "once"},
		{"a subscription to no topic", entryOf("POST", "Subscription", "resource", websocketSubscription("", "http://example.org/none")), 422, "not-supported", "no topic"},
		{"a reference to several", entryOf("POST", "Encounter", "resource", encounter("", "planned", "subject", reference("Patient?active=true"))), 412, "multiple-matches", "selects 2"},
		{"a reference to none", entryOf("POST", "Encounter", "resource", encounter("", "planned", "subject", reference("Patient?family=nobody"))), 412, "multiple-matches", "selects 0"},
		{"no request", map[string]any{"resource": patient("", "x")}, 400, "required", "request"},
		{"a method there is not", entryOf("BREW", "Patient"), 400, "code-invalid", "BREW"},
		{"a write without resource", entryOf("POST", "Patient"), 400, "required", "resource"},
		{"an address elsewhere", entryOf("GET", "http://example.org/Patient/1"), 400, "value", "below the base"},
		{"a fullUrl that is taken", entryOf("POST", "Patient", "resource", patient("", "x"), "fullUrl", "urn:uuid:44444444-4444-4444-8444-444444444444"), 0, "invalid", "Bundle.entry[0] has it too"},
		{"If-None-Match of one there is", entryOf("PUT", "Patient/p", "resource", patient("p", "A"), "request.ifNoneMatch", "*"), 412, "conflict", "If-None-Match *"},
		{"an operation", entryOf("POST", "Subscription/abc/$status", "resource", map[string]any{"resourceType": "Parameters"}), 400, "not-supported", "use a batch"},
		{"neither id nor search", entryOf("DELETE", "Patient"), 400, "value", "needs an id"},
		{"no id", entryOf("DELETE", "Patient/a_b"), 400, "value", "not an id"},
		{"an id and a search", entryOf("DELETE", "Patient/p?family=B"), 400, "value", "leave the id out"},
		{"a create with a search", entryOf("POST", "Patient?family=B", "resource", patient("", "x")), 400, "value", "If-None-Exist"},
		{"a condition that is none", entryOf("POST", "Patient", "resource", patient("", "x"), "request.ifNoneExist", "Patient?"), 412, "required", "has no condition"},
		{"a condition that is empty", entryOf("POST", "Patient", "resource", patient("", "x"), "request.ifNoneExist", ""), 400, "structure", "ifNoneExist"},
		{"a condition of another method", entryOf("PUT", "Patient/p", "resource", patient("p", "x"), "request.ifNoneExist", "family=B"), 400, "invalid", "which is for POST"},
		{"a condition that is misspelt", entryOf("PUT", "Patient/p", "resource", patient("p", "x"), "request.ifmatch", `W/"9"`), 400, "structure", "did you mean"},
		{"a condition that is not text", entryOf("PUT", "Patient/p", "resource", patient("p", "x"), "request.ifMatch", 9), 400, "value", "ifMatch"},
		{"If-Match of nothing that matches", entryOf("PUT", "Patient?family=nobody", "resource", map[string]any{"resourceType": "Patient"}, "request.ifMatch", `W/"1"`), 412, "conflict", "no Patient matches"},
		{"a bundle in the bundle", entryOf("POST", "?", "resource", bundleOf("batch", entryOf("GET", "Patient/p"))), 400, "value", "below the base"},
		{"what a deletion brings along", entryOf("POST", "Encounter", "resource", encounter("", "planned", "subject", reference("Patient?family=Deleted"))), -1, "multiple-matches", "selects 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.Must(201, "PUT", "Patient/p", map[string]any{"resourceType": "Patient", "id": "p", "active": true})
			s.Must(201, "PUT", "Patient/q", map[string]any{"resourceType": "Patient", "id": "q", "active": true})
			bundle := bundleOf("transaction", good, tt.bad)
			if tt.status == -1 { // with a deletion that has a resource before it
				bundle = bundleOf("transaction", entryOf("DELETE", "Patient/p", "resource", patient("p", "Deleted")), tt.bad)
				tt.status = 412
			}
			if tt.status == 0 { // with another before it
				bundle = bundleOf("transaction", entryOf("PUT", "Patient/p", "resource", patient("p", "A"), "fullUrl", "urn:uuid:44444444-4444-4444-8444-444444444444"), tt.bad)
				tt.status = 400
			}
			before := string(s.Must(200, "GET", "_history", nil).Raw)
			a := s.base(tt.status, bundle)
			code, diagnostics, expression := a.Issue()
			if code != tt.code || !strings.Contains(string(a.Raw), tt.says) || diagnostics == "" || len(expression) == 0 || !strings.HasPrefix(expression[0], "Bundle.entry[1]") {
				t.Errorf("got %s %q at %v, want %s that says %q and where", code, diagnostics, expression, tt.code, tt.says)
			}
			if after := string(s.Must(200, "GET", "_history", nil).Raw); wiretest.Entries(after) != wiretest.Entries(before) {
				t.Errorf("something was written: %s", after)
			}
		})
	}
}

func TestBundle_RefusesWhatIsNoBatch(t *testing.T) {
	t.Parallel()
	s := start(t)
	for body, code := range map[string]string{
		compact(patient("p", "A")):            "invalid",
		compact(bundleOf("collection")):       "code-invalid",
		`{"resourceType":"Bundle"}`:           "code-invalid",
		`{"resourceType":"Bundle",`:           "structure",
		compact(bundleOf("batch", "nothing")): "required",
		`{"resourceType":"Bundle","type":"batch","entry":{"request":{"method":"GET","url":"Patient"}}}`:              "structure",
		`{"resourceType":"Bundle","type":"batch","entries":[]}`:                                                      "structure",
		`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient"},"full":"x"}]}`: "structure",
		`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":5}}]}`:                    "value",
	} {
		if a := s.Must(400, "POST", s.FHIR, body); func() string { c, _, _ := a.Issue(); return c }() != code {
			t.Errorf("%s: got %s, want %s", body, a.Raw, code)
		}
	}
	if a := s.base(200, bundleOf("batch")); len(asList(a.Body["entry"])) != 0 {
		t.Errorf("a batch of nothing: got %s", a.Raw)
	}
	s.base(200, bundleOf("transaction"))
	many := slices.Repeat([]any{entryOf("GET", "Patient/p")}, 1000+1)
	s.base(413, bundleOf("batch", many...))
	s.Must(405, "GET", s.FHIR, nil)
}

func TestTransaction_ConditionalEntries(t *testing.T) {
	t.Parallel()
	s := start(t)
	identified := func(family string) map[string]any {
		return map[string]any{"resourceType": "Patient", "identifier": []any{map[string]any{"system": "urn:x", "value": "1"}}, "name": []any{map[string]any{"family": family}}}
	}
	const urn, condition = "urn:uuid:22222222-2222-4222-8222-222222222222", "identifier=urn:x|1"
	for round, want := range []string{"201 Created|201 Created", "200 OK|201 Created"} {
		a := s.base(200, bundleOf("transaction",
			entryOf("POST", "Patient", "resource", identified("A"), "request.ifNoneExist", condition, "fullUrl", urn),
			entryOf("POST", "Encounter", "resource", encounter("", "planned", "subject", reference(urn)))))
		if got := strings.Join(answers(a), "|"); got != want {
			t.Errorf("round %d: got %s, want %s", round, got, want)
		}
	}
	if a := s.Must(200, "GET", "Patient?_total=accurate", nil); fmt.Sprint(a.Body["total"]) != "1" {
		t.Errorf("got %s, want one patient", a.Raw)
	}
	if a := s.Must(200, "GET", "Encounter?patient.identifier=1", nil); fmt.Sprint(a.Body["total"]) != "2" {
		t.Errorf("got %s, want both encounters to refer to the one patient", a.Raw)
	}
	a := s.base(200, bundleOf("transaction",
		entryOf("PUT", "Patient?"+condition, "resource", identified("B")),
		entryOf("DELETE", "Encounter?status=finished")))
	if got := strings.Join(answers(a), "|"); got != "200 OK|204 No Content" {
		t.Errorf("got %s", got)
	}
	// What a resource is called in the world is not a link, also where an entry is called so.
	named := with(patient("", "N"), "identifier", []any{map[string]any{"system": "urn:ietf:rfc:3986", "value": urn}})
	a = s.base(200, bundleOf("transaction", entryOf("POST", "Patient", "resource", named, "fullUrl", urn)), "Prefer", "return=representation")
	if !strings.Contains(string(a.Raw), `"value":"`+urn+`"`) {
		t.Errorf("the identifier was changed: %s", a.Raw)
	}
	a = s.base(200, bundleOf("transaction", entryOf("POST", "Encounter", "resource", encounter("", "planned", "subject", reference("urn:uuid:33333333-3333-4333-8333-333333333333")))))
	if !strings.Contains(string(a.Raw), "but no entry of the bundle has this fullUrl") {
		t.Errorf("a reference to no entry is not told of: %s", a.Raw)
	}
}

// What is replaced is what links: references, elements that are addresses, and the links
// of narratives (http.html#trules).
func TestTransaction_LinksWhatIsALink(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		const (
			patientURN = "urn:uuid:55555555-5555-4555-8555-555555555555"
			valueSet   = "http://example.org/fhir/ValueSet/v"
			here       = "http://here.example.org/fhir/"
			there      = "http://there.example.org/fhir/"
		)
		s := start(t).on(r)
		resource := func(typ string, pairs ...any) map[string]any {
			o := map[string]any{"resourceType": typ}
			for i := 0; i < len(pairs); i += 2 {
				o = with(o, pairs[i].(string), pairs[i+1])
			}
			return o
		}
		s.Must(201, "PUT", "Organization/gone", resource("Organization", "id", "gone", "name", "Acme"))
		narrative := func(link string) map[string]any {
			return map[string]any{"status": "generated", "div": `<div xmlns="http://www.w3.org/1999/xhtml"><a href="` + link + `">urn:uuid</a> <img src='` + link + `' alt="x"/></div>`}
		}
		a := s.base(200, bundleOf("transaction",
			entryOf("POST", "Patient", "fullUrl", patientURN, "resource", patient("", "New")),
			entryOf("POST", "Basic", "resource", resource("Basic",
				"code", map[string]any{"text": "x"}, "text", narrative(patientURN),
				"extension", []any{
					map[string]any{"url": "http://example.org/uri", "valueUri": patientURN},
					map[string]any{"url": "http://example.org/string", "valueString": patientURN},
					map[string]any{"url": "http://example.org/canonical", "valueCanonical": valueSet},
					map[string]any{"url": "http://example.org/reference", "valueReference": reference(patientURN + "#part")},
				})),
			entryOf("POST", "ValueSet", "fullUrl", valueSet, "resource", resource("ValueSet", "url", valueSet, "status", "active")),
			// Two servers have a Patient/1. Whose is meant says the address of who refers.
			entryOf("POST", "Patient", "fullUrl", here+"Patient/1", "resource", patient("", "Here")),
			entryOf("POST", "Patient", "fullUrl", there+"Patient/1", "resource", patient("", "There")),
			entryOf("POST", "Basic", "fullUrl", there+"Basic/2", "resource", resource("Basic", "code", map[string]any{"text": "x"}, "subject", reference("Patient/1"))),
			// Conditional references are about what there is in the end.
			entryOf("POST", "Organization", "resource", resource("Organization", "name", "Acme")),
			entryOf("DELETE", "Organization/gone"),
			entryOf("POST", "Basic", "resource", resource("Basic", "code", map[string]any{"text": "x"}, "author", reference("Organization?name=acme"), "subject", reference("Patient?family=There"))),
		), "Prefer", "return=representation")
		resources := []map[string]any{}
		for _, e := range asList(a.Body["entry"]) {
			res, _ := at(e, "resource").(map[string]any)
			resources = append(resources, res)
		}
		id := func(i int) string { return fmt.Sprint(resources[i]["resourceType"], "/", resources[i]["id"]) }
		first := compact(resources[1])
		for _, want := range []string{
			compact(narrative(id(0))["div"]), `"valueUri":"` + id(0) + `"`, `"valueString":"` + patientURN + `"`, `"valueCanonical":"` + valueSet + `"`, `"reference":"` + id(0) + `#part"`,
		} {
			if !strings.Contains(first, want) {
				t.Errorf("got %s\nwant in it %s", first, want)
			}
		}
		if got := resources[2]["url"]; got != valueSet {
			t.Errorf("the URL of the value set became %v", got)
		}
		if got, want := compact(resources[5]["subject"]), compact(reference(id(4))); got != want {
			t.Errorf("a relative reference became %s, want %s", got, want)
		}
		if got, want := compact(resources[8]["author"])+compact(resources[8]["subject"]), compact(reference(id(6)))+compact(reference(id(4))); got != want {
			t.Errorf("conditional references became %s, want %s", got, want)
		}
	})
}

// Operations run inside a batch, and the journal shows their tokens no more than
// those of a request of their own.
func TestBatch_RunsOperationsAndKeepsTheirSecrets(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	a := s.base(200, bundleOf("batch",
		entryOf("POST", "Subscription/abc/$get-ws-binding-token", "resource", map[string]any{"resourceType": "Parameters"}),
		entryOf("GET", "Subscription/abc/$events")))
	entry := a.At("entry", 0).(map[string]any)
	parameters := asList(at(entry, "resource", "parameter"))
	secret := text(parameters[0], "valueString")
	ws := s.Dial()
	ws.Send("bind-with-token " + secret)
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Fatalf("got %s, want a handshake", f.Raw)
	}
	if all := s.Must(200, "GET", "/mock/journal?bodies=true", nil); strings.Contains(string(all.Raw), secret) || !strings.Contains(string(all.Raw), "batch-response") {
		t.Error("the journal has no batch, or a token in it")
	}
}

// A transaction that deletes a topic tells those on it, and one that changes a
// subscription keeps its numbering.
func TestTransaction_OfTopicsAndSubscriptions(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress"))
	ws.WantEvent("1")
	s.base(200, bundleOf("transaction",
		entryOf("PATCH", "Subscription/abc", "resource", map[string]any{"resourceType": "Parameters", "parameter": []any{map[string]any{"name": "operation", "part": []any{
			map[string]any{"name": "type", "valueCode": "replace"}, map[string]any{"name": "path", "valueString": "Subscription.content"}, map[string]any{"name": "value", "valueCode": "full-resource"}}}}}),
		entryOf("PUT", "Encounter/f", "resource", encounter("f", "in-progress"))))
	if f := ws.WantEvent("2"); !strings.Contains(string(f.Raw), `"content":"full-resource"`) && !strings.Contains(string(f.Raw), `"resourceType":"Encounter"`) {
		t.Errorf("the event is not as the subscription was changed: %s", f.Raw)
	}
	s.base(200, bundleOf("transaction", entryOf("DELETE", "SubscriptionTopic/admission"), entryOf("PUT", "Encounter/g", "resource", encounter("g", "in-progress"))))
	if a := s.Must(200, "GET", "Subscription/abc", nil); a.Body["status"] != "error" {
		t.Errorf("the subscription is %v without its topic, want error", a.Body["status"])
	}
	ws.Nothing()
	s.base(422, bundleOf("transaction", entryOf("PUT", "Subscription/new", "resource", websocketSubscription("new", admissionURL))))
	s.Must(404, "GET", "Subscription/new", nil)
}

// Subscriptions are on the topics there are in the end: one whose topic is replaced
// by another resource in a transaction, or goes and comes in it, notices nothing.
func TestTransaction_ReplacesATopicUnderItsSubscriptions(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		ws := s.Bind("abc")
		put := func(id, url string) any {
			path, resource := inRelease(r, "SubscriptionTopic/"+id, with(with(admissionTopic(), "id", id), "url", url))
			return entryOf("PUT", path, "resource", resource)
		}
		first, _ := inRelease(r, "SubscriptionTopic/admission", admissionTopic())
		for i, entries := range [][]any{
			{entryOf("DELETE", first), put("other", admissionURL)},
			{put("other", "http://example.org/topic/other"), put("admission", admissionURL)},
		} {
			s.base(200, bundleOf("transaction", entries...))
			if a := s.Must(200, "GET", "Subscription/abc", nil); a.Body["status"] != "active" || a.Header.Get("ETag") != `W/"1"` {
				t.Errorf("after transaction %d the subscription is %s", i+1, a.Raw)
			}
			s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
			ws.WantEvent(fmt.Sprint(i + 1))
		}
	})
}

// Within a transaction the topics change at once: a subscription is never without the
// one that takes another's place, and its resource and its state say the same.
func TestTransaction_ReplacesTopicsUnderSubscriptions(t *testing.T) {
	t.Parallel()
	const other = "http://example.org/SubscriptionTopic/other"
	topic := func(id, url string) map[string]any { return with(with(admissionTopic(), "id", id), "url", url) }
	put := func(id, url string) map[string]any {
		return entryOf("PUT", "SubscriptionTopic/"+id, "resource", topic(id, url))
	}
	deleted := entryOf("DELETE", "SubscriptionTopic/admission")
	for name, test := range map[string]struct {
		entries []any
		status  string
	}{
		"another with its url":                {[]any{deleted, put("new", admissionURL)}, "active"},
		"another with its url, by POST":       {[]any{entryOf("POST", "SubscriptionTopic", "resource", topic("", admissionURL)), deleted}, "active"},
		"its url goes to another":             {[]any{put("admission", other), put("new", admissionURL)}, "active"},
		"its url goes to another, that first": {[]any{put("new", admissionURL), put("admission", other)}, "active"},
		"the subscription goes to another":    {[]any{deleted, put("new", other), entryOf("PUT", "Subscription/abc", "resource", websocketSubscription("abc", other))}, "active"},
		"the subscription is turned off":      {[]any{deleted, entryOf("PUT", "Subscription/abc", "resource", websocketSubscription("abc", admissionURL, "status", "off"))}, "off"},
		"none":                                {[]any{deleted, put("new", other)}, "error"},
	} {
		s := vectorServer(t, fhir.R5)
		s.base(200, bundleOf("transaction", test.entries...))
		resource := s.Must(200, "GET", "Subscription/abc", nil).Body["status"]
		state := s.Must(200, "GET", "Subscription/abc/$status", nil).Notification().Status()["status"]
		if resource != test.status || state != test.status {
			t.Errorf("%s: the resource says %v, $status %v, want %s", name, resource, state, test.status)
		}
	}
}

// A Basic that is no longer a topic defines none.
func TestTransaction_EndsTheTopicOfABasic(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	_, another := inRelease(fhir.R4, "Subscription/new", websocketSubscription("new", admissionURL))
	plain := entryOf("PUT", "Basic/admission", "resource", map[string]any{"resourceType": "Basic", "id": "admission", "code": map[string]any{"text": "x"}})
	a := s.base(422, bundleOf("transaction", plain, entryOf("PUT", "Subscription/new", "resource", another)))
	if _, diagnostics, _ := a.Issue(); !strings.Contains(diagnostics, "has no topic") {
		t.Errorf("got %q", diagnostics)
	}
	s.Must(200, "GET", "Basic/admission/_history/1", nil)
	s.Must(404, "GET", "Basic/admission/_history/2", nil)
}

// What a conditional create finds must still be there in the end.
func TestTransaction_FindsNothingItDeletes(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.Must(201, "PUT", "Patient/p", patient("p", "A"))
	a := s.base(400, bundleOf("transaction", entryOf("DELETE", "Patient/p"), entryOf("POST", "Patient", "resource", patient("", "A"), "request.ifNoneExist", "family=A")))
	if _, diagnostics, _ := a.Issue(); !strings.Contains(diagnostics, "which Bundle.entry[0] deletes") {
		t.Errorf("got %q", diagnostics)
	}
	s.Must(200, "GET", "Patient/p", nil)
}

// A patch brings references into a resource too. What the resource had before is not
// the transaction's.
func TestTransaction_LinksWhatAPatchBrings(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := start(t).on(r)
		const urn, old, unknown = "urn:uuid:66666666-6666-4666-8666-666666666661", "urn:uuid:66666666-6666-4666-8666-666666666662", "urn:uuid:66666666-6666-4666-8666-666666666663"
		s.Must(201, "PUT", "Patient/p", with(patient("p", "A"), "generalPractitioner", []any{reference(old)}))
		s.Must(201, "PUT", "Patient/q", with(patient("q", "B"), "generalPractitioner", []any{reference(old)}))
		byPath := map[string]any{"resourceType": "Parameters", "parameter": []any{map[string]any{"name": "operation", "part": []any{
			map[string]any{"name": "type", "valueCode": "add"}, map[string]any{"name": "path", "valueString": "Patient"},
			map[string]any{"name": "name", "valueString": "managingOrganization"}, map[string]any{"name": "value", "valueReference": reference(urn)}}}}}
		byPointer := func(to string) map[string]any {
			document := compact([]any{map[string]any{"op": "add", "path": "/managingOrganization", "value": reference(to)}})
			return map[string]any{"resourceType": "Binary", "contentType": "application/json-patch+json", "data": base64.StdEncoding.EncodeToString([]byte(document))}
		}
		organization := map[string]any{"resourceType": "Organization", "name": "Acme"}
		a := s.base(200, bundleOf("transaction",
			entryOf("PATCH", "Patient/p", "resource", byPath),
			entryOf("PATCH", "Patient/q", "resource", byPointer("Organization?name=acme")),
			entryOf("POST", "Organization", "resource", organization, "fullUrl", urn),
			entryOf("POST", "Practitioner", "resource", map[string]any{"resourceType": "Practitioner"}, "fullUrl", old),
		), "Prefer", "return=representation")
		made := text(a.Body, "entry", 2, "resource", "id")
		for _, id := range []string{"p", "q"} {
			p := s.Must(200, "GET", "Patient/"+id, nil).Body
			if got, want := compact(p["managingOrganization"])+compact(p["generalPractitioner"]), compact(reference("Organization/"+made))+compact([]any{reference(old)}); got != want {
				t.Errorf("Patient/%s refers to %s, want %s", id, got, want)
			}
		}
		a = s.base(200, bundleOf("transaction", entryOf("PATCH", "Patient/p", "resource", byPointer(unknown))))
		if !strings.Contains(string(a.Raw), "the resource refers to "+unknown+", but no entry") {
			t.Errorf("a reference to no entry is not told of: %s", a.Raw)
		}
		s.base(412, bundleOf("transaction", entryOf("PATCH", "Patient/p", "resource", byPointer("Organization?name=nobody"))))
	})
}

// The names inside of a bundle that is stored are its own.
func TestTransaction_LeavesTheNamesOfAnInnerBundle(t *testing.T) {
	t.Parallel()
	s := start(t)
	const urn, outer = "urn:uuid:77777777-7777-4777-8777-777777777771", "urn:uuid:77777777-7777-4777-8777-777777777772"
	collection := map[string]any{"resourceType": "Bundle", "type": "collection", "entry": []any{
		map[string]any{"fullUrl": urn, "resource": map[string]any{"resourceType": "Organization", "name": "Inner"}},
		map[string]any{"fullUrl": "urn:uuid:77777777-7777-4777-8777-777777777773", "resource": with(with(patient("x", "Inner"), "managingOrganization", reference(urn)), "generalPractitioner", []any{reference(outer)})},
	}}
	a := s.base(200, bundleOf("transaction",
		entryOf("POST", "Organization", "resource", map[string]any{"resourceType": "Organization", "name": "Outer"}, "fullUrl", urn),
		entryOf("POST", "Practitioner", "resource", map[string]any{"resourceType": "Practitioner"}, "fullUrl", outer),
		entryOf("POST", "Bundle", "resource", collection)), "Prefer", "return=representation")
	response := a.At("entry", 2).(map[string]any)
	got := compact(response["resource"])
	if !strings.Contains(got, `"fullUrl":"`+urn+`"`) || !strings.Contains(got, compact(reference(urn))) || strings.Contains(got, outer) {
		t.Errorf("the inner bundle became %s", got)
	}
	if strings.Contains(compact(response["response"]), "no entry of the bundle") {
		t.Errorf("a name of the inner bundle is taken for none: %s", compact(response["response"]))
	}
}

// An address that is not a route is refused, and does not lead to the base: a bundle would
// nest.
func TestBatch_EntriesWithoutARoute(t *testing.T) {
	t.Parallel()
	s := start(t)
	nested := map[string]any{"resourceType": "Bundle", "type": "batch", "entry": []any{map[string]any{
		"request": map[string]any{"method": "PUT", "url": "Patient/nested"}, "resource": map[string]any{"resourceType": "Patient", "id": "nested"}}}}
	var entries []any
	want := []string{}
	for _, e := range []struct{ method, url, status string }{
		{"POST", "a/b/c", "404 Not Found"},
		{"POST", "Patient/1/x", "404 Not Found"},
		{"POST", "Patient/1/$bogus", "404 Not Found"},
		{"GET", "Patient/a/b/c/d", "404 Not Found"},
		{"GET", "../R4/Patient", "404 Not Found"},
		{"DELETE", "metadata/x/y", "404 Not Found"},
		{"DELETE", "Patient/1/_history", "405 Method Not Allowed"},
	} {
		entry := map[string]any{"request": map[string]any{"method": e.method, "url": e.url}}
		if e.method == "POST" {
			entry["resource"] = nested
		}
		entries, want = append(entries, entry), append(want, e.status)
	}
	a := s.Must(200, "POST", s.FHIR, map[string]any{"resourceType": "Bundle", "type": "batch", "entry": entries})
	for i, e := range asList(a.Body["entry"]) {
		if got := at(e, "response", "status"); got != want[i] {
			t.Errorf("entry %d: got %v, want %s", i, got, want[i])
		}
	}
	s.Must(404, "GET", "Patient/nested", nil)
}
