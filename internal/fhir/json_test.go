package fhir_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestParse_RefusesInvalidInput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ body, says, where string }{
		"nothing":                   {"", "empty", "line 1, column 1"},
		"white space":               {" \n\t", "empty", "line 2, column 2"},
		"array":                     {"[]", "starts with {", "line 1, column 1"},
		"string":                    {`"a"`, "starts with {", ""},
		"null":                      {"null", "starts with {", ""},
		"byte order mark":           {"\ufeff{}", "starts with {", ""},
		"XML":                       {"<Patient/>", "starts with {", ""},
		"ends in an object":         {"{", "the end of the body", "line 1, column 2"},
		"ends after a name":         {`{"a"`, "the end of the body", ""},
		"ends after a colon":        {`{"a":`, "the end of the body", ""},
		"ends in a string":          {`{"a":"b`, "inside a string", ""},
		"ends in an escape":         {`{"a":"\`, "inside a string", ""},
		"ends in a unicode escape":  {`{"a":"\u00`, "inside an escape", ""},
		"ends in an array":          {`{"a":[1`, "the end of the body", ""},
		"ends in a word":            {`{"a":tru`, "expected true", ""},
		"more than one object":      {"{}\n{}", "after the end", "line 2, column 1"},
		"a number that is too long": {`{"a":1` + strings.Repeat("0", 1000) + `}`, "at most 1000 characters", "line 1, column 6"},
		"closed twice":              {"{}}", "after the end", ""},
		"comment":                   {"{\n // x\n}", "comment", "line 2, column 2"},
		"comment in a block":        {`{"a":1 /* x */}`, "comment", ""},
		"trailing comma":            {`{"a":1,}`, "name of a member", ""},
		"trailing comma of a list":  {`{"a":[1,]}`, "expected a value", ""},
		"no comma":                  {`{"a":1 "b":2}`, "expected , or }", ""},
		"name without quotes":       {`{a:1}`, "name of a member", ""},
		"single quotes":             {`{'a':1}`, "name of a member", ""},
		"member twice":              {"{\"a\":1,\n\"a\":2}", `duplicate member "a"`, "line 2, column 1"},
		"nested member twice":       {`{"a":[{"b":1,"b":1}]}`, `duplicate member "b"`, ""},
		"member twice by an escape": {`{"a":1,"\u0061":2}`, `duplicate member "a"`, ""},
		"invalid UTF-8":             {"{\"ä\":\"\xff\"}", "UTF-8", "line 1, column 7"},
		"invalid UTF-8 in a name":   {"{\"\xc3\":1}", "UTF-8", ""},
		"surrogate as bytes":        {"{\"a\":\"\xed\xa0\x80\"}", "UTF-8", ""},
		"lone high surrogate":       {`{"a":"\ud800"}`, "surrogate", ""},
		"lone low surrogate":        {`{"a":"\udc00x"}`, "surrogate", ""},
		"two high surrogates":       {`{"a":"\ud800\ud800"}`, "surrogate", ""},
		"unknown escape":            {`{"a":"\x41"}`, `\x`, ""},
		"escape that is not hex":    {`{"a":"\u00zz"}`, "hexadecimal", ""},
		"escape with a sign":        {`{"a":"\u+123"}`, "hexadecimal", ""},
		"line end in a string":      {"{\"a\":\"b\nc\"}", "control character", ""},
		"leading zero":              {`{"a":01}`, "expected , or }", ""},
		"leading plus":              {`{"a":+1}`, "expected a value", ""},
		"only a minus":              {`{"a":-}`, "digit", ""},
		"no digit after the point":  {`{"a":1.}`, "digit", ""},
		"no digit before the point": {`{"a":.5}`, "expected a value", ""},
		"no exponent":               {`{"a":1e}`, "digit", ""},
		"NaN":                       {`{"a":NaN}`, "expected a value", ""},
		"hexadecimal":               {`{"a":0x10}`, "expected , or }", ""},
		"upper case word":           {`{"a":True}`, "expected a value", ""},
		"65 levels of objects":      {nested(`{"a":`, fhir.MaxDepth+1, `1`, `}`), "64 levels", ""},
		"65 levels of arrays":       {`{"a":` + nested(`[`, fhir.MaxDepth, `1`, `]`) + `}`, "64 levels", ""},
		"a million brackets":        {`{"a":` + strings.Repeat("[", 1_000_000), "64 levels", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := fhir.Parse([]byte(test.body))
			if err == nil {
				t.Fatalf("accepted as %s", o.AppendJSON(nil))
			}
			if fhir.AsError(err).Status != 400 || fhir.CodeOf(err) != "structure" {
				t.Errorf("got %d %s, want 400 structure", fhir.AsError(err).Status, fhir.CodeOf(err))
			}
			if text := err.Error(); !strings.Contains(text, test.says) || !strings.Contains(text, test.where) {
				t.Errorf("got %q, want something with %q at %q", text, test.says, test.where)
			}
		})
	}
}

