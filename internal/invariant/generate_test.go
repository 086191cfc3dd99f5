package invariant

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// generator makes random elements of any type from the tables of package fhir. Texts are mostly
// taken from the expressions about the type, so that all branches are reached.
type generator struct {
	random   *rand.Rand
	elements map[string][]element // by the path of their parent
	words    map[string][]string  // by type
}

type element struct {
	Path     string // from the type on: Patient.name
	Min      int
	Max, Ref string
	Type     []string
}

var quoted = regexp.MustCompile(`'([^'\\]+)'`)

func newGenerator(t testing.TB, r fhir.Release, seed uint64) *generator {
	t.Helper()
	g := &generator{rand.New(rand.NewPCG(seed, 0)), map[string][]element{}, map[string][]string{}}
	for _, e := range elements(t, r) {
		parent := e.Path[:strings.LastIndexByte(e.Path, '.')]
		g.elements[parent] = append(g.elements[parent], e)
	}
	for path, rules := range tableOf(r).rules {
		typ, _, _ := strings.Cut(path, ".")
		for _, rule := range rules {
			for _, word := range quoted.FindAllStringSubmatch(rule.expression, -1) {
				g.words[typ] = append(g.words[typ], word[1])
			}
		}
	}
	for _, words := range g.words {
		slices.Sort(words)
	}
	return g
}

// elements reads the element tables of package fhir; its gen describes their form.
func elements(t testing.TB, r fhir.Release) []element {
	t.Helper()
	file, err := os.Open("../fhir/tables/elements." + string(r) + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacker, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacker)
	if err != nil {
		t.Fatal(err)
	}
	var all []element
	for block := range strings.SplitSeq(string(text), "\n\n") {
		head, body, _ := strings.Cut(block, "\n")
		typ, _, isType := strings.Cut(head, "\t")
		if !isType {
			continue // the codes of a value set
		}
		for line := range strings.Lines(body) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			e := element{Path: typ + "." + f[0], Min: int(f[1][0] - '0'), Max: f[2]}
			if ref, borrowed := strings.CutPrefix(f[3], "#"); borrowed {
				e.Ref = ref
			} else if f[3] != "" {
				e.Type = strings.Split(f[3], "|")
			}
			all = append(all, e)
		}
	}
	return all
}

// object makes an object with the members below a path.
func (g *generator) object(path string, depth int) *fhir.Object {
	o := fhir.NewObject()
	for _, e := range g.elements[path] {
		chance := 0.4
		if depth > 2 {
			chance = 0.15
		}
		if depth > 6 || e.Min == 0 && g.random.Float64() > chance || e.Path == "Extension.extension" {
			continue
		}
		name := e.Path[strings.LastIndexByte(e.Path, '.')+1:]
		typ := ""
		if len(e.Type) > 0 {
			typ = e.Type[g.random.IntN(len(e.Type))]
		}
		if base, choice := strings.CutSuffix(name, "[x]"); choice {
			name = base + strings.ToUpper(typ[:1]) + typ[1:]
		}
		if e.Max == "1" {
			if value := g.value(e, typ, depth); value != nil {
				o.Set(name, value)
			}
			continue
		}
		var list []any
		for range 1 + g.random.IntN(2) {
			if value := g.value(e, typ, depth); value != nil {
				list = append(list, value)
			}
		}
		if list != nil {
			o.Set(name, list)
		}
	}
	return o
}

func (g *generator) value(e element, typ string, depth int) any {
	content := e.Path
	switch {
	case e.Ref != "":
		content = e.Ref
	case typ == "Resource" || typ == "xhtml" || typ == "Extension" || typ == "Meta" || typ == "Narrative":
		return nil
	case typ != "" && strings.ToLower(typ[:1]) == typ[:1]:
		return g.primitive(e, typ)
	case len(g.elements[e.Path]) == 0:
		content = typ
	}
	if o := g.object(content, depth+1); o.Len() > 0 {
		return o
	}
	return nil
}

func (g *generator) pick(choices ...string) string { return choices[g.random.IntN(len(choices))] }

