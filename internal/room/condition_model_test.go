package room

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"signalfhir/internal/fhir"
)

// A condition that is brought up to date has the result of a new search, whatever
// changed, and evaluates all resources again only if it must.
func TestCondition_FollowsTheStore(t *testing.T) {
	t.Parallel()
	r, refused := New(Options{Releases: []fhir.Release{fhir.R5}, JournalSize: -1})
	if refused != nil {
		t.Fatal(refused)
	}
	defer r.Close()
	b := r.Base(fhir.R5)
	random := rand.New(rand.NewSource(1))
	write := func(typ, id, members string) {
		o, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":%q,"id":%q,%s}`, typ, id, members))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Update(typ, id, o, Request{}); err != nil {
			t.Fatal(err)
		}
	}
	few := func() int { return random.Intn(6) }
	change := map[string]func(){
		"Patient": func() {
			write("Patient", fmt.Sprint(few()), fmt.Sprintf(`"active":%t,"managingOrganization":{"reference":"Organization/%d"},"communication":[{"language":{"coding":[{"system":"urn:s","code":"%d"}]}}]`, few() < 3, few(), few()))
		},
		"no Patient": func() { _, _ = b.Write(Operation{Method: "DELETE", Type: "Patient", ID: fmt.Sprint(few())}, Request{}) },
		"Organization": func() {
			write("Organization", fmt.Sprint(few()), fmt.Sprintf(`"name":"%d","partOf":{"reference":"Organization/%d"}`, few(), few()))
		},
		"no Organization": func() {
			_, _ = b.Write(Operation{Method: "DELETE", Type: "Organization", ID: fmt.Sprint(few())}, Request{})
		},
		"Encounter": func() {
			write("Encounter", fmt.Sprint(few()), fmt.Sprintf(`"status":"planned","subject":{"reference":"Patient/%d"}`, few()))
		},
		"List": func() {
			write("List", "l", fmt.Sprintf(`"status":"current","mode":"working","entry":[{"item":{"reference":"Patient/%d"}}]`, few()))
		},
		"ValueSet": func() {
			write("ValueSet", "v", fmt.Sprintf(`"url":"urn:v","status":"active","compose":{"include":[{"system":"urn:s","concept":[{"code":"%d"}]}]}`, few()))
		},
	}
	names := slices.Sorted(maps.Keys(change))
	change["List"]()
	change["ValueSet"]()
	starts := map[string]int{} // from the beginning, by query
	conditions := b.newConditions()
	queries := []string{
		"active=true",
		"organization.name=1",
		"organization.partof.name=1",
		"organization:below=Organization/2",
		"_has:Encounter:patient:status=planned",
		"_list=l",
		"language:in=urn:v",
		"active=true&organization.name=2",
	}
	for round := range 500 {
		for range random.Intn(4) {
			change[names[random.Intn(len(names))]]()
		}
		for _, text := range queries {
			c := conditions.of("Patient", text)
			if c.update() {
				starts[text]++
			}
			query, err := b.scope().Query("Patient", text)
			if err != nil || c.err != nil {
				t.Fatal(err, c.err)
			}
			want, err := b.matching("Patient", query)
			if err != nil {
				t.Fatal(err)
			}
			same := len(want) == len(c.matching)
			for _, res := range want {
				same = same && c.matching[res.ID] == res
			}
			if !same {
				t.Fatalf("round %d, %s: got %v, want %v", round, text, c.matching, want)
			}
			if all := c.update(); all {
				t.Fatalf("%s: it starts again though nothing changed", text)
			}
		}
	}
	for _, text := range queries {
		switch starts[text] {
		case 0, 500:
			t.Errorf("%s started %d times", text, starts[text])
		case 1:
		default:
			if text != queries[4] && text != queries[5] && text != queries[6] {
				t.Errorf("%s started %d times, want once", text, starts[text])
			}
		}
	}

	// After a reset, nothing is known of what changed.
	if err := r.Reset(); err != nil {
		t.Fatal(err)
	}
	if c := conditions.of("Patient", "active=true"); !c.update() || len(c.matching) > 0 {
		t.Errorf("after a reset: got %v", c.matching)
	}
}
