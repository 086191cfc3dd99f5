package protocol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

type decision struct {
	Subscription   string
	Numbered, Sent bool
	Sockets        []string
	Steps          steps
}

type steps []struct {
	Step string
	OK   bool
	Text string
}

// String is "filter no: patient=…; subscription yes: its status is active".
func (all steps) String() string {
	var words []string
	for _, s := range all {
		words = append(words, fmt.Sprintf("%s %s: %s", s.Step, map[bool]string{true: "yes", false: "no"}[s.OK], s.Text))
	}
	return strings.Join(words, "; ")
}

type explanation struct {
	Resource, Release, Interaction string
	Topics                         []struct {
		Topic, Status string
		Fires         bool
		Steps         steps
		Subscriptions []decision
	}
	Criteria []decision
}

func (s *server) explain(previous, current map[string]any) explanation {
	s.T.Helper()
	body := map[string]any{"release": string(s.Release)}
	for member, o := range map[string]map[string]any{"previous": previous, "current": current} {
		if o != nil {
			_, body[member] = inRelease(s.Release, "", o)
		}
	}
	var e explanation
	if err := json.Unmarshal(s.Must(200, "POST", "/mock/explain", compact(body)).Raw, &e); err != nil {
		s.T.Fatal(err)
	}
	return e
}

func TestExplain_SaysWhatAChangeWouldDo(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r) // abc: every admission
		s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL, "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/123"}}))
		s.Must(201, "PUT", "Subscription/off", websocketSubscription("off", admissionURL, "status", "off"))
		ws := s.Bind("abc")
		before := s.Journal("")

		planned, admitted := encounter("e", "planned", "subject", reference("Patient/9")), encounter("e", "in-progress", "subject", reference("Patient/9"))
		e := s.explain(planned, admitted)
		if e.Resource != "Encounter/e" || e.Interaction != "update" || e.Release != string(r) || len(e.Topics) != 1 || !e.Topics[0].Fires {
			t.Fatalf("got %+v, want an update that fires the topic", e)
		}
		decisions := map[string]decision{}
		for _, d := range e.Topics[0].Subscriptions {
			decisions[d.Subscription] = d
		}
		if d := decisions["abc"]; !d.Numbered || !d.Sent || !slices.Equal(d.Sockets, []string{"s1"}) || !strings.Contains(d.Steps.String(), "event 1, sent to 1 socket") {
			t.Errorf("abc: got %+v", d)
		}
		if d := decisions["one"]; d.Numbered || d.Sent || !strings.Contains(d.Steps.String(), "Patient/123") || !strings.Contains(d.Steps.String(), "Patient/9") {
			t.Errorf("one: got %+v, want how its filter compared", d)
		}
		if d := decisions["off"]; d.Numbered || !strings.Contains(d.Steps.String(), "its status is off") {
			t.Errorf("off: got %+v", d)
		}

		// What does not fire says why, and who would have been asked.
		e = s.explain(admitted, admitted)
		if e.Topics[0].Fires || len(e.Topics[0].Steps) == 0 || e.Topics[0].Subscriptions[0].Numbered || e.Topics[0].Subscriptions[0].Steps[0].Text != "the topic does not fire" {
			t.Errorf("no change of status: got %+v", e.Topics)
		}
		if e = s.explain(nil, admitted); e.Interaction != "create" || !e.Topics[0].Fires {
			t.Errorf("a create: got %+v", e)
		}
		if e = s.explain(admitted, nil); e.Interaction != "delete" || e.Topics[0].Fires {
			t.Errorf("a delete: got %+v", e)
		}

		// Nothing happened by it.
		ws.Nothing()
		s.Must(404, "GET", "Encounter/e", nil)
		for _, entry := range s.Journal("")[len(before):] {
			if entry.Kind != "http" && entry.Kind != "received" && entry.Kind != "sent" {
				t.Errorf("explaining wrote %s to the journal", entry)
			}
		}
	})
}

func TestExplain_OfAClassicSubscription(t *testing.T) {
	t.Parallel()
	s := start(t).on(fhir.R4)
	s.Must(201, "PUT", "Subscription/c", `{"resourceType":"Subscription","id":"c","status":"active","reason":"x","criteria":"Encounter?status=in-progress","channel":{"type":"websocket"}}`)
	for status, numbered := range map[string]bool{"in-progress": true, "planned": false} {
		e := s.explain(nil, encounter("e", status))
		if len(e.Criteria) != 1 || e.Criteria[0].Numbered != numbered || !strings.Contains(e.Criteria[0].Steps[0].Text, "Encounter?status=in-progress") {
			t.Errorf("%s: got %+v", status, e.Criteria)
		}
	}
	if e := s.explain(encounter("e", "in-progress"), nil); e.Criteria[0].Numbered {
		t.Errorf("a deletion: got %+v", e.Criteria)
	}
}

