package fhir

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// These tests are internal: how tables are loaded has no exported surface.

func fresh() *tables {
	t := &tables{}
	t.load = sync.OnceFunc(func() { t.unpack(R5) })
	return t
}

func TestTables_EveryTypeOfEveryReleaseIsReadable(t *testing.T) {
	t.Parallel()
	for _, r := range Releases {
		tables := r.tables()
		if len(tables.blocks) < 150 || len(tables.names) < 100 || len(tables.codes) < 100 {
			t.Errorf("%s: only %d types, %d resources, %d value sets", r, len(tables.blocks), len(tables.names), len(tables.codes))
		}
		for name := range tables.blocks {
			typ := tables.typ(name)
			if typ.name != name || typ.base != "" && tables.typ(typ.base) == nil {
				t.Errorf("%s: %s has base %q, which is not a type", r, name, typ.base)
			}
			for path, e := range typ.elements {
				if e.ref != "" && tables.find(e.ref) == nil {
					t.Errorf("%s: %s has the content of %s, which is not an element", r, e.path, e.ref)
				}
				if e.binding != "" && len(tables.codes[e.binding]) == 0 {
					t.Errorf("%s: %s is bound to %s, which has no codes", r, e.path, e.binding)
				}
				if path != "" && e.ref == "" && len(e.types) == 0 {
					t.Errorf("%s: %s has no type", r, e.path)
				}
				for _, used := range e.types {
					if !strings.Contains(used, "/") && tables.typ(used) == nil {
						t.Errorf("%s: %s has unknown type %q", r, e.path, used)
					}
				}
			}
		}
	}
}

// The tables match the specification: every type and every element with its
// cardinality.
func TestTables_MatchTheSpecification(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("SIGNALFHIR_SPEC")
	if folder == "" {
		folder = "../../../shared/spec"
	}
	for _, r := range Releases {
		data, err := os.ReadFile(folder + "/elements." + string(r) + ".json")
		if err != nil {
			if os.Getenv("SIGNALFHIR_SPEC_REQUIRED") == "1" {
				t.Fatal(err)
			}
			t.Skipf("skipped: %v; name the specification's folder by SIGNALFHIR_SPEC", err)
		}
		var types map[string]struct {
			Kind     string
			Abstract bool
			Elements []struct {
				Path, Max string
				Min       int
				Type      []string
				Ref       string
			}
		}
		if err := json.Unmarshal(data, &types); err != nil {
			t.Fatal(err)
		}
		concrete := 0
		for name, want := range types {
			if got := want.Kind == "resource" && !want.Abstract; got != r.IsResourceType(name) {
				t.Errorf("%s: IsResourceType(%s) is %t", r, name, !got)
			} else if got {
				concrete++
			}
			typ := r.tables().typ(name)
			if typ == nil {
				t.Errorf("%s: %s is missing", r, name)
				continue
			}
			for _, e := range want.Elements {
				if e.Path == name || e.Max == "0" {
					continue
				}
				got := typ.elements[strings.TrimPrefix(e.Path, name+".")]
				if got == nil || got.min != e.Min || got.many != (e.Max == "*") || got.ref != e.Ref || !slices.Equal(got.types, e.Type) {
					t.Errorf("%s: %s is %+v, want %+v", r, e.Path, got, e)
				}
			}
		}
		if types := r.ResourceTypes(); len(types) != concrete || !slices.IsSorted(types) {
			t.Errorf("%s: %d resource types, want %d in order", r, len(types), concrete)
		}
	}
}

func TestTables_FirstUseByManyAtOnce(t *testing.T) {
	t.Parallel()
	tables := fresh()
	var group sync.WaitGroup
	found := make([]*typeTable, 50)
	for i := range found {
		group.Go(func() {
			tables.load()
			found[i] = tables.typ("Patient")
		})
	}
	group.Wait()
	for _, typ := range found {
		if typ == nil || typ != found[0] {
			t.Fatal("not all got the same table of Patient")
		}
	}
}

func TestResourceTypes_CannotBeChangedByTheCaller(t *testing.T) {
	t.Parallel()
	R5.ResourceTypes()[0] = "x"
	if R5.ResourceTypes()[0] == "x" {
		t.Error("a change of the result reached the tables")
	}
}

// BenchmarkTables_FirstUse measures what the first request of a process pays.
func BenchmarkTables_FirstUse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		tables := fresh()
		tables.load()
		for _, name := range []string{"Observation", "CodeableConcept", "Coding", "Reference", "Quantity", "Meta"} {
			tables.typ(name)
		}
	}
}

// BenchmarkTables_AllTypes measures the memory of a release with all types used.
func BenchmarkTables_AllTypes(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		tables := fresh()
		tables.load()
		for name := range tables.blocks {
			tables.typ(name)
		}
	}
}