func nested(open string, depth int, core, end string) string {
	return strings.Repeat(open, depth) + core + strings.Repeat(end, depth)
}

func TestParse_KeepsTheText(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"order":       `{"b":1,"a":{"z":1,"y":2},"c":[3,2,1]}`,
		"numbers":     `{"a":[1.0,1.10,-0,0.5e-10,1E+5,123456789012345678901234567890]}`,
		"values":      `{"a":[true,false,null,"",{},[]]}`,
		"text":        `{"a":"<b> & ä 漢 😀 \" \\ / \n\r\t"}`,
		"controls":    `{"a":"\u0000\u0001\u001f"}`,
		"depth":       nested(`{"a":`, fhir.MaxDepth, `1`, `}`),
		"empty":       `{}`,
		"empty names": `{"":{"":1}}`,
		"separators":  "{\"a\":\"\u2028\u2029\u007f\"}",
	} {
		if got := string(parse(t, body).AppendJSON(nil)); got != body {
			t.Errorf("%s: got %s, want %s", name, got, body)
		}
	}
}

// Large objects are searched in a different way from small ones.
func TestParse_FindsADuplicateMemberInALargeObject(t *testing.T) {
	t.Parallel()
	for size := 1; size < 100; size++ {
		var body strings.Builder
		for i := range size {
			fmt.Fprintf(&body, `"x%d":1,`, i)
		}
		for twice := range size {
			if o, err := fhir.Parse(fmt.Appendf(nil, `{%s"x%d":2}`, &body, twice)); err == nil {
				t.Fatalf("accepted %d members with x%d twice: %s", size, twice, o.AppendJSON(nil))
			}
		}
		if o := parse(t, "{"+body.String()+`"last":2}`); o.Len() != size+1 {
			t.Fatalf("got %d members, want %d", o.Len(), size+1)
		}
	}
}