func TestExplain_SaysWhatHappened(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL, "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/123"}}))
	ws := s.Bind("abc")
	s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress", "subject", reference("Patient/9")))
	ws.WantEvent("1")
	s.Must(200, "PUT", "Encounter/e", encounter("e", "completed", "subject", reference("Patient/9")))
	s.Must(201, "PUT", "Encounter/other", encounter("other", "in-progress"))
	ws.WantEvent("2")
	told := func(query string) []string {
		t.Helper()
		var body struct {
			Changes []struct {
				Resource, Interaction string
				Steps                 []struct {
					Kind, Subscription, Text string
					First                    int64
				}
			}
		}
		if err := json.Unmarshal(s.Must(200, "GET", "/mock/explain"+query, nil).Raw, &body); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, change := range body.Changes {
			line := change.Interaction + " " + change.Resource
			for _, step := range change.Steps {
				line += ", " + step.Kind
				if step.Subscription != "" {
					line += fmt.Sprintf(" %s %d", step.Subscription, step.First)
				}
			}
			lines = append(lines, line)
		}
		return lines
	}
	if got, want := told("?resource=Encounter/e"), []string{
		"create Encounter/e, fired, appended abc 1, sent abc 1, not-sent one 0",
		"update Encounter/e, not-fired",
	}; !slices.Equal(got, want) {
		t.Errorf("the encounter:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := told("?resource=Encounter/e&subscription=one"); len(got) != 2 || got[0] != "create Encounter/e, fired, not-sent one 0" {
		t.Errorf("for one: got %q", got)
	}
	if got := told("?subscription=abc"); got[len(got)-1] != "create Encounter/other, fired, appended abc 2, sent abc 2" {
		t.Errorf("for abc: got %q", got)
	}
}

// Asked what happened, each change × subscription has a verdict of every step:
// criteria and filters as they compared, and what became of the event.
func TestExplain_JudgesWhatHappenedStepByStep(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := vectorServer(t, r)
		s.Must(201, "PUT", "Subscription/one", websocketSubscription("one", admissionURL, "filterBy", []any{map[string]any{"filterParameter": "patient", "value": "Patient/123"}}))
		ws := s.Bind("abc")
		s.Must(201, "PUT", "Encounter/e", encounter("e", "in-progress", "subject", reference("Patient/9")))
		ws.WantEvent("1")
		s.Must(200, "PUT", "Encounter/e", encounter("e", "in-progress", "subject", reference("Patient/123")))
		s.Must(204, "DELETE", "Encounter/e", nil)
		s.Must(201, "PUT", "Encounter/f", encounter("f", "in-progress", "subject", reference("Patient/123")))
		ws.WantEvent("2")
		s.Must(201, "PUT", "Subscription/late", websocketSubscription("late", admissionURL))
		s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc", "reference": "Encounter/f"})

		type judged struct {
			Changes []struct {
				Seq                                  uint64
				Resource, Interaction, Version, Note string
				Steps                                []struct{ Seq uint64 }
				Verdict                              *explanation
			}
		}
		ask := func(query string) (j judged) {
			t.Helper()
			if err := json.Unmarshal(s.Must(200, "GET", "/mock/explain?"+query, nil).Raw, &j); err != nil {
				t.Fatal(err)
			}
			return j
		}
		for query, want := range map[string][]string{
			"resource=Encounter/e&subscription=abc": {
				"create v1: topic yes; type yes; interaction yes; criteria yes | filter yes; subscription yes; delivery yes: it got event 1, sent to s1",
				"update v2: topic yes; type yes; interaction yes; criteria no | topic no; filter yes; subscription yes; delivery no: it got no event",
				"delete v3: topic yes; type yes; interaction no | topic no; filter yes; subscription yes; delivery no: it got no event",
			},
			"resource=Encounter/e&subscription=one": {
				"create v1: topic yes; type yes; interaction yes; criteria yes | filter no; subscription yes; delivery no: it got no event: filter patient=Patient/123 compared with Patient/9",
				"update v2: topic yes; type yes; interaction yes; criteria no | topic no; filter yes; subscription yes; delivery no: it got no event",
				"delete v3: topic yes; type yes; interaction no | topic no; filter yes; subscription yes; delivery no: it got no event",
			},
			"resource=Encounter/f&subscription=one": {
				"create v1: topic yes; type yes; interaction yes; criteria yes | filter yes; subscription yes; delivery no: it got event 1; no socket is bound; $events has the event",
				"trigger",
			},
			"resource=Encounter/f&subscription=late": {
				"create v1: topic yes; type yes; interaction yes; criteria yes | filter yes; subscription yes; delivery no: it got no event then, though it would now: the subscription or its topic was created or changed since",
				"trigger",
			},
		} {
			var got []string
			for _, c := range ask(query).Changes {
				if c.Verdict == nil {
					if !strings.Contains(c.Note, "/mock/trigger") {
						t.Errorf("%s: no verdict, and no reason: %+v", query, c)
					}
					got = append(got, "trigger")
					continue
				}
				topic := c.Verdict.Topics[0]
				sub := topic.Subscriptions[0]
				got = append(got, fmt.Sprintf("%s v%s: %s | %s: %s", c.Interaction, c.Version, short(topic.Steps), short(sub.Steps), sub.Steps[len(sub.Steps)-1].Text))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}

		// From any entry of the journal that belongs to a change, that change is found.
		first := ask("resource=Encounter/e&subscription=abc").Changes[0]
		for _, step := range append(first.Steps, struct{ Seq uint64 }{first.Seq}) {
			if got := ask(fmt.Sprint("seq=", step.Seq)).Changes; len(got) != 1 || got[0].Seq != first.Seq {
				t.Errorf("entry %d: got %+v, want the change %d", step.Seq, got, first.Seq)
			}
		}
		// Without a subscription, all on the topic are judged.
		if got := ask(fmt.Sprint("seq=", first.Seq)).Changes[0].Verdict.Topics[0].Subscriptions; len(got) != 3 {
			t.Errorf("got %+v, want all three subscriptions", got)
		}
		// The criteria name what they compared.
		if e := s.explain(encounter("e", "planned"), encounter("e", "completed")); !strings.Contains(e.Topics[0].Steps.String(), "status=in-progress compared with ") {
			t.Errorf("got %s, want how the status compared", e.Topics[0].Steps)
		}
	})
}

