package invariant

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/synth"
)

// example is a resource with a valid structure.
type example struct {
	release fhir.Release
	file    string
	object  *fhir.Object
}

// unlimited returns a budget that no test uses up.
func unlimited() *budget.Budget { return budget.New("test", time.Hour) }

// examples returns HL7's examples. Without the specification's folder there are none.
func examples(t testing.TB) []example {
	t.Helper()
	var all []example
	for _, r := range fhir.Releases {
		for _, file := range fhirtest.Examples(t, r) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o, refused := fhir.Parse(data)
			if refused != nil {
				t.Fatalf("%s: %v", file, refused)
			}
			if len(r.Validate(o)) == 0 {
				all = append(all, example{r, strings.TrimSuffix(filepath.Base(file), ".json"), o})
			}
		}
	}
	return all
}

// samples returns the resources of the seed, those of brokenCases, broken and sound,
// and HL7's examples.
func samples(t testing.TB) []example {
	t.Helper()
	all := append(seeded(t), examples(t)...)
	for _, c := range brokenCases {
		name := c.key + " " + c.place
		all = append(all,
			example{c.release, name, accepted(t, c.release, c.broken)},
			example{c.release, name + ", sound", accepted(t, c.release, strings.Replace(c.broken, c.old, c.new, 1))})
	}
	return all
}

// seeded returns the resources of the built-in seed.
func seeded(t testing.TB) []example {
	t.Helper()
	data, err := os.ReadFile("../../seed.json")
	if err != nil {
		t.Fatal(err)
	}
	seed, refused := fhir.Parse(data)
	if refused != nil {
		t.Fatal(refused)
	}
	var all []example
	for _, r := range fhir.Releases {
		part := seed
		if r != fhir.R5 {
			part = seed.Object(string(r))
		}
		for _, o := range part.Array("resources") {
			o := o.(*fhir.Object)
			if typ := o.Text("resourceType"); r.IsResourceType(typ) { // a topic of R4 has the form of R5
				all = append(all, example{r, typ + "/" + o.Text("id"), o})
			}
		}
	}
	return all
}

func TestCheck_HoldsForEveryOfficialExample(t *testing.T) {
	t.Parallel()
	fhirtest.Spec(t)
	all := examples(t)
	if len(all) < 200 {
		t.Fatalf("only %d examples; the others are refused before", len(all))
	}
	for _, x := range all {
		if issues := Check(x.release, x.object, unlimited()); len(issues) > 0 {
			t.Errorf("%s %s: %v", x.release, x.file, issues)
		}
		evaluate(x.release, x.object, func(e *evaluation, r *rule, f *focus) {
			if r.native != nil {
				return
			}
			if _, err := e.evaluate(r, f); err != nil {
				t.Errorf("%s %s: %s at %s: %v", x.release, x.file, r.key, place(x.object, f.at), err)
			}
		})
	}
}

// differs lists the rules for which the native result and the engine's differ, and why
// the engine is wrong.
var differs = map[string]string{
	"rng-2": "the engine cannot compare Quantities",
	"dom-3": "the engine does not know the types of descendants",
}

// missed lists the rules that the native result may find broken and the engine not, and
// why.
var missed = map[string]string{
	"per-1": "R5's expression leaves the zone of a date open",
	"ras-2": "the engine takes a decimal without a point for an integer",
}

func TestNative_AgreesWithTheEngine(t *testing.T) {
	t.Parallel()
	compared := map[string]int{}
	for _, x := range samples(t) {
		evaluate(x.release, x.object, func(e *evaluation, r *rule, f *focus) {
			if r.native == nil || differs[r.key] != "" {
				return
			}
			compared[r.key]++
			native := r.native(f)
			// R4's ref-1 and bdl-8 give nothing for a missing reference or fullUrl.
			if evaluated, err := e.eval(r, f); native != evaluated && evaluated != silent && (native != broken || missed[r.key] == "") {
				t.Errorf("%s %s: %s at %s: native result %d, the engine's %d (%v)", x.release, x.file, r.key, place(x.object, f.at), native, evaluated, err)
			}
		})
	}
	for _, key := range []string{"ref-1", "ref-2", "per-1", "qty-3", "cpt-2", "att-1", "dom-4", "dom-5"} {
		if compared[key] == 0 {
			t.Errorf("no resource has a %s to compare", key)
		}
	}
}

// evaluate evaluates all rules of a resource.
func evaluate(r fhir.Release, o *fhir.Object, each func(*evaluation, *rule, *focus)) {
	w := walkOf(r, o)
	e := &evaluation{release: r, text: w.text, deadline: context.Background()}
	for _, f := range w.foci {
		for _, rule := range f.rules {
			each(e, rule, f)
		}
	}
}

// The built-in seed and generated resources must pass.
func TestCheck_HoldsForTheSeed(t *testing.T) {
	t.Parallel()
	all := seeded(t)
	for _, x := range all {
		if issues := Check(x.release, x.object, unlimited()); len(issues) > 0 {
			t.Errorf("%s %s: %v", x.release, x.file, issues)
		}
	}
	if len(all) == 0 {
		t.Error("the seed has no resources")
	}
}

// checked is a writer that checks what a generator writes.
type checked struct {
	t       *testing.T
	release fhir.Release
	writes  int
}

func (c *checked) Apply(w synth.Write) error {
	if w.Object != nil {
		c.writes++
		o := c.release.Adapt(w.Object)
		if issues := Check(c.release, o, unlimited()); len(issues) > 0 {
			c.t.Errorf("%s: %v", o.AppendJSON(nil), issues)
		}
	}
	return nil
}

func TestCheck_HoldsForWhatGeneratorsWrite(t *testing.T) {
	t.Parallel()
	for _, r := range fhir.Releases {
		for _, scenario := range synth.Scenarios() {
			c := &checked{t: t, release: r}
			set := synth.NewSet(clock.NewManual(time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC)), c)
			if err := set.Add(synth.Spec{Name: "g", Scenario: scenario, Releases: []string{string(r)}}); err != nil {
				t.Fatal(err)
			}
			if err := set.Step("g", 100); err != nil {
				t.Fatal(err)
			}
			set.Close()
			if c.writes == 0 {
				t.Errorf("%s %s writes nothing", r, scenario)
			}
		}
	}
}
