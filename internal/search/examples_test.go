package search_test

import (
	"encoding/json"
	"maps"
	"os"
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

// definition is an entry of HL7's list of search parameters, which the package
// itself does not read.
type definition struct {
	URL        string   `json:"url"`
	Code       string   `json:"code"`
	Base       []string `json:"base"`
	Type       string   `json:"type"`
	Expression string   `json:"expression"`
}

func definitions(t testing.TB, r fhir.Release) []definition {
	t.Helper()
	data, err := os.ReadFile(fhirtest.Spec(t, "search-parameters."+string(r)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []definition
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// examples returns HL7's examples, including the resources inside bundles.
func examples(t testing.TB, r fhir.Release) []*fhir.Resource {
	t.Helper()
	var all []*fhir.Resource
	var add func(o *fhir.Object)
	add = func(o *fhir.Object) {
		all = append(all, fhir.NewResource(r, o))
		for _, entry := range o.Array("entry") {
			if inner := entry.(*fhir.Object).Object("resource"); inner != nil {
				add(inner)
			}
		}
	}
	for _, file := range fhirtest.Examples(t, r) {
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

// Every supported parameter of every release can be evaluated on every official
// example, and the shortcut for plain paths finds what the FHIRPath engine finds for
// HL7's whole expression. The test counts the parameters that have a value in an
// example.
func TestValues_AgreeWithTheEngineOnTheExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: seconds of FHIRPath")
	}
	t.Parallel()
	for _, r := range fhir.Releases {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			agree(t, r)
		})
	}
}

func agree(t *testing.T, r fhir.Release) {
	expressions := map[string]string{}
	for _, d := range definitions(t, r) {
		expressions[d.URL] = d.Expression
	}
	compiled := map[string]*fhirpath.Expr{}
	evaluated, found, refusedByEngine := 0, 0, map[string]bool{}
	asked, yielding := map[string]bool{}, map[string]bool{} // "Type.code"
	for _, res := range examples(t, r) {
		for _, p := range search.Parameters(r, res.Type) {
			if !p.Supported() {
				continue
			}
			name := p.Resource + "." + p.Name
			asked[name] = true
			got, err := p.Values(res)
			if err != nil {
				t.Errorf("%s of %s: %v", p.Name, res.Reference(), err)
				continue
			}
			if len(got) == 0 && expressions[p.URL] == "" {
				continue // about the resource as a whole
			}
			if len(got) > 0 {
				yielding[name] = true
			}
			if p.Name == "_in" {
				continue // its expression is the id, which does not include the groups
			}
			expr := compiled[p.URL]
			if expr == nil {
				if expr, err = fhirpath.Compile(expressions[p.URL], fhirpath.Options{}); err != nil {
					t.Fatalf("%s: %v", p.URL, err)
				}
				compiled[p.URL] = expr
			}
			result, err := expr.Eval(t.Context(), r, res.JSON, nil)
			if err != nil {
				// The engine cannot cast more than one item; a path casts each.
				if !refusedByEngine[p.URL] {
					t.Logf("%s: %v", p.URL, err)
				}
				refusedByEngine[p.URL] = true
				continue
			}
			evaluated++
			found += len(got)
			if diff := cmp.Diff(canonical(fhirpath.Values(result)), canonical(got)); diff != "" {
				t.Errorf("%s of %s, %s (- engine, + package):\n%s", p.Name, res.Reference(), expressions[p.URL], diff)
			}
		}
	}
	all := 0
	for _, typ := range r.ResourceTypes() {
		for _, p := range search.Parameters(r, typ) {
			if p.Supported() {
				all++
			}
		}
	}
	t.Logf("%d parameters of types with an example of %d, %d have a value on one; %d comparisons, %d values, %d expressions only the package evaluates",
		len(asked), all, len(yielding), evaluated, found, len(refusedByEngine))
	if evaluated < 300 || found < 300 || len(yielding) < 100 {
		t.Errorf("only %d comparisons with %d values: the examples are not what was expected", evaluated, found)
	}
}

// The engine keeps only milliseconds of a time, and writes UTC as Z.
var (
	finer = regexp.MustCompile(`(:\d\d\.\d\d\d)\d+`)
	zeros = regexp.MustCompile(`(\d\.\d*?)0+([,}])`) // of equal decimals a union has one
	utc   = regexp.MustCompile(`(T[0-9:.]+)[+-]00:00$`)
)

// canonical returns values as texts, each once, in a fixed order: a union has no
// order and no duplicates.
func canonical(values []any) []string {
	var texts []string
	for _, v := range values {
		switch v := v.(type) {
		case *fhir.Object:
			texts = append(texts, zeros.ReplaceAllString(string(v.AppendJSON(nil)), "$1$2"))
		case string:
			texts = append(texts, utc.ReplaceAllString(finer.ReplaceAllString(v, "$1"), "${1}Z"))
		case json.Number:
			texts = append(texts, strings.TrimSuffix(v.String(), ".0"))
		case bool:
			texts = append(texts, map[bool]string{true: "true", false: "false"}[v])
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// Each parameter of each type of each release compiles, even if no example has it.
func TestParameters_CompileForEveryType(t *testing.T) {
	t.Parallel()
	for _, r := range fhir.Releases {
		count, unsupported := 0, map[string]bool{}
		for _, typ := range r.ResourceTypes() {
			empty := fhir.NewResource(r, fhir.NewObject("resourceType", typ))
			for _, p := range search.Parameters(r, typ) {
				if !p.Supported() {
					unsupported[p.URL] = true
					continue
				}
				count++
				if values, err := p.Values(empty); err != nil {
					t.Errorf("%s: %s of %s: %v", r, p.Name, typ, err)
				} else if len(values) != 0 && p.Name != "deceased" && p.Type != "composite" { // "exists() and …"; the resource itself
					t.Errorf("%s: %s of an empty %s: got %v", r, p.Name, typ, values)
				}
			}
		}
		t.Logf("%s: %d parameters; not supported: %v", r, count, slices.Sorted(maps.Keys(unsupported)))
	}
}

// unsupported lists the parameters that cannot be evaluated, with the reason.
var unsupported = map[string]string{
	"R5 Resource-filter":                  "a language of its own",
	"R4B Resource-filter":                 "a language of its own",
	"R5 Resource-has":                     "write it as _has:Type:reference:parameter",
	"R4B Resource-has":                    "write it as _has:Type:reference:parameter",
	"R5 Resource-query":                   "names queries of a server; this one has none",
	"R4B Resource-query":                  "names queries of a server; this one has none",
	"R4 Resource-query":                   "names queries of a server; this one has none",
	"R5 ImagingStudy-reason ImagingStudy": "HL7 defines no expression",
	"R5 Medication-form Medication":       "HL7 defines no expression",
	"R5 MedicationKnowledge-packaging-cost MedicationKnowledge":         "HL7 defines no expression",
	"R5 MedicationKnowledge-packaging-cost-concept MedicationKnowledge": "HL7 defines no expression",
	"R5 clinical-date CareTeam":                                         "its expression has no part for this type",
	"R5 MetadataResource-topic EvidenceVariable":                        "its expression has no part for this type",
	"R5 Device-code-value-concept Device":                               "its parts are not among the facts this server has",
	"R5 Location-contains Location":                                     "needs the geometry of a GeoJSON boundary",
}

// The built-in tables have every parameter HL7 defines, for every type it applies to,
// and evaluate all but those in unsupported.
func TestParameters_AreThoseOfHL7(t *testing.T) {
	t.Parallel()
	unused := maps.Clone(unsupported)
	for _, r := range fhir.Releases {
		for _, d := range definitions(t, r) {
			name := strings.TrimPrefix(d.URL, "http://hl7.org/fhir/SearchParameter/")
			bases := d.Base
			if slices.Contains(bases, "Resource") || slices.Contains(bases, "DomainResource") {
				bases = append(bases, "Patient")
			}
			for _, base := range bases {
				if !r.IsResourceType(base) {
					continue // Resource, DomainResource
				}
				p, ok := search.Lookup(r, base, d.Code)
				if !ok {
					t.Errorf("%s: %s has no %s", r, base, d.Code)
					continue
				}
				if p.Type != d.Type && d.Code != "_text" { // which R5 defines twice
					t.Errorf("%s: %s of %s is a %s, want %s", r, d.Code, base, p.Type, d.Type)
				}
				if byURL, ok := search.Lookup(r, base, d.URL); d.Code != "_text" && (!ok || byURL.Name != d.Code) {
					t.Errorf("%s: %s is not found on %s", r, d.URL, base)
				}
				key := string(r) + " " + name
				if !strings.HasPrefix(name, "Resource-") {
					key += " " + base
				}
				reason, known := unsupported[key]
				if known == p.Supported() {
					t.Errorf("%s: supported %v, but the list says %q", key, p.Supported(), reason)
				}
				delete(unused, key)
			}
		}
	}
	for name := range unused {
		t.Errorf("%s is on the list of what is not supported, but no such parameter exists", name)
	}
}