// short is the steps without their words.
func short(all steps) string {
	var words []string
	for _, s := range all {
		words = append(words, s.Step+" "+map[bool]string{true: "yes", false: "no"}[s.OK])
	}
	return strings.Join(words, "; ")
}

// A subscription whose topic is about something else hears that of every change.
func TestExplain_OfASubscriptionOnAnotherTopic(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Patient/p", patient("p", "A"))
	a := s.Must(200, "GET", "/mock/explain?resource=Patient/p&subscription=abc", nil)
	if !strings.Contains(string(a.Raw), "it is about Encounter, the resource is a Patient") {
		t.Errorf("got %s", a.Raw)
	}
	a = s.Must(200, "POST", "/mock/explain", map[string]any{"subscription": "abc", "current": patient("p", "A")})
	if !strings.Contains(string(a.Raw), "it is about Encounter, the resource is a Patient") {
		t.Errorf("as a dry run: got %s", a.Raw)
	}
	s.Must(404, "POST", "/mock/explain", map[string]any{"subscription": "none", "current": patient("p", "A")})
	// It is asked on the release of the subscription, where none is named.
	s.on(fhir.R4).Must(201, "PUT", "Subscription/old", `{"resourceType":"Subscription","id":"old","status":"active","reason":"x","criteria":"Patient?family=A","channel":{"type":"websocket"}}`)
	a = s.Must(200, "POST", "/mock/explain", map[string]any{"subscription": "old", "current": patient("p", "A")})
	if !strings.Contains(string(a.Raw), "criteria Patient?family=A selects it") {
		t.Errorf("of another release: got %s", a.Raw)
	}
	s.Must(404, "POST", "/mock/explain", map[string]any{"release": "R5", "subscription": "old", "current": patient("p", "A")})
}

func TestExplain_RefusesWhatItCannotImagine(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for name, body := range map[string]string{
		"nothing":      `{}`,
		"two types":    `{"previous":{"resourceType":"Patient"},"current":{"resourceType":"Encounter","status":"planned"}}`,
		"not valid":    `{"current":{"resourceType":"Encounter"}}`,
		"no release":   `{"release":"R9","current":{"resourceType":"Patient"}}`,
		"no resource":  `{"current":{}}`,
		"two ids":      `{"previous":{"resourceType":"Patient","id":"a"},"current":{"resourceType":"Patient","id":"b"}}`,
		"a list":       `[]`,
		"unknown name": `{"curent":{}}`,
	} {
		if a := s.Do("POST", "/mock/explain", body); a.Status != 400 && a.Status != 404 || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %s, want a problem", name, a.Status, a.Raw)
		} else if strings.Contains(string(a.Raw), "Go value") {
			t.Errorf("%s: the problem is told in Go: %s", name, a.Raw)
		}
	}
	for _, query := range []string{"", "?resorce=Encounter/e"} {
		if a := s.Do("GET", "/mock/explain"+query, nil); a.Status != 400 {
			t.Errorf("%q: got %d, want 400", query, a.Status)
		}
	}
}

// One id is enough: the other state is of the same resource.
func TestExplain_TakesTheIDOfEitherState(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	for _, e := range []explanation{
		s.explain(encounter("", "planned"), encounter("e", "in-progress")),
		s.explain(encounter("e", "planned"), encounter("", "in-progress")),
	} {
		if e.Resource != "Encounter/e" || e.Interaction != "update" || !e.Topics[0].Fires {
			t.Errorf("got %+v, want an update of Encounter/e", e)
		}
	}
}
