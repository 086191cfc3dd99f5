package invariant

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// example is one official example that Validate accepts.
type example struct {
	release fhir.Release
	file    string
	object  *fhir.Object
}

func examples(t testing.TB) []example {
	t.Helper()
	var all []example
	for _, r := range fhir.Releases {
		files, err := filepath.Glob(filepath.Join(fhirtest.Spec(t, "examples", string(r)), "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples of %s (%v)", r, err)
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
			if len(r.Validate(o)) == 0 {
				all = append(all, example{r, strings.TrimSuffix(filepath.Base(file), ".json"), o})
			}
		}
	}
	return all
}

func TestExplore(t *testing.T) {
	for _, x := range examples(t) {
		issues, failures := check(x.release, x.object, func(r *rule, f *focus, native, asked verdict, err error) {
			if r.answer != nil && native != asked {
				t.Logf("%s %s %s %s: native %d, asked %d, %v", x.release, x.file, r.key, place(x.object, f.at), native, asked, err)
			}
		})
		for _, i := range issues {
			t.Logf("%s %s: %v", x.release, x.file, i)
		}
		for _, f := range failures {
			t.Logf("%s %s: FAIL %v", x.release, x.file, f)
		}
	}
	for _, r := range fhir.Releases {
		for _, s := range Unevaluated(r) {
			t.Log(r, s)
		}
	}
}

func BenchmarkExamples(b *testing.B) {
	for _, want := range []string{"encounter-example", "observation-example", "patient-example", "bundle-example"} {
		for _, x := range examples(b) {
			if x.file != want || x.release != fhir.R5 {
				continue
			}
			b.Run(want+"/check", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Check(x.release, x.object)
				}
			})
			b.Run(want+"/validate", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					x.release.Validate(x.object)
				}
			})
		}
	}
}
