package store_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
)

// resource returns a resource with a type, an id and these members.
func resource(t testing.TB, members string) *fhir.Object {
	t.Helper()
	if members != "" {
		members = "," + members
	}
	return parse(t, `{"resourceType":"Patient","id":"p1"`+members+`}`)
}

// body returns a resource without its type and id.
func body(o *fhir.Object) string {
	c := o.Clone()
	c.Delete("resourceType")
	c.Delete("id")
	return string(c.AppendJSON(nil))
}

// The cases A.1 to A.16 are those of RFC 6902, appendix A.
func TestPatch_Applies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ doc, patch, want string }{
		"A.1 add a member":               {`"foo":"bar"`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"foo":"bar","baz":"qux"}`},
		"A.2 add an element":             {`"foo":["bar","baz"]`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`},
		"A.3 remove a member":            {`"baz":"qux","foo":"bar"`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`},
		"A.4 remove an element":          {`"foo":["bar","qux","baz"]`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`},
		"A.5 replace a value":            {`"baz":"qux","foo":"bar"`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo","foo":"bar"}`},
		"replace an element":             {`"a":[1,{"b":2}]`, `[{"op":"replace","path":"/a/0","value":"\"[{"},{"op":"replace","path":"/a/1/b","value":3}]`, `{"a":["\"[{",{"b":3}]}`},
		"A.6 move a value":               {`"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`, `{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`},
		"A.7 move an element":            {`"foo":["all","grass","cows","eat"]`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`},
		"A.8 test a value":               {`"baz":"qux","foo":["a",2,"c"]`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`, `{"baz":"qux","foo":["a",2,"c"]}`},
		"A.10 add a nested object":       {`"foo":"bar"`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"foo":"bar","child":{"grandchild":{}}}`},
		"A.11 unknown members ignored":   {`"foo":"bar"`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `{"foo":"bar","baz":"qux"}`},
		"A.14 ~ and / in names":          {`"/":9,"~1":10`, `[{"op":"test","path":"/~01","value":10},{"op":"remove","path":"/~1"}]`, `{"~1":10}`},
		"A.16 add an array":              {`"foo":["bar"]`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`},
		"no operations":                  {`"a":1`, `[]`, `{"a":1}`},
		"add replaces a member in place": {`"a":1,"b":2`, `[{"op":"add","path":"/a","value":3}]`, `{"a":3,"b":2}`},
		"add at the end by index":        {`"a":[1]`, `[{"op":"add","path":"/a/1","value":2}]`, `{"a":[1,2]}`},
		"operations see earlier ones":    {``, `[{"op":"add","path":"/a","value":[]},{"op":"add","path":"/a/-","value":{}},{"op":"add","path":"/a/0/b","value":1}]`, `{"a":[{"b":1}]}`},
		"copy is independent":            {`"a":{"x":1}`, `[{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/x","value":2}]`, `{"a":{"x":1},"b":{"x":2}}`},
		"move onto itself":               {`"a":1`, `[{"op":"move","from":"/a","path":"/a"}]`, `{"a":1}`},
		"replace the whole resource":     {`"a":1`, `[{"op":"replace","path":"","value":{"id":"p1","resourceType":"Patient","b":2}}]`, `{"b":2}`},
		"test the whole resource":        {`"a":1`, `[{"op":"test","path":"","value":{"id":"p1","a":1.0,"resourceType":"Patient"}}]`, `{"a":1}`},
		"null in an array of primitives": {`"_given":[null,{"id":"x"}]`, `[{"op":"test","path":"/_given","value":[null,{"id":"x"}]},{"op":"add","path":"/_given/-","value":null}]`, `{"_given":[null,{"id":"x"},null]}`},
		"numbers keep their text":        {`"a":1.10,"b":12345678901234567890.0`, `[{"op":"add","path":"/c","value":1.000e+05},{"op":"copy","from":"/a","path":"/d"}]`, `{"a":1.10,"b":12345678901234567890.0,"c":1.000e+05,"d":1.10}`},
		"text keeps its characters":      {`"a":"<b>&é"`, `[{"op":"add","path":"/b","value":"<div>\u00e9</div>"}]`, `{"a":"<b>&é","b":"<div>é</div>"}`},
		"an empty name":                  {`"":1`, `[{"op":"replace","path":"/","value":2}]`, `{"":2}`},
		"a dash is a name in an object":  {`"-":1`, `[{"op":"remove","path":"/-"}]`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			current := resource(t, c.doc)
			before := string(current.AppendJSON(nil))
			patched, err := store.Patch(current, []byte(c.patch))
			if err != nil {
				t.Fatal(err)
			}
			if got := body(patched); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := string(current.AppendJSON(nil)); got != before {
				t.Errorf("the current version was changed to %s", got)
			}
		})
	}
}

