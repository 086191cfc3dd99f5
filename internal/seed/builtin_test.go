package seed_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/budget"
	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/random"
	"signalfhir/internal/search"
	"signalfhir/internal/seed"
	"signalfhir/internal/store"
	"signalfhir/internal/synth"
	"signalfhir/internal/topic"
)

// builtin is the seed of this repository.
func builtin(t *testing.T) *seed.Seed {
	t.Helper()
	data, fail := os.ReadFile("../../seed.json")
	if fail != nil {
		t.Fatal(fail)
	}
	s, err := seed.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBuiltin_IsValid(t *testing.T) {
	t.Parallel()
	for r, resources := range builtin(t).Resources {
		for _, o := range resources {
			t.Run(string(r)+"/"+o.Text("resourceType")+"/"+o.Text("id"), func(t *testing.T) {
				in := r
				if r == fhir.R4 && o.Text("resourceType") == "SubscriptionTopic" {
					in = fhir.R5 // R4 has no such type
				}
				fhirtest.Valid(t, in, o.AppendJSON(nil))
			})
		}
	}
}

// Every reference in the seed points to a resource that is loaded before it.
func TestBuiltin_ReferencesResolve(t *testing.T) {
	t.Parallel()
	s := builtin(t)
	known := map[string]bool{}
	for _, o := range s.Resources[fhir.R5] {
		known[o.Text("resourceType")+"/"+o.Text("id")] = true
		if o.Text("resourceType") == "SubscriptionTopic" {
			known[o.Text("url")] = true
		}
		var find func(v any)
		find = func(v any) {
			switch v := v.(type) {
			case []any:
				for _, e := range v {
					find(e)
				}
			case *fhir.Object:
				for _, name := range v.Names() {
					if target := v.Text(name); (name == "reference" || name == "topic") && !known[target] {
						t.Errorf("%s/%s refers to %s, which is not defined before it", o.Text("resourceType"), o.Text("id"), target)
					}
					find(v.Get(name))
				}
			}
		}
		find(o)
	}
}

// The seed has what the documentation mentions, under the same ids.
func TestBuiltin_HasWhatIsPromised(t *testing.T) {
	t.Parallel()
	s := builtin(t)
	count := map[string]int{}
	levels := map[string]string{}
	for _, o := range s.Resources[fhir.R5] {
		count[o.Text("resourceType")]++
		if o.Text("resourceType") != "Subscription" {
			continue
		}
		levels[o.Text("id")] = o.Text("content")
		sub, issues := fhir.R5.ReadSubscription(o)
		if len(issues) > 0 || sub.Channel != "websocket" || sub.Status != fhir.StatusRequested || !sub.End.IsZero() {
			t.Errorf("Subscription/%s is %+v, issues %v", o.Text("id"), sub, issues)
		}
	}
	want := map[string]string{
		"admission-empty": "empty", "admission-id-only": "id-only", "admission-full": "full-resource",
		"discharge-id-only": "id-only", "lab-full": "full-resource", "task-id-only": "id-only",
	}
	if diff := cmp.Diff(want, levels); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	for typ, least := range map[string]int{"SubscriptionTopic": 4, "Patient": 4, "Practitioner": 1, "Organization": 1, "Location": 2, "Encounter": 2, "Observation": 1, "Task": 1} {
		if count[typ] < least {
			t.Errorf("%d resources of type %s, want %d", count[typ], typ, least)
		}
	}
	running := 0
	for _, g := range s.Generators {
		if g.Running {
			running++
		}
	}
	if running != 1 {
		t.Errorf("%d generators run, want 1", running)
	}
}

// topics compiles the topics of the seed, by id.
func topics(t *testing.T, s *seed.Seed, stored search.Source) map[string]*topic.Topic {
	t.Helper()
	all := map[string]*topic.Topic{}
	for _, o := range s.Resources[fhir.R5] {
		if o.Text("resourceType") != "SubscriptionTopic" {
			continue
		}
		read, issues := fhir.R5.ReadTopic(o)
		compiled, more := topic.Compile(search.Scope{Release: fhir.R5, Source: stored}, read)
		if issues = append(issues, more...); len(issues) > 0 {
			t.Fatalf("%s: %v", o.Text("id"), issues)
		}
		all[o.Text("id")] = compiled
	}
	return all
}

// Each topic fires for the generated writes it is about, with the patient as context,
// and for no others.
func TestBuiltin_TopicsFireForTheGenerators(t *testing.T) {
	t.Parallel()
	s := builtin(t)
	c := clock.NewManual(time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC))
	st := store.New(fhir.R5, c, random.Seeded(1), store.Options{})
	all := topics(t, s, inStore{st})
	fired := map[string]int{}
	set := synth.NewSet(c, writer(func(w synth.Write) error {
		change, err := st.Update(w.Type, w.ID, w.Object, "")
		if err != nil {
			return err
		}
		for id, of := range all {
			verdict := of.Match(change, topic.NewEvaluation(change, budget.New("test", time.Hour)))
			if want := concerns(w.Note) == id; verdict.Fired != want {
				t.Errorf("%s/%s %s: %s fired: %t (%s)", w.Type, w.ID, w.Note, id, verdict.Fired, verdict)
			}
			if !verdict.Fired {
				continue
			}
			fired[id]++
			patient := false
			for _, res := range of.Context(change.State()) {
				patient = patient || res.Type == "Patient"
			}
			if !patient {
				t.Errorf("%s/%s %s: %s includes no patient", w.Type, w.ID, w.Note, id)
			}
		}
		return nil
	}))
	defer set.Close()
	for _, spec := range s.Generators {
		if err := set.Add(spec); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			if err := set.Step(spec.Name, 1); err != nil {
				t.Fatal(err)
			}
			c.Advance(time.Second)
		}
	}
	for id := range all {
		if fired[id] < 10 {
			t.Errorf("%s fired %d times only", id, fired[id])
		}
	}
}

