package fhirpatch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpatch"
)

// operation returns an operation with parts, "name=value" each; a value that is JSON
// with a type before it becomes value[x].
func operation(parts ...string) string {
	var list []string
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		member := fmt.Sprintf(`"valueString":%q`, value)
		switch name {
		case "type":
			member = fmt.Sprintf(`"valueCode":%q`, value)
		case "index", "source", "destination":
			member = `"valueInteger":` + value
		case "value":
			typ, json, _ := strings.Cut(value, ":")
			member = fmt.Sprintf(`"value%s":%s`, typ, json)
			if typ == "part" {
				member = `"part":` + json
			}
		}
		list = append(list, fmt.Sprintf(`{"name":%q,%s}`, name, member))
	}
	return `{"name":"operation","part":[` + strings.Join(list, ",") + `]}`
}

func apply(t testing.TB, resource string, operations ...string) (string, error) {
	t.Helper()
	current, err := fhir.Parse([]byte(resource))
	if err != nil {
		t.Fatal(err)
	}
	patch, err := fhir.Parse([]byte(`{"resourceType":"Parameters","parameter":[` + strings.Join(operations, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	patched, refused := fhirpatch.Apply(fhir.R5, current, patch, budget.New("test", time.Hour))
	if string(current.AppendJSON(nil)) != resource {
		t.Errorf("the resource itself was changed to %s", current.AppendJSON(nil))
	}
	if refused != nil {
		return "", refused
	}
	return string(patched.AppendJSON(nil)), nil
}

const patient = `{"resourceType":"Patient","id":"p","name":[{"family":"A","given":["x","y"]},{"use":"old","family":"B"}],"telecom":[{"system":"phone","value":"1"},{"system":"email","value":"2"}],"birthDate":"1950-06-01"}`

const (
	siblings  = `{"resourceType":"Patient","id":"p","name":[{"given":["a","b"],"_given":[null,{"id":"q"}]}]}`
	contained = `{"resourceType":"Patient","id":"p","contained":[{"resourceType":"Organization","id":"o","name":"O","alias":["a"]}]}`
)

func TestApply(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, resource, operation, want string }{
		{"add to a list", patient, operation("type=add", "path=Patient", "name=name", `value=HumanName:{"family":"C"}`), `{"use":"old","family":"B"},{"family":"C"}]`},
		{"add a list that is not there", patient, operation("type=add", "path=Patient", "name=address", `value=Address:{"city":"C"}`), `"address":[{"city":"C"}]`},
		{"add what can be once", patient, operation("type=add", "path=Patient", "name=gender", `value=Code:"male"`), `"gender":"male"`},
		{"add a choice", patient, operation("type=add", "path=Patient", "name=deceased", `value=Boolean:true`), `"deceasedBoolean":true`},
		{"add a choice with brackets", patient, operation("type=add", "path=Patient", "name=deceased[x]", `value=DateTime:"2020"`), `"deceasedDateTime":"2020"`},
		{"add to an element", patient, operation("type=add", "path=Patient.name[0]", "name=given", `value=String:"z"`), `"given":["x","y","z"]`},
		{"add an element without its own type", patient, operation("type=add", "path=Patient", "name=contact", `value=part:[{"name":"gender","valueCode":"male"},{"name":"name","valueHumanName":{"family":"K"}}]`), `"contact":[{"gender":"male","name":{"family":"K"}}]`},
		{"insert", patient, operation("type=insert", "path=Patient.name[0].given", `value=String:"z"`, "index=1"), `"given":["x","z","y"]`},
		{"insert at the end", patient, operation("type=insert", "path=Patient.name", `value=HumanName:{"family":"C"}`, "index=2"), `"family":"B"},{"family":"C"}]`},
		{"insert into what is not there", patient, operation("type=insert", "path=Patient.address", `value=Address:{"city":"C"}`, "index=0"), `"address":[{"city":"C"}]`},
		{"delete a member", patient, operation("type=delete", "path=Patient.birthDate"), `"value":"2"}]}`},
		{"delete from a list", patient, operation("type=delete", "path=Patient.name[0]"), `"name":[{"use":"old","family":"B"}]`},
		{"delete the last of a list", patient, operation("type=delete", "path=Patient.name[0].given[1]"), `"given":["x"]`},
		{"delete by a condition", patient, operation("type=delete", "path=Patient.telecom.where(system='phone')"), `"telecom":[{"system":"email","value":"2"}]`},
		{"delete what is not there", patient, operation("type=delete", "path=Patient.gender"), patient},
		{"replace", patient, operation("type=replace", "path=Patient.birthDate", `value=Date:"1951"`), `"birthDate":"1951"`},
		{"replace in a list", patient, operation("type=replace", "path=Patient.name[1].family", `value=String:"Z"`), `"family":"Z"`},
		{"replace by a condition", patient, operation("type=replace", "path=Patient.telecom.where(system = 'email' and value = '2').value", `value=String:"3"`), `{"system":"email","value":"3"}`},
		{"replace with last()", patient, operation("type=replace", "path=Patient.name.last().use", `value=Code:"usual"`), `"use":"usual"`},
		{"replace with first() and an index", patient, operation("type=replace", "path=Patient.name.first().given[0]", `value=String:"q"`), `"given":["q","y"]`},
		{"replace a choice by another", `{"resourceType":"Patient","id":"p","deceasedBoolean":true}`, operation("type=replace", "path=Patient.deceased", `value=DateTime:"2020"`), `"deceasedDateTime":"2020"}`},
		{"inside a choice", `{"resourceType":"Observation","id":"o","valueCodeableConcept":{"text":"a"}}`, operation("type=add", "path=Observation.value", "name=coding", `value=Coding:{"code":"c"}`), `"coding":[{"code":"c"}]`},
		{"ofType", `{"resourceType":"Observation","id":"o","valueQuantity":{"value":1}}`, operation("type=replace", "path=Observation.value.ofType(Quantity).value", `value=Decimal:2.50`), `"value":2.50`},
		{"an extension", `{"resourceType":"Patient","id":"p","extension":[{"url":"http://a","valueCode":"x"},{"url":"http://b.c/d","valueCode":"y"}]}`, operation("type=delete", "path=Patient.extension.where(url='http://b.c/d')"), `"extension":[{"url":"http://a","valueCode":"x"}]`},
		{"move", patient, operation("type=move", "path=Patient.name", "source=1", "destination=0"), `"name":[{"use":"old","family":"B"},{"family":"A","given":["x","y"]}]`},
		{"add a choice by its name in JSON", patient, operation("type=add", "path=Patient", "name=deceasedBoolean", `value=Boolean:true`), `"deceasedBoolean":true`},
		{"insert beside siblings", siblings, operation("type=insert", "path=Patient.name[0].given", `value=String:"z"`, "index=0"), `"given":["z","a","b"],"_given":[null,null,{"id":"q"}]`},
		{"add beside siblings", siblings, operation("type=add", "path=Patient.name[0]", "name=given", `value=String:"z"`), `"given":["a","b","z"],"_given":[null,{"id":"q"},null]`},
		{"move beside siblings", siblings, operation("type=move", "path=Patient.name[0].given", "source=1", "destination=0"), `"given":["b","a"],"_given":[{"id":"q"},null]`},
		{"replace what has a sibling", siblings, operation("type=replace", "path=Patient.name[0].given[1]", `value=String:"z"`), `{"given":["a","z"]}`},
		{"replace with a sibling", siblings, operation("type=replace", "path=Patient.name[0].given[0]", `value=String:"z","_valueString":{"id":"r"}`), `"given":["z","b"],"_given":[{"id":"r"},{"id":"q"}]`},
		{"replace by extensions alone", patient, operation("type=replace", "path=Patient.birthDate", `value=Date:null,"_valueDate":{"extension":[{"url":"http://a","valueCode":"x"}]}`), `"_birthDate":{"extension":[{"url":"http://a","valueCode":"x"}]}}`},
		{"a primitive that is extensions alone", `{"resourceType":"Patient","id":"p","_birthDate":{"id":"b"}}`, operation("type=delete", "path=Patient.birthDate"), `{"resourceType":"Patient","id":"p"}`},
		{"add to a primitive", patient, operation("type=add", "path=Patient.birthDate", "name=extension", `value=part:[{"name":"url","valueUri":"http://a"},{"name":"value[x]","valueCode":"x"}]`), `"birthDate":"1950-06-01","_birthDate":{"extension":[{"url":"http://a","valueCode":"x"}]}}`},
		{"an extension of a primitive", `{"resourceType":"Patient","id":"p","birthDate":"1950","_birthDate":{"extension":[{"url":"http://a.b/c","valueCode":"x"}]}}`, operation("type=replace", "path=Patient.birthDate.extension('http://a.b/c').value", `value=Code:"y"`), `[{"url":"http://a.b/c","valueCode":"y"}]`},
		{"the last extension of a primitive", `{"resourceType":"Patient","id":"p","birthDate":"1950","_birthDate":{"extension":[{"url":"http://a.b/c","valueCode":"x"}]}}`, operation("type=delete", "path=Patient.birthDate.extension[0]"), `{"resourceType":"Patient","id":"p","birthDate":"1950"}`},
		{"an extension of the resource", `{"resourceType":"Patient","id":"p","extension":[{"url":"http://a","valueCode":"x"},{"url":"http://b.c/d","valueCode":"y"}]}`, operation("type=replace", "path=Patient.extension('http://b.c/d').value", `value=String:"z"`), `{"url":"http://b.c/d","valueString":"z"}`},
		{"what becomes empty goes", `{"resourceType":"Patient","id":"p","contact":[{"name":{"text":"x"},"gender":"male"}]}`, operation("type=delete", "path=Patient.contact[0].name.text"), `"contact":[{"gender":"male"}]`},
		{"all that becomes empty goes", `{"resourceType":"Patient","id":"p","contact":[{"name":{"text":"x"}}]}`, operation("type=delete", "path=Patient.contact[0].name.text"), `{"resourceType":"Patient","id":"p"}`},
		{"in a contained resource", contained, operation("type=add", "path=Patient.contained[0]", "name=alias", `value=String:"b"`), `"alias":["a","b"]`},
		{"a contained resource by type", contained, operation("type=replace", "path=Patient.contained.ofType(Organization).name", `value=String:"N"`), `"name":"N"`},
		{"a list of one part", patient, operation("type=add", "path=Patient", "name=contact", `value=part:[{"name":"telecom","valueContactPoint":{"system":"phone"}}]`), `"contact":[{"telecom":[{"system":"phone"}]}]`},
		{"a list of two parts", patient, operation("type=add", "path=Patient", "name=contact", `value=part:[{"name":"telecom","valueContactPoint":{"system":"phone"}},{"name":"telecom","valueContactPoint":{"system":"fax"}}]`), `"contact":[{"telecom":[{"system":"phone"},{"system":"fax"}]}]`},
		{"ofType of another type", `{"resourceType":"Observation","id":"o","valueDateTime":"2020"}`, operation("type=delete", "path=Observation.value.ofType(time)"), `"valueDateTime":"2020"`},
		{"a condition on the resource", patient, operation("type=delete", "path=Patient.name.where(%resource.id='p' and use='old')"), `"name":[{"family":"A","given":["x","y"]}]`},
		{"a choice by its name in JSON", `{"resourceType":"Patient","id":"p","deceasedBoolean":true}`, operation("type=replace", "path=Patient.deceasedBoolean", `value=DateTime:"2020"`), `"deceasedDateTime":"2020"}`},
		{"a primitive with its sibling", `{"resourceType":"Patient","id":"p","name":[{"given":["a","b"],"_given":[null,{"id":"q"}]}]}`, operation("type=delete", "path=Patient.name[0].given[0]"), `{"given":["b"],"_given":[{"id":"q"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := apply(t, tt.resource, tt.operation)
			if err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, %v, want %s in it", got, err, tt.want)
			}
		})
	}
	if got, err := apply(t, patient, operation("type=delete", "path=Patient.name[0]"), operation("type=replace", "path=Patient.name[0].family", `value=String:"Z"`)); err != nil || !strings.Contains(got, `"name":[{"use":"old","family":"Z"}]`) {
		t.Errorf("two operations in order: got %s, %v", got, err)
	}
}

func TestApply_Refuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, operation string
		status          int
		says            string
	}{
		{"no operation", `{"name":"other"}`, 400, "expected operation"},
		{"unknown type", operation("type=swap", "path=Patient"), 400, "add, insert, delete, replace or move"},
		{"a part that is missing", operation("type=replace", "path=Patient.birthDate"), 400, "needs the part value"},
		{"an unknown part", operation("type=delete", "path=Patient.birthDate", "where=x"), 400, "unknown part"},
		{"a part given twice", operation("type=delete", "path=Patient.birthDate", "path=Patient.name"), 400, "duplicate part path"},
		{"no whole number", operation("type=insert", "path=Patient.name", `value=HumanName:{"family":"C"}`, "index=-1"), 400, "whole number"},
		{"replace selects nothing", operation("type=replace", "path=Patient.gender", `value=Code:"male"`), 422, "selects 0"},
		{"replace selects several", operation("type=replace", "path=Patient.name", `value=HumanName:{"family":"C"}`), 422, "selects 2"},
		{"delete selects several", operation("type=delete", "path=Patient.name.given"), 422, "selects 2"},
		{"add to several", operation("type=add", "path=Patient.name", "name=given", `value=String:"z"`), 422, "selects 2"},
		{"add what is there", operation("type=add", "path=Patient", "name=birthDate", `value=Date:"1951"`), 422, "replace it"},
		{"add to a plain value", operation("type=add", "path=Patient.birthDate", "name=x", `value=Date:"1951"`), 422, "plain value"},
		{"insert too far", operation("type=insert", "path=Patient.name", `value=HumanName:{"family":"C"}`, "index=3"), 422, "beyond"},
		{"insert into no list", operation("type=insert", "path=Patient.gender", `value=Code:"male"`, "index=0"), 422, "not a list"},
		{"move too far", operation("type=move", "path=Patient.name", "source=0", "destination=2"), 422, "among the 2"},
		{"move nothing", operation("type=move", "path=Patient.address", "source=0", "destination=0"), 422, "nothing"},
		{"a function that has no place", operation("type=delete", "path=Patient.name.skip(1)"), 422, "skip()"},
		{"a condition that does not compile", operation("type=delete", "path=Patient.name.where(use = = 'x')"), 422, "does not compile"},
		{"the id", operation("type=replace", "path=Patient.id", `value=Id:"q"`), 422, "may not change id"},
		{"an element there is not", operation("type=delete", "path=Patient.nmae"), 422, `Patient has no element "nmae"`},
		{"an element there is not, further in", operation("type=delete", "path=Patient.name[0].famly.extension"), 422, `has no element "famly"`},
		{"add what there is not", operation("type=add", "path=Patient", "name=colour", `value=String:"z"`), 422, `has no element "colour"`},
		{"a bracket that is open", operation("type=delete", "path=Patient.name[0"), 422, "no element"},
		{"two indexes", operation("type=delete", "path=Patient.name[0][0]"), 422, "no element"},
		{"a condition on plain values", operation("type=delete", "path=Patient.name[0].given.where($this='x')"), 422, "plain value"},
		{"a part without value", operation("type=add", "path=Patient", "name=contact", `value=part:[{"name":"gender"}]`), 422, "the part gender has no value"},
		{"a part twice", operation("type=add", "path=Patient", "name=contact", `value=part:[{"name":"gender","valueCode":"male"},{"name":"gender","valueCode":"male"}]`), 422, "may occur only once"},
		{"no value", operation("type=replace", "path=Patient.birthDate", `value=part:[]`), 400, "needs a value"},
		{"no path", operation("type=delete", "path="), 422, "does not name an element"},
		{"a path that is too long", operation("type=delete", "path=Patient"+strings.Repeat(".name", 65)), 413, "has 65 steps, at most 64"},
		{"of the whole", operation("type=delete", "path=Patient"), 422, "does not name an element"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := apply(t, patient, tt.operation)
			if err == nil || fhir.AsError(err).Status != tt.status || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "Parameters.parameter[0]") && !strings.Contains(err.Error(), "may not change") {
				t.Errorf("got %v, want %d that says %q and where", err, tt.status, tt.says)
			}
		})
	}
	if _, err := apply(t, patient); err == nil || fhir.AsError(err).Status != 400 {
		t.Errorf("no operations: got %v", err)
	}
}

// What the operations of a patch pass is bounded in all.
func TestApply_IsBounded(t *testing.T) {
	t.Parallel()
	large := `{"resourceType":"Patient","id":"p","name":[` + strings.Repeat(`{"use":"old"},`, 9999) + `{"use":"old"}]}`
	remove := operation("type=delete", "path=Patient.name[0]")
	if _, err := apply(t, large, slices.Repeat([]string{remove}, 100)...); err != nil {
		t.Errorf("100 operations: %v", err)
	}
	_, err := apply(t, large, slices.Repeat([]string{remove}, 200)...)
	if refused := fhir.AsError(err); refused == nil || refused.Status != 422 || fhir.CodeOf(err) != fhir.CodeTooCostly || !strings.Contains(err.Error(), "passes more than 1048576 elements in all; patch less at a time; nothing was changed") {
		t.Errorf("200 operations: got %v", err)
	}
}

// Whatever the path, a patch is refused or applied, and the original stays unchanged.
func FuzzApply(f *testing.F) {
	for _, path := range []string{"Patient.name[0].given", "Patient.telecom.where(system='phone').value", "Patient..name", "Patient.name[", "Patient.extension('a.b').value", "Patient.name.first().last()[0]", "Patient.where('", "."} {
		for _, kind := range []string{"add", "insert", "delete", "replace", "move"} {
			f.Add(kind, path)
		}
	}
	f.Fuzz(func(t *testing.T, kind, path string) {
		current, _ := fhir.Parse([]byte(patient))
		part := func(name, member string, value any) any { return fhir.NewObject("name", name, member, value) }
		patch := fhir.NewObject("resourceType", "Parameters", "parameter", []any{fhir.NewObject("name", "operation", "part", []any{
			part("type", "valueCode", kind), part("path", "valueString", path), part("name", "valueString", "given"), part("value", "valueString", "v"),
		})})
		patched, err := fhirpatch.Apply(fhir.R5, current, patch, budget.New("test", time.Hour))
		if (patched == nil) == (err == nil) {
			t.Fatalf("%s %q: got %v, %v", kind, path, patched, err)
		}
		if string(current.AppendJSON(nil)) != patient {
			t.Fatalf("%s %q changed the resource itself", kind, path)
		}
	})
}