func TestPatch_TestComparesByValue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b  string
		equal bool
	}{
		{`1`, `1.0`, true}, {`1`, `10e-1`, true}, {`100`, `1e2`, true}, {`-0`, `0`, true}, {`0.0`, `0e9`, true}, {`120`, `1.2E+2`, true},
		{`1`, `-1`, false}, {`1`, `10`, false}, {`0.1`, `0.10000000000000001`, false}, {`1e999999999999`, `1e999999999999`, true}, {`1e999999999999`, `1e999999999998`, false},
		{`1e99999999999999999999`, `1e99999999999999999999`, true}, {`1e99999999999999999999`, `2e99999999999999999999`, false},
		{`1`, `"1"`, false}, {`0`, `false`, false}, {`null`, `false`, false}, {`null`, `null`, true}, {`true`, `true`, true}, {`true`, `false`, false},
		{`"a"`, `"a"`, true}, {`"\u0061"`, `"a"`, true}, {`"a"`, `"A"`, false},
		{`{"x":1,"y":[2]}`, `{"y":[2.0],"x":1}`, true}, {`{"x":1}`, `{"x":1,"y":null}`, false}, {`{"x":null}`, `{"y":null}`, false},
		{`[1,2]`, `[2,1]`, false}, {`[1]`, `[1,1]`, false}, {`[]`, `{}`, false}, {`[]`, `null`, false}, {`{}`, `null`, false}, {`"[]"`, `[]`, false},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			_, err := store.Patch(resource(t, `"v":`+pair[0]), []byte(`[{"op":"test","path":"/v","value":`+pair[1]+`}]`))
			if got := err == nil; got != c.equal {
				t.Errorf("%s equals %s: got %v (%v), want %v", pair[0], pair[1], got, err, c.equal)
			}
			if err != nil {
				wantRefused(t, err, http.StatusUnprocessableEntity, "conflict", "operation 1", "/v")
			}
		}
	}
}

func TestPatch_RefusesInvalidPatches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ patch, says string }{
		"nothing":                   {``, "array of operations"},
		"not JSON":                  {`[{"op":`, "array of operations"},
		"null":                      {`null`, "array of operations"},
		"no text":                   {strings.Repeat("\xbe", 85), "array of operations"},
		"an object":                 {`{"op":"remove","path":"/a"}`, "array of operations"},
		"data after the array":      {`[] []`, "array of operations"},
		"an operation no object":    {`["remove"]`, "operation 1"},
		"no op":                     {`[{"path":"/a"}]`, "expected add, remove"},
		"an op in another case":     {`[{"op":"Remove","path":"/a"}]`, `"Remove"`},
		"op no text":                {`[{"op":1,"path":"/a"}]`, "got 1"},
		"the second is wrong":       {`[{"op":"remove","path":"/a"},{"op":"delete","path":"/a"}]`, "operation 2"},
		"no path":                   {`[{"op":"remove"}]`, `"path"`},
		"path null":                 {`[{"op":"remove","path":null}]`, `"path"`},
		"path an array":             {`[{"op":"remove","path":["a"]}]`, `"path"`},
		"path without slash":        {`[{"op":"remove","path":"a"}]`, "starts with /"},
		"path is a FHIRPath":        {`[{"op":"replace","path":"Patient.active","value":true}]`, "starts with /"},
		"path with a bad escape":    {`[{"op":"remove","path":"/a~2"}]`, "~0"},
		"path with an open escape":  {`[{"op":"remove","path":"/a~"}]`, "~0"},
		"add without value":         {`[{"op":"add","path":"/a"}]`, `"value"`},
		"replace without value":     {`[{"op":"replace","path":"/a"}]`, `"value"`},
		"test without value":        {`[{"op":"test","path":"/a"}]`, `"value"`},
		"move without from":         {`[{"op":"move","path":"/a"}]`, `"from"`},
		"copy with a bad from":      {`[{"op":"copy","path":"/a","from":"b"}]`, "from: got"},
		"a member twice (A.13)":     {`[{"op":"add","path":"/baz","value":"qux","op":"remove"}]`, "duplicate member"},
		"a member twice in a value": {`[{"op":"add","path":"/a","value":{"b":1,"b":2}}]`, "duplicate member"},
		"not UTF-8":                 {"[{\"op\":\"add\",\"path\":\"/a\",\"value\":\"\xff\"}]", "UTF-8"},
		"a value nested too deeply": {`[{"op":"add","path":"/a","value":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}]`, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := store.Patch(resource(t, `"a":1`), []byte(c.patch))
			wantRefused(t, err, http.StatusBadRequest, "structure", c.says)
		})
	}
}

