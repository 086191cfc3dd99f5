package invariant

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
)

//go:generate go run ./gen R5 R4B R4

//go:embed tables/*.gz
var tableFiles embed.FS

// rule is one invariant of one type or element.
type rule struct {
	key, expression string
	native          func(*focus) verdict // nil: evaluated by the FHIRPath engine
	compile         func() (*fhirpath.Expr, error)
}

// verdict is the result of evaluating a rule.
type verdict int

const (
	holds verdict = iota
	broken
	silent  // the expression gives nothing, neither true nor false
	unknown // not evaluated, which refuses nothing
)

// table holds the rules of a release, loaded on the first write to it.
type table struct {
	release fhir.Release
	model   fhir.PathModel
	load    func() // unpacks, once
	rules   map[string][]*rule
	shapes  sync.Map // type → *shape
}

// tables holds the table of every release. The map is read-only; each table loads
// itself on first use.
var tables = func() map[fhir.Release]*table {
	all := map[fhir.Release]*table{}
	for _, r := range fhir.Releases {
		t := &table{release: r}
		t.load = sync.OnceFunc(t.unpack)
		all[r] = t
	}
	return all
}()

func tableOf(r fhir.Release) *table {
	t := tables[r]
	t.load()
	return t
}

func (t *table) unpack() {
	t.model, t.rules = t.release.Model(), map[string][]*rule{}
	packed, err := tableFiles.ReadFile("tables/invariants." + string(t.release) + ".gz")
	if err != nil {
		panic(err) // the program was built without its tables
	}
	unpacker, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err)
	}
	text, err := io.ReadAll(unpacker)
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(text)) {
		path, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		key, expression, _ := strings.Cut(rest, "\t")
		t.rules[path] = append(t.rules[path], newRule(key, expression))
	}
}

func newRule(key, expression string) *rule {
	return &rule{key: key, expression: expression, native: native[expression],
		compile: sync.OnceValues(func() (*fhirpath.Expr, error) { return fhirpath.Compile(expression, fhirpath.Options{}) }),
	}
}
