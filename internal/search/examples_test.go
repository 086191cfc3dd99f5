package search_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/fhirpath"
	"signalfhir/internal/search"
)

// definition is what the test reads of HL7's list of search parameters, which
// is not what the package reads.
type definition struct {
	URL        string   `json:"url"`
	Code       string   `json:"code"`
	Base       []string `json:"base"`
	Type       string   `json:"type"`
	Expression string   `json:"expression"`
}

func definitions(t testing.TB) []definition {
	t.Helper()
	data, err := os.ReadFile(fhirtest.Spec(t, "search-parameters.R5.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []definition
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// examples reads HL7's examples, the resources inside bundles too.
func examples(t testing.TB) []*fhir.Resource {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fhirtest.Spec(t, "examples", "R5"), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples (%v)", err)
	}
	var all []*fhir.Resource
	var add func(o *fhir.Object)
	add = func(o *fhir.Object) {
		all = append(all, fhir.NewResource(fhir.R5, o))
		for _, entry := range o.Array("entry") {
			if inner := entry.(*fhir.Object).Object("resource"); inner != nil {
				add(inner)
			}
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, refused := fhir.Parse(data)
		if refused != nil {
			t.Fatalf("%s: %v", file, refused)
		}
		add(o)
	}
	return all
}

// Every parameter of a type that is said to be supported can be evaluated on
// every official example, and the shortcut for plain paths finds what the
// FHIRPath engine finds for HL7's whole expression.
func TestValues_AgreeWithTheEngineOnTheExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: seconds of FHIRPath")
	}
	t.Parallel()
	byURL := map[string]definition{}
	for _, d := range definitions(t) {
		byURL[d.URL] = d
	}
	compiled := map[string]*fhirpath.Expr{}
	evaluated, found, refusedByEngine := 0, 0, map[string]bool{}
	for _, res := range examples(t) {
		for _, p := range search.Parameters(fhir.R5, res.Type) {
			if !p.Supported() {
				continue
			}
			got, err := p.Values(res)
			if err != nil {
				t.Errorf("%s of %s: %v", p.Name, res.Reference(), err)
				continue
			}
			d, ok := byURL[p.URL]
			if !ok {
				t.Fatalf("%s of %s has the unknown URL %s", p.Name, p.Resource, p.URL)
			}
			expr := compiled[p.URL]
			if expr == nil {
				if expr, err = fhirpath.Compile(d.Expression, fhirpath.Options{}); err != nil {
					t.Fatalf("%s: %v", p.URL, err)
				}
				compiled[p.URL] = expr
			}
			result, err := expr.Eval(fhir.R5, res.JSON, nil)
			if err != nil {
				// The engine has no cast of more than one item; a path takes each.
				if !refusedByEngine[p.URL] {
					t.Logf("%s: %v", p.URL, err)
				}
				refusedByEngine[p.URL] = true
				continue
			}
			evaluated++
			found += len(got)
			if diff := cmp.Diff(canonical(fhirpath.Values(result)), canonical(got)); diff != "" {
				t.Errorf("%s of %s, %s (- engine, + package):\n%s", p.Name, res.Reference(), d.Expression, diff)
			}
		}
	}
	t.Logf("%d parameters on examples compared, %d values, %d expressions only the package evaluates", evaluated, found, len(refusedByEngine))
	if evaluated < 1000 || found < 1000 {
		t.Errorf("only %d comparisons with %d values: the examples are not what was expected", evaluated, found)
	}
}

// The engine keeps no more of a time than milliseconds, and writes UTC as Z.
var (
	finer = regexp.MustCompile(`(:\d\d\.\d\d\d)\d+`)
	utc   = regexp.MustCompile(`(T[0-9:.]+)[+-]00:00$`)
)

// canonical is values as texts, each once, in a fixed order: a union has no
// order and no duplicates.
func canonical(values []any) []string {
	var texts []string
	for _, v := range values {
		switch v := v.(type) {
		case *fhir.Object:
			texts = append(texts, string(v.AppendJSON(nil)))
		case string:
			texts = append(texts, utc.ReplaceAllString(finer.ReplaceAllString(v, "$1"), "${1}Z"))
		case json.Number:
			texts = append(texts, v.String())
		case bool:
			texts = append(texts, map[bool]string{true: "true", false: "false"}[v])
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// Each supported parameter of each type compiles, whether an example has it or not.
func TestParameters_CompileForEveryType(t *testing.T) {
	t.Parallel()
	count := 0
	for _, typ := range fhir.R5.ResourceTypes() {
		empty := parse(t, typ, "")
		for _, p := range search.Parameters(fhir.R5, typ) {
			if !p.Supported() {
				continue
			}
			count++
			if values, err := p.Values(empty); err != nil {
				t.Errorf("%s of %s: %v", p.Name, typ, err)
			} else if len(values) != 0 && p.Name != "_id" && p.Name != "deceased" { // deceased asks for "exists() and …"
				t.Errorf("%s of an empty %s: got %v", p.Name, typ, values)
			}
		}
	}
	t.Logf("%d parameters", count)
}

// The built-in table has every parameter HL7 defines, for every type it is for.
func TestParameters_AreThoseOfHL7(t *testing.T) {
	t.Parallel()
	for _, d := range definitions(t) {
		for _, base := range d.Base {
			if !fhir.R5.IsResourceType(base) {
				continue // Resource, DomainResource
			}
			p, ok := search.Lookup(fhir.R5, base, d.Code)
			if !ok {
				t.Errorf("%s has no %s", base, d.Code)
				continue
			}
			if p.Type != d.Type {
				t.Errorf("%s of %s is a %s, want %s", d.Code, base, p.Type, d.Type)
			}
			if byURL, ok := search.Lookup(fhir.R5, base, d.URL); !ok || byURL.Name != d.Code {
				t.Errorf("%s is not found on %s", d.URL, base)
			}
			if wanted := slices.Contains([]string{"token", "reference", "string", "date", "uri"}, d.Type) && d.Expression != "" && strings.Contains(d.Expression, base); wanted && !p.Supported() {
				t.Errorf("%s of %s is not supported", d.Code, base)
			}
		}
	}
}