func TestPatch_RefusesOperationsThatFail(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	for name, c := range map[string]struct{ doc, patch, code, says string }{
		"remove of nothing":             {`"a":1`, `[{"op":"remove","path":"/b"}]`, "processing", `operation 1 (remove "/b") of the patch: there is no member "b"; nothing was changed`},
		"replace of nothing":            {`"a":1`, `[{"op":"replace","path":"/b","value":1}]`, "processing", "no member"},
		"A.12 add below nothing":        {`"foo":"bar"`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`, "processing", `no member "baz"`},
		"the second operation fails":    {`"a":1`, `[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]`, "processing", "operation 2"},
		"A.9 a test that fails":         {`"baz":"qux"`, `[{"op":"test","path":"/baz","value":"bar"}]`, "conflict", `the value is "qux", expected "bar"`},
		"a test of nothing":             {`"a":1`, `[{"op":"test","path":"/b","value":null}]`, "conflict", "no member"},
		"A.15 a string is not a number": {`"/":9,"~1":10`, `[{"op":"test","path":"/~01","value":"10"}]`, "conflict", `expected "10"`},
		"index beyond the end":          {`"a":[1]`, `[{"op":"add","path":"/a/2","value":1}]`, "processing", "index 2 is out of range for an array of length 1"},
		"index of the end":              {`"a":[1]`, `[{"op":"remove","path":"/a/1"}]`, "processing", "index 1 is out of range"},
		"a dash is not an element":      {`"a":[1]`, `[{"op":"remove","path":"/a/-"}]`, "processing", "not an array index"},
		"a negative index":              {`"a":[1]`, `[{"op":"remove","path":"/a/-1"}]`, "processing", "not an array index"},
		"an index with a zero":          {`"a":[1,2]`, `[{"op":"remove","path":"/a/01"}]`, "processing", "not an array index"},
		"an index with a sign":          {`"a":[1,2]`, `[{"op":"add","path":"/a/+1","value":1}]`, "processing", "not an array index"},
		"an index that overflows":       {`"a":[1,2]`, `[{"op":"add","path":"/a/99999999999999999999","value":1}]`, "processing", "not an array index"},
		"a name in an array":            {`"a":[1]`, `[{"op":"add","path":"/a/b","value":1}]`, "processing", "not an array index"},
		"a member of a string":          {`"a":"x"`, `[{"op":"add","path":"/a/b","value":1}]`, "processing", "a string cannot have a member"},
		"below null":                    {`"a":[null]`, `[{"op":"test","path":"/a/0/b","value":1}]`, "conflict", "null has no"},
		"move into itself":              {`"a":{"b":{}}`, `[{"op":"move","from":"/a","path":"/a/b/c"}]`, "processing", "into itself"},
		"move from nothing":             {`"a":1`, `[{"op":"move","from":"/b","path":"/a"}]`, "processing", "no member"},
		"copy from nothing":             {`"a":1`, `[{"op":"copy","from":"/b","path":"/a"}]`, "processing", "no member"},
		"remove of the resource":        {`"a":1`, `[{"op":"remove","path":""}]`, "processing", "cannot remove the whole resource"},
		"the resource becomes null":     {`"a":1`, `[{"op":"replace","path":"","value":null}]`, "processing", "null"},
		"the resource becomes a list":   {`"a":1`, `[{"op":"add","path":"","value":[1]}]`, "processing", "an array"},
		"another id":                    {``, `[{"op":"replace","path":"/id","value":"p2"}]`, "business-rule", `may not change id: it is "p1" and would be "p2"`},
		"id removed":                    {``, `[{"op":"remove","path":"/id"}]`, "business-rule", "would be null"},
		"id not a string":               {``, `[{"op":"replace","path":"/id","value":["p1"]}]`, "business-rule", "id"},
		"another type":                  {``, `[{"op":"replace","path":"/resourceType","value":"Group"}]`, "business-rule", "resourceType"},
		"too deep by its path":          {`"a":{"b":{"c":{"d":{}}}}`, `[{"op":"add","path":"/a/b/c/d/e","value":` + nested + `}]`, "processing", "nested deeper than 64"},
		"too deep by replacing":         {`"a":{"b":{"c":{"d":[1]}}}`, `[{"op":"replace","path":"/a/b/c/d/0","value":` + nested + `}]`, "processing", "nested deeper than 64"},
		"too deep by copies":            {`"a":{}`, `[` + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/a","path":"/a/a"},`, 65), ",") + `]`, "processing", "nested deeper than 64"},
		"too wide to test":              {`"a":{}`, `[{"op":"test","path":"/a","value":[{` + wide(1001) + `}]}]`, "processing", "more than 1000 members"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			current := resource(t, c.doc)
			before := string(current.AppendJSON(nil))
			_, err := store.Patch(current, []byte(c.patch))
			wantRefused(t, err, http.StatusUnprocessableEntity, c.code, c.says)
			if got := string(current.AppendJSON(nil)); got != before {
				t.Errorf("the current version was changed to %s", got)
			}
		})
	}
}

