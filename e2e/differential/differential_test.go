// Package differential_test evaluates HL7's search parameters on HL7's examples with
// internal/fhirpath and with HL7's own engine, the npm package fhirpath, and compares the
// results.
package differential_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/fhirpath"
)

// evaluation is one line of evaluate.mjs.
type evaluation struct {
	Release    fhir.Release `json:"release"`
	File       string       `json:"file"`
	Entry      int          `json:"entry"`
	URL        string       `json:"url"`
	Expression string       `json:"expression"`
	Values     []any        `json:"values"`
	Error      string       `json:"error"`
}

// fewest has the least number of pairs per release, and of those with values. It shows that
// the expected examples are there.
var fewest = map[fhir.Release][2]int{fhir.R4: {1600, 800}, fhir.R4B: {1900, 900}, fhir.R5: {2800, 1100}}

func TestEngine_AgreesWithHL7s(t *testing.T) {
	t.Parallel()
	byRelease := evaluations(t)
	known := listed(t, "differences.txt")
	for _, release := range fhir.Releases {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			pairs, withValues, refused := 0, 0, 0
			found, resources, compiled := differences{}, reader{}, map[string]*fhirpath.Expr{}
			for _, e := range byRelease[release] {
				expr := compiled[e.Expression]
				if expr == nil {
					var err error
					if expr, err = fhirpath.Compile(e.Expression, fhirpath.Options{}); err != nil {
						t.Fatalf("%s: %v", e.URL, err)
					}
					compiled[e.Expression] = expr
				}
				result, err := expr.Eval(t.Context(), release, resources.read(t, e), nil)
				theirs, ours := canonical(t, e.Values), canonical(t, fhirpath.Values(result))
				switch {
				case err != nil && e.Error != "":
					refused++
				case err != nil:
					found.add(e, "ours-fails", fmt.Sprintf("theirs %v, ours fails: %v", theirs, err))
				case e.Error != "":
					found.add(e, "theirs-fails", fmt.Sprintf("theirs fails: %.200s, ours %v", e.Error, ours))
				case !slices.Equal(theirs, ours):
					found.add(e, "values", fmt.Sprintf("theirs %v, ours %v", theirs, ours))
				}
				pairs++
				if len(theirs) > 0 || len(ours) > 0 {
					withValues++
				}
			}
			t.Logf("%d pairs of a parameter and a resource compared, %d have values, %d fail in both engines, %d differ", pairs, withValues, refused, found.pairs())
			if least := fewest[release]; pairs < least[0] || withValues < least[1] {
				t.Errorf("%d pairs with %d values, want at least %v", pairs, withValues, least)
			}
			found.compare(t, known.of(release))
		})
	}
}

// evaluations returns the results of HL7's engine for every parameter and example.
func evaluations(t *testing.T) map[fhir.Release][]evaluation {
	spec := fhirtest.Spec(t)
	if _, err := os.Stat(filepath.Join("node_modules", "fhirpath")); err != nil {
		if os.Getenv("SIGNALFHIR_DIFFERENTIAL_REQUIRED") == "1" {
			t.Fatal("HL7's FHIRPath engine is not installed: npm ci in e2e/differential")
		}
		t.Skip("skipped: HL7's FHIRPath engine is not installed; npm ci in e2e/differential does")
	}
	command := exec.CommandContext(t.Context(), "node", "evaluate.mjs", spec)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("evaluate.mjs: %v", err)
	}
	all := map[fhir.Release][]evaluation{}
	lines := json.NewDecoder(bytes.NewReader(output))
	lines.UseNumber()
	for {
		var e evaluation
		if err := lines.Decode(&e); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("evaluate.mjs: %v", err)
		}
		all[e.Release] = append(all[e.Release], e)
	}
}

// reader reads the resources that evaluations name, each file once.
type reader map[string]*fhir.Object

func (r reader) read(t *testing.T, e evaluation) []byte {
	path := fhirtest.Spec(t, "examples", string(e.Release), e.File)
	if r[path] == nil {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		o, refused := fhir.Parse(data)
		if refused != nil {
			t.Fatalf("%s: %v", path, refused)
		}
		r[path] = o
	}
	o := r[path]
	if e.Entry >= 0 {
		o = o.Array("entry")[e.Entry].(*fhir.Object).Object("resource")
	}
	return o.AppendJSON(nil)
}

// canonical returns values as JSON that is the same for equal values, in a fixed order: a
// union has none.
func canonical(t *testing.T, values []any) []string {
	texts := []string{}
	for _, v := range values {
		if o, ok := v.(*fhir.Object); ok {
			decoder := json.NewDecoder(bytes.NewReader(o.AppendJSON(nil)))
			decoder.UseNumber()
			var tree any // not v: a decoder fills what is in an interface already
			if err := decoder.Decode(&tree); err != nil {
				t.Fatal(err)
			}
			v = tree
		}
		text, err := json.Marshal(byValue(v))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	return texts
}

// byValue replaces every number in a value by a fraction, so that 1.0 and 1 are equal.
func byValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		if fraction, ok := new(big.Rat).SetString(v.String()); ok {
			return fraction
		}
	case map[string]any:
		for name, member := range v {
			v[name] = byValue(member)
		}
	case []any:
		for i, item := range v {
			v[i] = byValue(item)
		}
	}
	return v
}

// differences are pairs that differ, by "<release> <url> <kind>".
type differences map[string]*difference

type difference struct {
	pairs   int
	example string
}

func (d differences) add(e evaluation, kind, text string) {
	key := fmt.Sprintf("%s %s %s", e.Release, e.URL, kind)
	if d[key] == nil {
		d[key] = &difference{example: fmt.Sprintf("%s, entry %d, %.200s\n    %s", e.File, e.Entry, e.Expression, text)}
	}
	d[key].pairs++
}

func (d differences) pairs() int {
	n := 0
	for _, one := range d {
		n += one.pairs
	}
	return n
}
