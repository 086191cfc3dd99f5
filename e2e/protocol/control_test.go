package protocol

import (
	"fmt"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
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
		{"POST", "/mock/reset", `{"to":"seed"}`, "to", `to: unknown member "to"; there are none here`},
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
