package protocol

import (
	"net/http"
	"strings"
	"testing"
)

// endless is an expression with a hundred million steps, which no machine does in a second.
var endless = func() string {
	const ten = "(1|2|3|4|5|6|7|8|9|10)"
	text := ten
	for range 7 {
		text = ten + ".where(" + text + ".exists($this = 0))"
	}
	return text + ".empty()"
}()

// A write whose topics cost too much is stored, and everybody learns what did not fire.
func TestBudget_IsSaid(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	s := start(t)
	for _, id := range []string{"one", "two"} { // together they would take two seconds
		topic := topicOf(m{"fhirPathCriteria": "'é' = 'é' and " + endless}, "id", id, "url", "http://example.org/topic/"+id)
		s.Must(201, "PUT", "/fhir/R5/SubscriptionTopic/"+id, topic)
	}
	const want = "did not fire: http://example.org/topic/one, http://example.org/topic/two: the write has used up its 1s for evaluating expressions"
	said := func(what, text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Errorf("%s: got %s, want it to say %q", what, text, want)
		}
	}
	res := s.Must(201, "PUT", "/fhir/R5/Encounter/e", encounter("e", "in-progress"))
	said("header", res.Header.Get("Warning"), `199 signalfhir "the write is done, but`)
	said("header", res.Header.Get("Warning"), want)
	// A header has printable ASCII only, and one quoted text.
	said("header", res.Header.Get("Warning"), `most of it took ''?' = '?' and`)
	if strings.Count(res.Header.Get("Warning"), `"`) != 2 {
		t.Errorf("got %s, want one quoted text", res.Header.Get("Warning"))
	}
	said("journal", string(s.Must(200, "GET", "/mock/journal?kind=not-fired", nil).Raw), `"type":"budget"`)
	said("explanation", string(s.Must(200, "GET", "/mock/explain?resource=Encounter/e&format=text", nil).Raw), "it did not fire then")
	said("hypothesis", s.told(nil, encounter("e", "in-progress")), "the explanation has used up its 1s")

	batch := m{"resourceType": "Bundle", "type": "batch", "entry": []any{
		m{"request": m{"method": "DELETE", "url": "Encounter/e"}},
	}}
	said("batch", string(s.Must(200, "POST", "/fhir/R5", batch).Raw), strings.Replace(want, "the write", "the entry", 1))
	s.Must(201, "PUT", "/fhir/R5/Encounter/e", encounter("e", "in-progress"))
	batch["type"] = "transaction"
	said("deletion in a transaction", string(s.Must(200, "POST", "/fhir/R5", batch).Raw), strings.Replace(want, "the write", "the entry", 1))
	s.Must(201, "PUT", "/fhir/R5/Encounter/e", encounter("e", "in-progress"))
	res = s.Must(204, "DELETE", "/fhir/R5/Encounter/e", nil)
	said("deletion", res.Header.Get("Warning"), want)
	s.Must(201, "PUT", "/fhir/R5/SubscriptionTopic/cheap", m{"resourceType": "SubscriptionTopic", "id": "cheap", "url": "http://example.org/topic/cheap", "status": "active",
		"resourceTrigger": []any{m{"resource": "Patient", "fhirPathCriteria": "true"}}})
	batch["entry"] = []any{
		m{"request": m{"method": "PUT", "url": "Encounter/e"}, "resource": encounter("e", "planned")},
		m{"request": m{"method": "PUT", "url": "Patient/p"}, "resource": patient("p", "Cheap")},
	}
	done := s.Must(200, "POST", "/fhir/R5", batch)
	said("transaction", string(done.Raw), strings.Replace(want, "the write", "the entry", 1))
	if costly, cheap := at(done.Body, "entry", 0, "response", "outcome"), at(done.Body, "entry", 1, "response", "outcome"); costly == nil || cheap != nil {
		t.Errorf("got the outcomes %v and %v, want that a costly entry leaves something for the others", costly, cheap)
	}

	req := s.Must(http.StatusOK, "PUT", "/fhir/R5/Encounter/e", encounter("e", "planned"), "Prefer", "return=OperationOutcome")
	said("outcome", string(req.Raw), want)
}

// Other warnings are for the outcome only.
func TestBudget_OtherWarningsAreNotInTheHeader(t *testing.T) {
	t.Parallel()
	s := start(t)
	topic := topicOf(map[string]any{}, "id", "one", "notificationShape", []any{map[string]any{"resource": "Encounter", "include": []any{"Encounter:nothing"}}})
	res := s.Must(201, "PUT", "/fhir/R5/SubscriptionTopic/one", topic, "Prefer", "return=OperationOutcome")
	if !strings.Contains(string(res.Raw), `"severity":"warning"`) || res.Header.Get("Warning") != "" {
		t.Errorf("got Warning: %q and %s, want a warning in the outcome only", res.Header.Get("Warning"), res.Raw)
	}
}
