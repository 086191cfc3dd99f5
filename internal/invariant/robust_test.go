package invariant

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
)

// mutate changes an object somewhere below: it removes or duplicates a member, or gives
// it a value from elsewhere in the resource.
func mutate(o *fhir.Object, random *rand.Rand, values []any) {
	names := o.Names()
	if len(names) == 0 {
		return
	}
	name := names[random.IntN(len(names))]
	value := o.Get(name)
	if list, isList := value.([]any); isList && len(list) > 0 && random.IntN(3) > 0 {
		value = list[random.IntN(len(list))]
	}
	if inner, isObject := value.(*fhir.Object); isObject && random.IntN(5) > 0 {
		mutate(inner, random, values)
		return
	}
	switch random.IntN(5) {
	case 0:
		o.Delete(name)
	case 1:
		o.Set(name, values[random.IntN(len(values))])
	case 2:
		if list := o.Array(name); list != nil {
			o.Set(name, append(slices.Clone(list), list...))
		}
	case 3:
		if !strings.HasPrefix(name, "_") {
			o.Delete(name)
			o.Set("_"+name, fhir.NewObject("id", "a"))
		}
	case 4:
		o.Set(name, []any{nil, "#x"})
	}
}

// leaves returns the primitive values of a tree.
func leaves(value any) []any {
	var all []any
	switch v := value.(type) {
	case *fhir.Object:
		for _, name := range v.Names() {
			all = append(all, leaves(v.Get(name))...)
		}
	case []any:
		for _, item := range v {
			all = append(all, leaves(item)...)
		}
	default:
		all = append(all, v)
	}
	return all
}

// For whatever Validate accepts, Check ends, is repeatable, and gives each issue a place.
func TestCheck_AcceptsWhateverValidateAccepts(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	accepted, refused := 0, 0
	for _, x := range samples(t) {
		values := append(leaves(x.object), "2026", json.Number("1e999999999"), "", "#", "##", "\"\\\u2028\x7f")
		for range 40 {
			o := x.object.Clone()
			for range 1 + random.IntN(3) {
				mutate(o, random, values)
			}
			if len(x.release.Validate(o)) > 0 {
				continue
			}
			accepted++
			before := string(o.AppendJSON(nil))
			issues := Check(x.release, o, unlimited())
			if len(issues) > 0 {
				refused++
			}
			for _, i := range issues {
				if len(i.Expression) != 1 || !strings.HasPrefix(i.Expression[0], o.Text("resourceType")) {
					t.Errorf("%s %s: %+v has no place\n%s", x.release, x.file, i, before)
				}
			}
			if again := Check(x.release, o, unlimited()); fmt.Sprint(again) != fmt.Sprint(issues) {
				t.Errorf("%s %s: first %v, then %v\n%s", x.release, x.file, issues, again, before)
			}
			if after := string(o.AppendJSON(nil)); after != before {
				t.Errorf("%s %s: the check changed the resource\n%s\n%s", x.release, x.file, before, after)
			}
		}
	}
	if accepted < 500 || refused < 50 {
		t.Errorf("%d resources were accepted and %d of them refused; too few to tell", accepted, refused)
	}
}

// The text for the engine is JSON, and the slice of each focus is its own JSON.
func TestWalk_WritesTheTextOfEachFocus(t *testing.T) {
	t.Parallel()
	for _, x := range samples(t) {
		w := walkOf(x.release, x.object)
		if !json.Valid(w.text) {
			t.Errorf("%s %s: not JSON: %s", x.release, x.file, w.text)
		}
		for _, f := range w.foci {
			if f.object == nil || f.start == f.end {
				continue
			}
			piece, err := fhir.Parse(w.text[f.start:f.end])
			if err != nil || fmt.Sprint(named(piece)) != fmt.Sprint(named(f.object)) {
				t.Errorf("%s %s: %s is written as %s (%v)", x.release, x.file, place(x.object, f.at), w.text[f.start:f.end], err)
			}
		}
	}
}

