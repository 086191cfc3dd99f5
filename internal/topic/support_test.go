package topic_test

import (
	"fmt"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/search/searchtest"
	"signalfhir/internal/store"
	"signalfhir/internal/topic"
)

// r5 is a scope that has no stored resources.
var r5 = search.Scope{Release: fhir.R5}

// parse returns a resource of a type with these members.
func parse(t testing.TB, typ, members string) *fhir.Resource {
	t.Helper()
	text := fmt.Sprintf(`{"resourceType":%q`, typ)
	if members != "" {
		text += "," + members
	}
	o, err := fhir.Parse([]byte(text + "}"))
	if err != nil {
		t.Fatalf("%v in %s", err, members)
	}
	return fhir.NewResource(fhir.R5, o)
}

// encounter returns an Encounter with a status, or nil for "".
func encounter(t testing.TB, status string) *fhir.Resource {
	t.Helper()
	if status == "" {
		return nil
	}
	return parse(t, "Encounter", fmt.Sprintf(`"id":"2","status":%q,"subject":{"reference":"Patient/123"}`, status))
}

// change returns the change from one state to another; nil means that there is none.
func change(previous, current *fhir.Resource) *store.Change {
	c := &store.Change{Interaction: store.Update, Previous: previous, Current: current}
	switch {
	case previous == nil:
		c.Interaction = store.Create
	case current == nil:
		c.Interaction = store.Delete
	}
	return c
}

// evaluation returns an evaluation on a change with more time than it takes.
func evaluation(c *store.Change) *topic.Evaluation {
	return topic.NewEvaluation(c, budget.New("test", time.Hour))
}

// compile compiles a topic from its members besides resourceType, url and status.
func compile(t testing.TB, members string) (*topic.Topic, []fhir.Issue) {
	t.Helper()
	return topic.Compile(r5, read(t, members))
}

// read reads a topic from its members besides resourceType, url and status.
func read(t testing.TB, members string) *fhir.Topic {
	t.Helper()
	text := `"url":"http://example.org/topic","status":"active"`
	if members != "" {
		text += "," + members
	}
	read, issues := fhir.R5.ReadTopic(parse(t, "SubscriptionTopic", text).Object)
	for _, issue := range issues {
		if issue.Severity == "error" {
			t.Fatalf("the topic cannot be read: %s", issue.Diagnostics)
		}
	}
	return read
}

func mustCompile(t testing.TB, members string) *topic.Topic {
	t.Helper()
	return mustCompileOver(t, nil, members)
}

// mustCompileOver is like mustCompile, with these resources stored.
func mustCompileOver(t testing.TB, stored searchtest.Source, members string) *topic.Topic {
	t.Helper()
	compiled, issues := topic.Compile(search.Scope{Release: fhir.R5, Source: stored}, read(t, members))
	if err := fhir.RefuseAll(issues); err != nil {
		t.Fatalf("the topic does not compile: %v", err)
	}
	return compiled
}

// onEncounter returns a trigger on Encounters with these additional members.
func onEncounter(members string) string {
	if members != "" {
		members = "," + members
	}
	return `"resourceTrigger":[{"resource":"Encounter"` + members + `}]`
}
