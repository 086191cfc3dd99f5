package fhir_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// mutation is one change of a valid resource and the one issue it must cause.
type mutation struct {
	what, code, place string
	do, undo          func()
}

// mutations returns what can go wrong with an object and everything below it.
// Members that start with _ have their own tests.
func mutations(o *fhir.Object, place string) []mutation {
	list := []mutation{{
		"an unknown member", "structure", place + ".zzzz",
		func() { o.Set("zzzz", "x") }, func() { o.Delete("zzzz") },
	}}
	for _, name := range o.Names() {
		if name == "resourceType" || strings.HasPrefix(name, "_") {
			continue
		}
		at, value := place+"."+name, o.Get(name)
		put := func(what, code, at string, v any) {
			list = append(list, mutation{what, code, at, func() { o.Set(name, v) }, func() { o.Set(name, value) }})
		}
		hasSibling := o.Has("_" + name)
		switch value := value.(type) {
		case *fhir.Object:
			put("null", "structure", at, nil)
			put("an array for one", "structure", at, []any{value})
			put("a string for an object", "structure", at, "x")
			if !value.Has("resourceType") {
				put("an empty object", "structure", at, fhir.NewObject())
			}
			list = append(list, mutations(value, at)...)
		case []any:
			if !hasSibling {
				put("an empty array", "structure", at, []any{})
				put("one for an array", "structure", at, value[0])
				put("null", "structure", at, nil)
				put("null in an array", "structure", at+"["+strconv.Itoa(len(value))+"]", append(value[:len(value):len(value)], nil))
			}
			for i, item := range value {
				if item, isObject := item.(*fhir.Object); isObject {
					list = append(list, mutations(item, at+"["+strconv.Itoa(i)+"]")...)
				}
			}
		case string:
			put("null", "structure", at, nil)
			put("an empty string", "structure", at, "")
			put("an array for one", "structure", at, []any{value})
			put("an object for a primitive", "structure", at, fhir.NewObject("id", "x"))
			put("a boolean for a string", "value", at, true)
			put("only white space", "value", at, " ")
		case json.Number, bool:
			put("null", "structure", at, nil)
			put("an array for one", "structure", at, []any{value})
			put("a string for another primitive", "value", at, "x")
		}
	}
	return list
}

// Each resource of the seed and each example of HL7 is valid, and has exactly one
// issue after each change.
func TestValidate_EachMutationIsOneIssue(t *testing.T) {
	t.Parallel()
	type sample struct {
		name   string
		object *fhir.Object
	}
	var samples []sample
	seed, err := os.ReadFile("../../seed.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range parse(t, string(seed)).Array("resources") {
		o := o.(*fhir.Object)
		samples = append(samples, sample{o.Text("resourceType") + "/" + o.Text("id"), o})
	}
	for _, file := range fhirtest.Examples(t, fhir.R5) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, sample{filepath.Base(file), parse(t, string(data))})
	}
	const most = 150 // of each resource, spread over all of it
	tried := 0
	for _, s := range samples {
		o := s.object
		list := mutations(o, o.Text("resourceType"))
		for i := 0; i < len(list); i += max(1, len(list)/most) {
			m := list[i]
			m.do()
			issues := fhir.R5.Validate(o)
			if len(issues) != 1 || string(issues[0].Code) != m.code || len(issues[0].Expression) != 1 || issues[0].Expression[0] != m.place || issues[0].Severity != "error" {
				t.Errorf("%s: %s at %s: got %v, want one %s", s.name, m.what, m.place, issues, m.code)
			}
			m.undo()
			tried++
		}
		if issues := fhir.R5.Validate(o); len(issues) > 0 {
			t.Fatalf("%s: after undoing all changes: %v", s.name, issues)
		}
	}
	t.Logf("%d mutations of %d resources", tried, len(samples))
	if tried < 1000 {
		t.Errorf("tried only %d mutations", tried)
	}
}

// Every element that HL7 requires is reported when it is missing. The list comes
// from the specification itself, not from the tables made of it.
func TestValidate_MissesEveryRequiredElementOfTheExamples(t *testing.T) {
	t.Parallel()
	var types map[string]struct {
		Elements []struct {
			Path string
			Min  int
		}
	}
	data, err := os.ReadFile(fhirtest.Spec(t, "elements.R5.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &types); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range fhirtest.Examples(t, fhir.R5) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o := parse(t, string(data))
		typ := o.Text("resourceType")
		for _, e := range types[typ].Elements {
			name, isMember := strings.CutPrefix(e.Path, typ+".")
			if !isMember || e.Min == 0 || strings.ContainsAny(name, ".[") || o.Has("_"+name) {
				continue
			}
			without := o.Clone()
			without.Delete(name)
			if issues := fhir.R5.Validate(without); len(issues) != 1 || issues[0].Code != "required" || issues[0].Expression[0] != e.Path {
				t.Errorf("%s without %s: got %v", filepath.Base(file), e.Path, issues)
			}
			tried++
		}
	}
	if tried < 50 {
		t.Errorf("tried only %d elements", tried)
	}
}
