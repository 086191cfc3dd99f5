package room

import (
	"fmt"
	"maps"
	"math/rand"
	"net/http"
	"slices"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
)

// update writes a resource that has members.
func update(t *testing.T, b *Base, typ, id, members string) {
	t.Helper()
	if _, err := b.Update(typ, id, parsed(t, `{"resourceType":"`+typ+`","id":"`+id+`",`+members+`}`), Request{}); err != nil {
		t.Fatal(err)
	}
}

func parsed(t *testing.T, text string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// A search is evaluated before the write lock is taken. What counts is whether the
// resource matches under the lock, after a change in between.
func TestConditions_SeeWhatChangesBeforeTheLock(t *testing.T) {
	t.Parallel()
	const (
		patient   = `"managingOrganization":{"reference":"Organization/o"}`
		encounter = `"subject":{"reference":"Patient/a"}`
		list      = `"status":"current","mode":"working"`
	)
	for name, c := range map[string]struct{ condition, typ, id, matching, other string }{
		"plain":    {"name=Open", "Patient", "a", `"name":[{"text":"Open"}],` + patient, `"name":[{"text":"Closed"}],` + patient},
		"chained":  {"organization.name=Open", "Organization", "o", `"name":"Open"`, `"name":"Closed"`},
		"reversed": {"_has:Encounter:patient:status=planned", "Encounter", "e", `"status":"planned",` + encounter, `"status":"completed",` + encounter},
		"list":     {"_list=l", "List", "l", list + `,"entry":[{"item":{"reference":"Patient/a"}}]`, list},
	} {
		for _, matches := range []bool{true, false} {
			run := func(what string, o Operation, check func(t *testing.T, b *Base, w *Written, err error)) {
				t.Run(fmt.Sprint(name, "/", what, "/", matches), func(t *testing.T) {
					t.Parallel()
					r, refused := New(Options{Releases: []fhir.Release{fhir.R5}})
					if refused != nil {
						t.Fatal(refused)
					}
					defer r.Close()
					b := r.Base(fhir.R5)
					update(t, b, "Basic", "x", `"code":{"text":"x"}`)
					update(t, b, "Patient", "a", patient)
					before, after := c.matching, c.other
					if matches {
						before, after = after, before
					}
					update(t, b, c.typ, c.id, before)
					within := budget.New("test", time.Hour)
					operations := []Operation{o}
					steps := newSteps(operations, newAhead(operations, within))
					conditions := b.newConditions()
					conditions.prepare(steps)
					update(t, b, c.typ, c.id, after)
					r.write.Lock()
					written, err := b.runLocked(steps, conditions, Request{Budget: within})
					r.write.Unlock()
					if err != nil {
						written = []*Written{nil}
					}
					check(t, b, written[0], err)
				})
			}
			wrote := func(t *testing.T, b *Base, _ *Written, err error) {
				res, gone := b.Read("Patient", "a")
				if wrote := gone != nil || res.Object.Text("gender") == "other"; wrote != matches || wrote && err != nil {
					t.Errorf("it wrote: %t, with %v", wrote, err)
				}
			}
			run("update", Operation{Method: http.MethodPut, Type: "Patient", Search: c.condition, Object: parsed(t, `{"resourceType":"Patient","id":"a","gender":"other"}`)}, wrote)
			run("patch", Operation{Method: http.MethodPatch, Type: "Patient", Search: c.condition, Patch: JSONPatch([]byte(`[{"op":"add","path":"/gender","value":"other"}]`))}, wrote)
			run("delete", Operation{Method: http.MethodDelete, Type: "Patient", Search: c.condition}, wrote)
			run("create", Operation{Method: http.MethodPost, Type: "Patient", Search: c.condition, Object: parsed(t, `{"resourceType":"Patient"}`)}, func(t *testing.T, _ *Base, w *Written, err error) {
				if err != nil || w.Found != matches || w.Created == matches {
					t.Errorf("got %+v, %v", w, err)
				}
			})
			refers := func(t *testing.T, _ *Base, w *Written, err error) {
				if matches && (err != nil || w.Resource.Object.Object("subject").Text("reference") != "Patient/a") || !matches && (err == nil || fhir.StatusOf(err) != http.StatusPreconditionFailed) {
					t.Errorf("got %+v, %v", w, err)
				}
			}
			run("reference", Operation{Method: http.MethodPost, Type: "Basic", Place: "Bundle.entry[0]", Object: parsed(t, `{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient?`+c.condition+`"}}`)}, refers)
			run("reference of a patch", Operation{Method: http.MethodPatch, Type: "Basic", ID: "x", Place: "Bundle.entry[0]", Patch: JSONPatch([]byte(`[{"op":"add","path":"/subject","value":{"reference":"Patient?` + c.condition + `"}}]`))}, refers)
		}
	}
}

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
	write := func(typ, id, members string) { update(t, b, typ, id, members) }
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
			want, err := b.matching(t.Context(), "Patient", query)
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