func (g *generator) primitive(e element, typ string) any {
	owner, _, _ := strings.Cut(e.Path, ".")
	switch typ {
	case "boolean":
		return g.random.IntN(2) == 0
	case "integer", "positiveInt", "unsignedInt", "integer64":
		return json.Number(g.pick("1", "2", "7"))
	case "decimal":
		return json.Number(g.pick("1", "2.5", "70", "-3.0"))
	case "date", "dateTime", "instant":
		return g.pick("2026-01-01", "2026-01-02", "2026-01-01T10:00:00Z", "2026-01-02T00:30:00.000+02:00")
	case "time":
		return g.pick("10:00:00", "12:00:00")
	}
	if words := g.words[owner]; len(words) > 0 && g.random.IntN(3) > 0 {
		return words[g.random.IntN(len(words))]
	}
	return g.pick("a", "b", "#c", "Patient/1", "2026", "http://x.org/y", "Patient.name")
}

// made evaluates all rules on random elements of every type that has rules.
func made(t *testing.T, r fhir.Release, rounds int, each func(*evaluation, *rule, *focus)) {
	t.Helper()
	g, table := newGenerator(t, r, 1), tableOf(r)
	types := map[string]bool{}
	for path := range table.rules {
		typ, _, _ := strings.Cut(path, ".")
		types[typ] = true
	}
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		for range rounds {
			o := g.object(typ, 0)
			if r.IsResourceType(typ) {
				o.SetFirst("resourceType", typ)
			}
			s := &scope{object: o}
			s.root = s
			w := &walk{table: table}
			shape := table.shape(typ)
			w.object(o, shape, shape.rules, s, false)
			s.end = len(w.text)
			e := &evaluation{release: r, text: w.text, deadline: t.Context()}
			for _, f := range w.foci {
				for _, rule := range f.rules {
					each(e, rule, f)
				}
			}
		}
	}
}

// The engine evaluates every rule on any content. A rule that makes it fail belongs in
// unfit, where it is visible.
func TestEngine_EvaluatesEveryRule(t *testing.T) {
	t.Parallel()
	for _, r := range fhir.Releases {
		failed, evaluated := map[string]error{}, map[string]bool{}
		made(t, r, 40, func(e *evaluation, rule *rule, f *focus) {
			if rule.skipped() != "" || rule.native != nil {
				return
			}
			evaluated[rule.expression] = true
			if _, err := e.evaluate(rule, f); err != nil && lenient[rule.expression] == "" {
				failed[rule.key] = err
			}
		})
		for key, err := range failed {
			t.Errorf("%s %s: %v", r, key, err)
		}
		for path, rules := range tableOf(r).rules {
			for _, rule := range rules {
				if rule.skipped() == "" && rule.native == nil && !evaluated[rule.expression] {
					t.Errorf("%s %s of %s was never evaluated", r, rule.key, path)
				}
			}
		}
	}
}

// A rule that both holds and is broken works; one that is never broken may mean that the
// engine does not see the content. Many of the others are broken on purpose in
// TestCheck_NamesWhatIsBroken.
func TestEngine_FindsMostRulesBroken(t *testing.T) {
	t.Parallel()
	for _, r := range fhir.Releases {
		seen := map[*rule]map[verdict]bool{}
		made(t, r, 40, func(e *evaluation, rule *rule, f *focus) {
			if rule.skipped() != "" {
				return
			}
			if seen[rule] == nil {
				seen[rule] = map[verdict]bool{}
			}
			seen[rule][e.verdict(rule, f)] = true
		})
		both := 0
		for rule, verdicts := range seen {
			// A valid StructureDefinition cannot be generated by chance.
			if !verdicts[holds] && rule != elementRules[0] && !strings.HasPrefix(rule.key, "sdf-") {
				t.Errorf("%s %s never holds", r, rule.key)
			}
			if verdicts[holds] && verdicts[broken] {
				both++
			}
		}
		if both < len(seen)*3/4 {
			t.Errorf("%s: only %d of %d rules both hold and are broken", r, both, len(seen))
		}
	}
}
