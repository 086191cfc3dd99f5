package synth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/random"
)

var noon = time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC)

// play returns the first n writes of a story, three seconds apart.
func play(t testing.TB, scenario string, patients int, seed uint64, n int) []Write {
	t.Helper()
	of, ok := findScenario(scenario)
	if !ok {
		t.Fatalf("no scenario %q", scenario)
	}
	s := newStory("ward", of, patients, seed)
	var writes []Write
	for i := range n {
		writes = append(writes, s.next(noon.Add(time.Duration(i)*3*time.Second)))
	}
	return writes
}

func eachScenario(t *testing.T, run func(t *testing.T, name string)) {
	t.Helper()
	for _, name := range Scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, name)
		})
	}
}

func TestScenario_WritesValidResources(t *testing.T) {
	t.Parallel()
	eachScenario(t, func(t *testing.T, name string) {
		for i, w := range play(t, name, 8, 7, 200) {
			if w.Method != "PUT" || w.Type != w.Object.Text("resourceType") || w.ID != w.Object.Text("id") || w.Note == "" {
				t.Errorf("write %d is %+v", i, w)
			}
			fhirtest.Valid(t, fhir.R5, w.Object.AppendJSON(nil))
		}
	})
}

func TestScenario_RepeatsWithItsSeed(t *testing.T) {
	t.Parallel()
	eachScenario(t, func(t *testing.T, name string) {
		tell := func(seed uint64) string {
			var all bytes.Buffer
			for _, w := range play(t, name, 5, seed, 300) {
				fmt.Fprintf(&all, "%s %s/%s %s %s\n", w.Method, w.Type, w.ID, w.Note, w.Object.AppendJSON(nil))
			}
			return all.String()
		}
		first := tell(7)
		if first != tell(7) {
			t.Error("the same seed gave two stories")
		}
		if first == tell(8) {
			t.Error("two seeds gave the same story")
		}
	})
}

// However long it continues, a story stays within ids determined by its pool, and refers
// only to resources it wrote before.
func TestScenario_StaysWithinItsPool(t *testing.T) {
	t.Parallel()
	eachScenario(t, func(t *testing.T, name string) {
		rapid.Check(t, func(t *rapid.T) {
			patients := rapid.IntRange(1, 12).Draw(t, "patients")
			of, _ := findScenario(name)
			s := newStory("ward", of, patients, rapid.Uint64().Draw(t, "seed"))
			ids := map[string]bool{}
			for i := range 150 {
				w := s.next(noon.Add(time.Duration(i) * time.Second))
				ids[w.Type+"/"+w.ID] = true
				for _, target := range references(w.Object) {
					if !ids[target] {
						t.Fatalf("write %d, %s/%s, refers to %s, which was not written", i, w.Type, w.ID, target)
					}
				}
			}
			if most := 3 + patients*(3+maxLabs); len(ids) > most {
				t.Fatalf("%d ids for %d patients, expected at most %d", len(ids), patients, most)
			}
		})
	})
}

func references(v any) []string {
	var found []string
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			found = append(found, references(e)...)
		}
	case *fhir.Object:
		if target := v.Text("reference"); target != "" {
			found = append(found, target)
		}
		for _, name := range v.Names() {
			found = append(found, references(v.Get(name))...)
		}
	}
	return found
}

// A status follows only an allowed one; a new story of a pool member begins where the
// last one ended.
func TestScenario_FollowsTheLifecycles(t *testing.T) {
	t.Parallel()
	may := map[string]string{
		"Encounter ":              "planned in-progress",
		"Encounter planned":       "in-progress cancelled",
		"Encounter in-progress":   "completed",
		"Encounter completed":     "planned in-progress",
		"Encounter cancelled":     "planned in-progress",
		"Task ":                   "requested",
		"Task requested":          "accepted rejected",
		"Task accepted":           "in-progress",
		"Task in-progress":        "completed failed on-hold",
		"Task on-hold":            "in-progress",
		"Task completed":          "requested",
		"Task failed":             "requested",
		"Task rejected":           "requested",
		"Observation ":            "preliminary final",
		"Observation preliminary": "final",
		"Observation final":       "amended preliminary final",
		"Observation amended":     "preliminary final",
	}
	eachScenario(t, func(t *testing.T, name string) {
		last, seen := map[string]string{}, map[string]bool{}
		for i, w := range play(t, name, 6, 3, 4000) {
			status := w.Object.Text("status")
			if may[w.Type+" "] == "" {
				continue
			}
			from := w.Type + " " + last[w.ID+w.Type]
			if !strings.Contains(" "+may[from]+" ", " "+status+" ") {
				t.Fatalf("write %d: %s/%s went from %s to %s", i, w.Type, w.ID, from, status)
			}
			last[w.ID+w.Type] = status
			seen[w.Type+" "+status] = true
		}
		for state := range may {
			typ, status, _ := strings.Cut(state, " ")
			if known := seen[typ+" requested"] || seen[typ+" planned"] || seen[typ+" final"]; known && status != "" && !seen[state] {
				t.Errorf("in 4000 writes nothing was ever %s", state)
			}
		}
	})
}