func wide(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"m%d":1`, i)
	}
	return strings.Join(members, ",")
}

func TestPatch_RefusesPatchesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	many := `[` + strings.TrimSuffix(strings.Repeat(`{"op":"remove","path":"/a"},`, 1001), ",") + `]`
	_, err := store.Patch(resource(t, `"a":1`), []byte(many))
	wantRefused(t, err, http.StatusRequestEntityTooLarge, "too-costly", "1001 operations", "limit is 1000")

	// Each copy doubles the resource.
	doubling := `[` + strings.TrimSuffix(strings.Repeat(`{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/a","value":[]},{"op":"copy","from":"/b","path":"/a/-"},{"op":"move","from":"/b","path":"/a/-"},`, 60), ",") + `]`
	_, err = store.Patch(resource(t, `"a":["`+strings.Repeat("x", 10_000)+`"]`), []byte(doubling))
	wantRefused(t, err, http.StatusUnprocessableEntity, "processing", "more than 8388608 bytes")

	// No value is deeper than a resource can be, so a longer path selects nothing.
	for _, patch := range []string{`[{"op":"remove","path":"%s"}]`, `[{"op":"move","path":"/a","from":"%s"}]`} {
		_, err = store.Patch(resource(t, `"a":1`), fmt.Appendf(nil, patch, strings.Repeat("/a", 1_000_000)))
		wantRefused(t, err, http.StatusRequestEntityTooLarge, "too-costly", "1000000 steps, at most 64")
		_, err = store.Patch(resource(t, `"a":1`), fmt.Appendf(nil, patch, strings.Repeat("/a", fhir.MaxDepth)))
		wantRefused(t, err, http.StatusUnprocessableEntity, "processing")
	}

	// Each operation shifts all elements.
	array := `"a":[1` + strings.Repeat(",1", 100_000) + `]`
	for operations, accepted := range map[int]bool{100: true, 1000: false} {
		_, err = store.Patch(resource(t, array), []byte(`[`+strings.TrimSuffix(strings.Repeat(`{"op":"add","path":"/a/0","value":1},`, operations), ",")+`]`))
		if !accepted {
			wantRefused(t, err, http.StatusRequestEntityTooLarge, "too-costly", "more than 67108864 members and elements")
		} else if err != nil {
			t.Errorf("%d operations: got %v, want that they are within the limit", operations, err)
		}
	}

	// Each operation looks for a member, or an element, among all.
	for name, large := range map[string]string{"/a/0": array, "/a/m": `"a":{"m":1` + members(100_000) + `}`} {
		_, err = store.Patch(resource(t, large), []byte(`[`+strings.TrimSuffix(strings.Repeat(`{"op":"test","path":"`+name+`","value":1},`, 1000), ",")+`]`))
		wantRefused(t, err, http.StatusRequestEntityTooLarge, "too-costly", "more than 67108864 members and elements")
	}

	// An error text does not repeat a long value in full.
	long := strings.Repeat("é", 10_000)
	_, err = store.Patch(resource(t, `"a":"`+long+`"`), []byte(`[{"op":"test","path":"/a","value":"`+long+`x"}]`))
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("got a refusal of %d bytes, want a short one", len(err.Error()))
	}
}

// On input that both implementations accept, they agree. The generated paths and
// values avoid what the other one gets wrong: it accepts indices with zeros or signs,
// replaces missing members by the path "/", compares numbers as text, and panics on a
// test of an array with null.
func TestPatch_AgreesWithAnotherImplementation(t *testing.T) {
	t.Parallel()
	steps := []string{"a", "b", "c", "0", "1", "2", "-"}
	path := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(append([]string{""}, rapid.SliceOfN(rapid.SampledFrom(steps), 1, 3).Draw(t, "steps")...), "/")
	})
	value := rapid.SampledFrom([]string{`1`, `"x"`, `true`, `{}`, `[]`, `{"a":1}`, `[1,"y"]`, `{"a":{"b":[]}}`})
	rapid.Check(t, func(t *rapid.T) {
		doc := `{"resourceType":"Patient","id":"p1","a":` + value.Draw(t, "a") + `,"b":` + value.Draw(t, "b") + `,"c":[` + value.Draw(t, "c0") + `,` + value.Draw(t, "c1") + `]}`
		var operations []string
		for range rapid.IntRange(1, 4).Draw(t, "operations") {
			op := rapid.SampledFrom([]string{"add", "remove", "replace", "move", "copy", "test"}).Draw(t, "op")
			from, to := path.Draw(t, "from"), path.Draw(t, "path")
			if op == "move" && from == to {
				continue // it refuses some of these
			}
			operations = append(operations, fmt.Sprintf(`{"op":%q,"path":%q,"from":%q,"value":%s}`, op, to, from, value.Draw(t, "value")))
		}
		patch := []byte("[" + strings.Join(operations, ",") + "]")
		o, refused := fhir.Parse([]byte(doc))
		if refused != nil {
			t.Fatal(refused)
		}
		got, refused := store.Patch(o, patch)

		decoded, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			t.Fatal(err)
		}
		options := jsonpatch.NewApplyOptions()
		options.SupportNegativeIndices = false
		want, err := decoded.ApplyWithOptions([]byte(doc), options)
		if (err != nil) != (refused != nil) {
			t.Fatalf("%s\n%s\n got %v\nwant %v", doc, patch, refused, err)
		}
		if err != nil {
			return
		}
		var a, b any
		if json.Unmarshal(got.AppendJSON(nil), &a) != nil || json.Unmarshal(want, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%s\n%s\n got %s\nwant %s", doc, patch, got.AppendJSON(nil), want)
		}
	})
}

