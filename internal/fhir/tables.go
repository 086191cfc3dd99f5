package fhir

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"slices"
	"strings"
	"sync"
)

//go:generate go run ./gen R5 R4B R4

//go:embed tables/*.gz
var tableFiles embed.FS

// tables are the element tables of one release. load unpacks and splits them into
// types; a type is parsed when it is first used.
type tables struct {
	load   func() // unpacks, once
	blocks map[string]string
	names  []string // concrete resource types, sorted
	codes  map[string][]string
	types  sync.Map // name → *typeTable
}

// releaseTables holds the tables of every release. The map is read-only; each
// table loads itself on first use.
var releaseTables = func() map[Release]*tables {
	all := map[Release]*tables{}
	for _, r := range Releases {
		t := &tables{}
		t.load = sync.OnceFunc(func() { t.unpack(r) })
		all[r] = t
	}
	return all
}()

func (r Release) tables() *tables {
	t := releaseTables[r]
	t.load()
	return t
}

func (t *tables) unpack(r Release) {
	t.blocks, t.codes = map[string]string{}, map[string][]string{}
	packed, err := tableFiles.ReadFile("tables/elements." + string(r) + ".gz")
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
	for block := range strings.SplitSeq(string(text), "\n\n") {
		head, body, _ := strings.Cut(block, "\n")
		if name, isCodes := strings.CutPrefix(head, "!"); isCodes {
			t.codes[name] = strings.Split(body, "|")
			continue
		}
		fields := strings.Split(head, "\t")
		if len(fields) < 3 {
			continue
		}
		t.blocks[fields[0]] = block
		if fields[1] == "resource" {
			t.names = append(t.names, fields[0])
		}
	}
	slices.Sort(t.names)
}

// typeTable is one type with its elements.
type typeTable struct {
	name     string
	kind     string // resource, complex-type or primitive-type
	base     string
	abstract bool
	elements map[string]*element // by path below the type; "" is the type itself
}

// element is one element of a type.
type element struct {
	path     string // full: "Encounter.participant"
	name     string // last segment, without [x]
	min      int
	many     bool
	types    []string
	ref      string // path of the element whose content this one shares
	binding  string
	targets  []string
	choice   bool
	children []*element
	members  map[string]property // the members of its JSON object, by name
}

// property is a member that a JSON object may have: an element and, for a choice,
// the type that the name selects.
type property struct {
	element *element
	typ     string
}

// typ returns a type, or nil if the release has none of that name.
func (t *tables) typ(name string) *typeTable {
	if found, ok := t.types.Load(name); ok {
		return found.(*typeTable)
	}
	block, ok := t.blocks[name]
	if !ok {
		return nil
	}
	found, _ := t.types.LoadOrStore(name, parseType(block))
	return found.(*typeTable)
}

func parseType(block string) *typeTable {
	head, body, _ := strings.Cut(block, "\n")
	fields := strings.Split(head, "\t")
	t := &typeTable{name: fields[0], base: fields[2], elements: map[string]*element{}}
	t.kind, t.abstract = strings.CutSuffix(fields[1], "-abstract")
	t.elements[""] = &element{path: t.name, name: t.name, members: map[string]property{}}
	for line := range strings.SplitSeq(body, "\n") {
		f := strings.Split(line, "\t")
		if len(f) < 6 {
			continue
		}
		e := &element{path: t.name + "." + f[0], min: int(f[1][0] - '0'), many: f[2] == "*", binding: f[4], targets: list(f[5]), members: map[string]property{}}
		if ref, borrowed := strings.CutPrefix(f[3], "#"); borrowed {
			e.ref = ref
		} else {
			e.types = list(f[3])
		}
		t.add(f[0], e)
	}
	return t
}

func list(field string) []string {
	if field == "" {
		return nil
	}
	return strings.Split(field, "|")
}

// add puts an element below its parent, under each of its JSON names.
func (t *typeTable) add(path string, e *element) {
	t.elements[path] = e
	parent, name := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	e.name, e.choice = strings.CutSuffix(name, "[x]")
	owner := t.elements[parent]
	owner.children = append(owner.children, e)
	if !e.choice {
		typ := ""
		if len(e.types) > 0 {
			typ = e.types[0]
		}
		owner.members[e.name] = property{e, typ}
		return
	}
	for _, typ := range e.types {
		owner.members[e.member(typ)] = property{e, typ}
	}
}

// member returns the JSON name of a choice for one of its types.
func (e *element) member(typ string) string { return e.name + strings.ToUpper(typ[:1]) + typ[1:] }

// find returns the element at a full path such as Bundle.link.
func (t *tables) find(path string) *element {
	name, rest, _ := strings.Cut(path, ".")
	typ := t.typ(name)
	if typ == nil {
		return nil
	}
	return typ.elements[rest]
}

// isSubtype reports whether child is parent or derives from it.
func (t *tables) isSubtype(child, parent string) bool {
	for child != "" {
		if child == parent {
			return true
		}
		found := t.typ(child)
		if found == nil {
			return false
		}
		child = found.base
	}
	return false
}

// IsResourceType reports whether the release has a resource type of this name
// that can be instantiated.
func (r Release) IsResourceType(name string) bool {
	_, found := slices.BinarySearch(r.tables().names, name)
	return found
}

// ResourceTypes returns the resource types that can be instantiated, sorted.
func (r Release) ResourceTypes() []string { return slices.Clone(r.tables().names) }

// IsSubscriptionStatus reports whether the release has this status of a
// subscription.
func (r Release) IsSubscriptionStatus(code string) bool {
	return slices.Contains(r.tables().codes["subscription-status"], code)
}