// named returns the members of an object that have a value or a sibling.
func named(o *fhir.Object) []string {
	var names []string
	for _, name := range o.Names() {
		names = append(names, strings.TrimPrefix(name, "_"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// However large or hostile a resource is, its check ends soon.
func TestCheck_IsBounded(t *testing.T) {
	t.Parallel()
	var items []string
	for i := range 20_000 {
		items = append(items, fmt.Sprintf(`{"linkId":"%d","type":"string"}`, i))
	}
	for name, text := range map[string]string{
		"many items":  `{"resourceType":"Questionnaire","status":"active","item":[` + strings.Join(items, ",") + `]}`,
		"deep items":  `{"resourceType":"Questionnaire","status":"active","item":[` + strings.Repeat(`{"linkId":"1","type":"group","item":[`, 29) + `{"linkId":"2","type":"string"}` + strings.Repeat(`]}`, 29) + `]}`,
		"many digits": `{"resourceType":"Patient","extension":[{"url":"http://x.org/a","valueAge":{"value":1e999999999,"code":"a","system":"http://unitsofmeasure.org"}},{"url":"http://x.org/a","valueRange":{"low":{"value":1e999999999},"high":{"value":1}}}]}`,
		"many broken": `{"resourceType":"Patient","contact":[` + strings.Repeat(`{"gender":"male"},`, 5000) + `{"gender":"male"}]}`,
	} {
		o := accepted(t, fhir.R5, text)
		var issues []fhir.Issue
		took, _ := budget.Within(time.Hour, func(context.Context) error {
			issues = Check(fhir.R5, o, budget.New("test", budget.Request))
			return nil
		})
		if took > 10*time.Second {
			t.Errorf("%s: took %s", name, took)
		} else {
			t.Logf("%s: took %s, %d issues", name, took, len(issues))
		}
		if len(issues) > maxIssues+1 {
			t.Errorf("%s: %d issues", name, len(issues))
		}
	}
}

// Concurrent writers share a release's rules. The test runs alone: a check has a
// limit of time, which a busy machine may reach.
func TestCheck_IsSafeForConcurrentUse(t *testing.T) {
	o := accepted(t, fhir.R4, `{"resourceType":"Questionnaire","status":"active","item":[{"linkId":"1","type":"group","item":[{"linkId":"1","type":"display","code":[{"code":"a"}]}]}]}`)
	want := fmt.Sprint(Check(fhir.R4, o, unlimited()))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if got := fmt.Sprint(Check(fhir.R4, o, unlimited())); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	all.Wait()
}

func TestOrdered_ReadsEveryPrecision(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		start, end string
		want       verdict
	}{
		{"2026", "2026", holds},
		{"2026-05", "2026", holds},
		{"2026", "2026-05", holds},
		{"2027", "2026-12-31", broken},
		{"2026-02", "2026-01", broken},
		{"2026-01-02", "2026-01-01", broken},
		{"2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z", holds},
		{"2026-01-01T10:00:00.500Z", "2026-01-01T10:00:00Z", holds}, // within the second
		{"2026-01-01T10:00:01Z", "2026-01-01T10:00:00.999Z", broken},
		{"2026-01-02T00:30:00.000+02:00", "2026-01-01T23:00:00Z", holds}, // 22:30Z
		{"2026-01-01T10:00:00Z", "2026-01-01T11:00:00+02:00", broken},    // 09:00Z
		{"2026-01-02", "2026-01-01T23:00:00Z", holds},                    // the day begins at 10:00Z somewhere
		{"2026-01-02", "2026-01-01T09:00:00Z", broken},
		{"2026-01-01T12:30:00Z", "2025-12-31", broken}, // over everywhere
		{"2026-01-01T11:30:00Z", "2025-12-31", holds},
		{"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", holds},
		{"", "2026", holds},
		{"2026", "", holds},
	} {
		f := &focus{object: fhir.NewObject("start", c.start, "end", c.end)}
		if got := ordered(f, "start", "end"); got != c.want {
			t.Errorf("%s to %s: got %d, want %d", c.start, c.end, got, c.want)
		}
	}
}

// For whatever is JSON, Check ends soon, and each issue says what and where.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{
		`{"resourceType":"Patient","contact":[{}],"contained":[{"resourceType":"Patient","id":"#a"}]}`,
		`{"resourceType":"Observation","status":"final","code":{},"dataAbsentReason":{},"valueInteger":1,"component":[null,{"code":{}}]}`,
		`{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Bundle"}},{}],"total":1}`,
		`{"resourceType":"Questionnaire","item":[{"linkId":"a","type":"group","item":[{"linkId":"a"}]}]}`,
		`{"resourceType":"ValueSet","url":"x|y","compose":{"include":[{"concept":[{"code":1}]}]}}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := fhir.Parse([]byte(text))
		if err != nil {
			return
		}
		for _, r := range fhir.Releases {
			if len(fhirErrors(r.Validate(o))) > 0 {
				continue // Check is called for valid resources only
			}
			took, _ := budget.Within(time.Hour, func(context.Context) error {
				for _, issue := range Check(r, o, unlimited()) {
					if issue.Code == "" || issue.Diagnostics == "" || len(issue.Expression) == 0 {
						t.Errorf("%s: issue %+v says too little", r, issue)
					}
				}
				return nil
			})
			if took > 10*time.Second {
				t.Errorf("%s: it took %s", r, took)
			}
		}
	})
}

func fhirErrors(issues []fhir.Issue) []fhir.Issue {
	return slices.DeleteFunc(issues, func(i fhir.Issue) bool { return i.Severity != "error" })
}

// The invariants of a resource take time of the budget, under one name. If nothing is left
// out, there is no warning, though there is no time.
func TestCheck_TakesTimeOfTheBudget(t *testing.T) {
	t.Parallel()
	o := accepted(t, fhir.R4, `{"resourceType":"Questionnaire","status":"active","item":[{"linkId":"1","type":"group","item":[{"linkId":"1","type":"string"}]}]}`)
	used := time.Duration(0)
	b := budget.NewOf("write", time.Second, func() time.Duration {
		used += time.Second
		return used
	})
	if issues := Check(fhir.R4, o, b); len(fhirErrors(issues)) == 0 || len(issues) != len(fhirErrors(issues)) {
		t.Errorf("got %v, want errors and no warning: all was checked", issues)
	}
	if err := b.Err(); err == nil || !strings.Contains(err.Error(), `most of it took "the invariants of Questionnaire"`) {
		t.Errorf("got %v, want that the time is used up", err)
	}
	if issues := Check(fhir.R4, accepted(t, fhir.R4, `{"resourceType":"Basic","code":{"text":"a"}}`), b); len(issues) > 0 {
		t.Errorf("got %v, want nothing", issues)
	}
}