// inStore looks up resources in a store.
type inStore struct{ *store.Store }

func (s inStore) Lookup(reference string) *fhir.Resource {
	typ, id, _ := strings.Cut(reference, "/")
	res, _ := s.Read(typ, id)
	return res
}

type writer func(synth.Write) error

func (f writer) Apply(w synth.Write) error { return f(w) }

// concerns returns the topic that a step of a story is about.
func concerns(note string) string {
	switch what, _, _ := strings.Cut(note, " "); what {
	case "admitted":
		return "admission"
	case "discharged":
		return "discharge"
	case "result", "corrected":
		return "lab-result"
	case "task":
		return "task-status"
	}
	return ""
}

// Each kind of event occurs within the first minute.
func TestBuiltin_ShowsEveryKindOfEventSoon(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC))
	seen := map[string]bool{}
	set := synth.NewSet(c, writer(func(w synth.Write) error { seen[concerns(w.Note)] = true; return nil }))
	defer set.Close()
	if err := set.Reset(builtin(t).Generators); err != nil {
		t.Fatal(err)
	}
	c.Advance(20 * time.Second)
	if !seen["admission"] {
		t.Error("no admission in the first 20 seconds")
	}
	c.Advance(40 * time.Second)
	for _, id := range []string{"discharge", "lab-result", "task-status"} {
		if !seen[id] {
			t.Errorf("no %s in the first minute", id)
		}
	}
}

// Every filter the topics offer works with a value of the seed.
func TestBuiltin_FiltersCompile(t *testing.T) {
	t.Parallel()
	all := topics(t, builtin(t), nil)
	for _, tt := range []struct {
		topic  string
		filter fhir.Filter
	}{
		{"admission", fhir.Filter{Parameter: "patient", Value: "Patient/example"}},
		{"discharge", fhir.Filter{Parameter: "patient", Value: "Patient/ward-1"}},
		{"lab-result", fhir.Filter{Parameter: "patient", Value: "Patient/ward-1,Patient/ward-2"}},
		{"lab-result", fhir.Filter{Parameter: "code", Value: "http://loinc.org|2823-3"}},
		{"lab-result", fhir.Filter{Parameter: "category", Value: "laboratory"}},
		{"task-status", fhir.Filter{Parameter: "status", Value: "completed,failed"}},
		{"task-status", fhir.Filter{Parameter: "status", Modifier: "not", Value: "requested"}},
		{"task-status", fhir.Filter{Parameter: "owner", Value: "Practitioner/ward-nurse"}},
		{"task-status", fhir.Filter{Parameter: "patient", Value: "Patient/example"}},
	} {
		if _, issues := all[tt.topic].CompileFilters([]fhir.Filter{tt.filter}); len(issues) > 0 {
			t.Errorf("%s %+v: %v", tt.topic, tt.filter, issues)
		}
	}
}

// Generated focuses of /mock/trigger refer to these, so they must exist with the same
// names.
func TestBuiltin_HasTheCastOfExamples(t *testing.T) {
	t.Parallel()
	got := map[string]*fhir.Object{}
	for _, o := range builtin(t).Resources[fhir.R5] {
		got[o.Text("resourceType")+"/"+o.Text("id")] = o
	}
	for _, want := range synth.ExampleCast(time.Now()) {
		key := want.Text("resourceType") + "/" + want.Text("id")
		o := got[key]
		if o == nil {
			t.Errorf("no %s", key)
			continue
		}
		name := func(o *fhir.Object) string { return string(fhir.NewObject("name", o.Get("name")).AppendJSON(nil)) }
		if name(o) != name(want) {
			t.Errorf("%s is called %s, examples use %s", key, name(o), name(want))
		}
	}
}

// The documentation mentions every member, and its example is valid.
func TestDocumentation_IsTrue(t *testing.T) {
	t.Parallel()
	data, fail := os.ReadFile("../../docs/seed.md")
	if fail != nil {
		t.Fatal(fail)
	}
	doc := string(data)
	_, example, _ := strings.Cut(doc, "```json\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := seed.Read([]byte(example)); err != nil {
		t.Errorf("the example is refused: %v", err)
	}
	s := builtin(t)
	words := synth.Scenarios()
	for _, o := range s.Resources[fhir.R5] {
		if word := o.Text("url"); word != "" {
			words = append(words, word)
			continue
		}
		words = append(words, o.Text("id"))
	}
	for _, g := range s.Generators {
		words = append(words, g.Name)
	}
	for _, word := range words {
		if !strings.Contains(doc, "`"+word+"`") && !strings.Contains(doc, "/"+word+"`") {
			t.Errorf("it does not mention %s", word)
		}
	}
}