func FuzzPatch(f *testing.F) {
	doc := `{"resourceType":"Patient","id":"p1","a":[null,{"b":1.50}],"_a":{"~":"é"}}`
	for _, seed := range []string{
		`[]`,
		`[{"op":"add","path":"/a/-","value":null}]`,
		`[{"op":"test","path":"/a","value":[null,{"b":1.5}]},{"op":"move","from":"/a/1","path":"/a/0"}]`,
		`[{"op":"copy","from":"","path":"/c"},{"op":"remove","path":"/c/a/0"},{"op":"replace","path":"/_a/~0","value":1e400}]`,
	} {
		f.Add(seed)
	}
	current, err := fhir.Parse([]byte(doc))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, patch string) {
		patched, err := store.Patch(current, []byte(patch))
		if string(current.AppendJSON(nil)) != doc {
			t.Fatalf("the current version was changed to %s", current.AppendJSON(nil))
		}
		if err != nil {
			if fhir.AsError(err).Status < 400 || len(fhir.AsError(err).Issues) == 0 {
				t.Fatalf("got %+v", err)
			}
			return
		}
		// The result can be parsed again, and is the same then.
		data := patched.AppendJSON(nil)
		again, err := fhir.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if string(again.AppendJSON(nil)) != string(data) || again.Text("id") != "p1" || again.Text("resourceType") != "Patient" {
			t.Fatalf("got %s, read back as %s", data, again.AppendJSON(nil))
		}
	})
}

// members returns members with different names, each after a comma.
func members(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `,"m%d":1`, i)
	}
	return text.String()
}