func TestAdmissionToDischarge_KeepsPeriods(t *testing.T) {
	t.Parallel()
	started := map[string]string{}
	discharged := 0
	for _, w := range play(t, "admission-to-discharge", 4, 1, 1000) {
		if w.Type != "Encounter" {
			continue
		}
		period := w.Object.Object("actualPeriod")
		switch w.Object.Text("status") {
		case "planned", "cancelled":
			if period != nil {
				t.Errorf("%s has a period before it began", w.ID)
			}
		case "in-progress":
			started[w.ID] = period.Text("start")
			if period.Has("end") {
				t.Errorf("%s ended before the discharge", w.ID)
			}
		case "completed":
			discharged++
			if period.Text("start") != started[w.ID] || period.Text("end") <= period.Text("start") {
				t.Errorf("%s was discharged with %s, began %s", w.ID, period.AppendJSON(nil), started[w.ID])
			}
		}
	}
	if discharged < 20 {
		t.Errorf("only %d discharges", discharged)
	}
}

func TestScenario_Varies(t *testing.T) {
	t.Parallel()
	kinds := map[string]map[string]bool{}
	note := func(kind string, v any) {
		if kinds[kind] == nil {
			kinds[kind] = map[string]bool{}
		}
		kinds[kind][string(fhir.NewObject("v", v).AppendJSON(nil))] = true
	}
	for _, w := range play(t, "admission-to-discharge", 20, 11, 3000) {
		switch w.Type {
		case "Patient":
			note("name", w.Object.Get("name"))
			note("birthDate", w.Object.Get("birthDate"))
			note("gender", w.Object.Get("gender"))
		case "Encounter":
			note("class", w.Object.Get("class"))
			note("reason", w.Object.Get("reason"))
		case "Observation":
			note("code", w.Object.Get("code"))
			note("value", w.Object.Get("valueQuantity"))
			note("interpretation", w.Object.Get("interpretation"))
		case "Task":
			note("task", w.Object.Get("description"))
			note("priority", w.Object.Get("priority"))
		}
	}
	for kind, least := range map[string]int{"name": 18, "birthDate": 18, "gender": 2, "class": 4, "reason": 11, "code": 11, "value": 100, "interpretation": 5, "task": 8, "priority": 4} {
		if len(kinds[kind]) < least {
			t.Errorf("only %d kinds of %s", len(kinds[kind]), kind)
		}
	}
}

func TestLabTest_InterpretsByRange(t *testing.T) {
	t.Parallel()
	potassium := labTests()[4] // 3.5 to 5.1, measured 2.4 to 6.9
	for value, want := range map[string]string{"2.5": "LL", "3.0": "L", "3.4": "L", "3.5": "N", "5.1": "N", "5.2": "H", "6.0": "H", "6.8": "HH"} {
		if got := potassium.interpret(value).code; got != want {
			t.Errorf("%s is %s, want %s", value, got, want)
		}
	}
}

func TestExample_IsValidAndRefersToTheCast(t *testing.T) {
	t.Parallel()
	cast := map[string]bool{}
	for _, o := range ExampleCast(noon) {
		fhirtest.Valid(t, fhir.R5, o.AppendJSON(nil))
		cast[o.Text("resourceType")+"/"+o.Text("id")] = true
	}
	r := random.Seeded(1)
	for typ, status := range map[string]string{"Patient": "", "Encounter": "in-progress", "Observation": "final", "Task": "requested"} {
		different := map[string]bool{}
		for range 20 {
			o := Example(typ, r, noon)
			if o.Text("resourceType") != typ || o.Text("id") != "example" || o.Text("status") != status {
				t.Fatalf("%s: got %s", typ, o.AppendJSON(nil))
			}
			fhirtest.Valid(t, fhir.R5, o.AppendJSON(nil))
			different[string(o.AppendJSON(nil))] = true
			for _, target := range references(o) {
				if !cast[target] {
					t.Errorf("%s refers to %s, which is not in the cast", typ, target)
				}
			}
		}
		if len(different) < 10 {
			t.Errorf("%d different examples of %s in 20", len(different), typ)
		}
	}
	if o := Example("Device", r, noon); o != nil {
		t.Errorf("got %s for a type without an example", o.AppendJSON(nil))
	}
}

func TestPerson_HasItsAgeOnTheDay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		now  string
		want string
	}{{"2026-05-20", "1985-05-21"}, {"2026-05-21", "1986-05-21"}, {"2026-05-22", "1986-05-21"}} {
		now, err := time.Parse(time.DateOnly, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := (person{age: 40, month: 5, day: 21}).birthDate(now); got != tt.want {
			t.Errorf("on %s: born %s, want %s", tt.now, got, tt.want)
		}
	}
}

// Numbers are written as JSON numbers in the precision of the test.
func TestLabTest_DrawsNumbersInItsPrecision(t *testing.T) {
	t.Parallel()
	r := random.Seeded(5)
	for _, test := range labTests() {
		for range 200 {
			value := test.draw(r)
			if !json.Valid([]byte(value)) {
				t.Fatalf("%s: %q", test.short, value)
			}
			_, decimals, _ := strings.Cut(value, ".")
			if len(decimals) != test.decimals {
				t.Fatalf("%s: %q does not have %d decimals", test.short, value, test.decimals)
			}
			if v := number(value); v < 0 || v > test.most+1 {
				t.Fatalf("%s: %q", test.short, value)
			}
		}
	}
}