func TestParse_DecodesEscapes(t *testing.T) {
	t.Parallel()
	o := parse(t, `{"\u0061":"\u00e4\ud83d\ude00\/\b\f\n\r\t\"\\"}`)
	if got, want := o.Text("a"), "ä😀/\b\f\n\r\t\"\\"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := string(o.AppendJSON(nil)), `{"a":"ä😀/\u0008\u000c\n\r\t\"\\"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParse_SkipsWhiteSpace(t *testing.T) {
	t.Parallel()
	o := parse(t, " {\r\n\t\"a\" : [ 1 , { } ] , \"b\" : null } \n")
	if got, want := string(o.AppendJSON(nil)), `{"a":[1,{}],"b":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestObject_IsAnOrderedMap(t *testing.T) {
	t.Parallel()
	o := fhir.NewObject("a", "1", "b", json.Number("2"), "c", []any{true, nil}, "d", fhir.NewObject("e", "f"))
	o.Set("b", false)
	o.Set("z", nil)
	o.SetFirst("c", "first")
	o.SetFirst("new", "x")
	o.Delete("a")
	o.Delete("missing")
	if got, want := string(o.AppendJSON([]byte("x"))), `x{"new":"x","c":"first","b":false,"d":{"e":"f"},"z":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if names := o.Names(); o.Len() != 5 || !slices.Equal(names, []string{"new", "c", "b", "d", "z"}) {
		t.Errorf("got %d members %q", o.Len(), names)
	}
	if !o.Has("z") || o.Has("a") || o.Get("z") != nil || o.Get("a") != nil {
		t.Error("a null member is present, a deleted one is not")
	}
	if o.Text("b") != "" || o.Object("c") != nil || o.Array("c") != nil || o.Object("d").Text("e") != "f" {
		t.Error("typed access returned a value of another type")
	}
}

func TestObject_NilIsEmpty(t *testing.T) {
	t.Parallel()
	var o *fhir.Object
	if o.Len() != 0 || o.Has("a") || o.Get("a") != nil || o.Text("a") != "" || o.Object("a").Object("b") != nil || o.Array("a") != nil || len(o.Names()) != 0 || o.Clone() != nil {
		t.Error("a nil object is not empty")
	}
}

func TestObject_CloneSharesNothing(t *testing.T) {
	t.Parallel()
	const body = `{"a":{"b":[{"c":1},["d"]]}}`
	o := parse(t, body)
	c := o.Clone()
	list := c.Object("a").Array("b")
	list[0].(*fhir.Object).Set("c", "changed")
	list[1].([]any)[0] = "changed"
	c.Object("a").Set("new", true)
	c.Delete("a")
	if got := string(o.AppendJSON(nil)); got != body {
		t.Errorf("a change of the clone reached the original: %s", got)
	}
}

func TestIndent_KeepsTheDocument(t *testing.T) {
	t.Parallel()
	compact := []byte(`{"a":[1.0,{"b":"<&>"}]}`)
	pretty := fhir.Indent(compact)
	if want := "{\n  \"a\": [\n    1.0,\n    {\n      \"b\": \"<&>\"\n    }\n  ]\n}\n"; string(pretty) != want {
		t.Errorf("got %s, want %s", pretty, want)
	}
	if got := fhir.Indent([]byte("{")); string(got) != "{" {
		t.Errorf("invalid JSON came back as %q", got)
	}
}

// FuzzParse checks that accepted input is also JSON to encoding/json and round-trips,
// and that input encoding/json refuses is refused.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1.0,-0,1e5,"\ud83d\ude00",true,null,{"b":{}}]}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"\u0000":"\u001f\u2028"}`, ` { "a" : [ ] } `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := fhir.Parse(data)
		if err != nil {
			if fhir.AsError(err).Status != 400 || fhir.CodeOf(err) != "structure" || !strings.Contains(err.Error(), "line ") {
				t.Errorf("refused by %v", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("accepts what encoding/json refuses: %q", data)
		}
		once := o.AppendJSON(nil)
		again, err := fhir.Parse(once)
		if err != nil {
			t.Fatalf("wrote %s, which it refuses: %v", once, err)
		}
		if twice := again.AppendJSON(nil); !bytes.Equal(once, twice) {
			t.Fatalf("wrote %s, read it and wrote %s", once, twice)
		}
		if c := o.Clone().AppendJSON(nil); !bytes.Equal(once, c) {
			t.Fatalf("the clone of %s is %s", once, c)
		}
		var theirs, ours any
		if json.Unmarshal(data, &theirs) == nil && json.Unmarshal(once, &ours) == nil {
			a, _ := json.Marshal(theirs)
			b, _ := json.Marshal(ours)
			if !bytes.Equal(a, b) {
				t.Fatalf("read %s as %s", a, b)
			}
		}
		fhir.R5.Validate(o) // must end without a panic
	})
}

func BenchmarkParse_LargestExample(b *testing.B) {
	fhirtest.Spec(b)
	var data []byte
	for _, file := range fhirtest.Examples(b, fhir.R5) {
		if d, err := os.ReadFile(file); err == nil && len(d) > len(data) {
			data = d
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := fhir.Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
