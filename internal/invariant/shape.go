package invariant

import (
	"strings"
	"sync"
)

// shape is a type prepared for the walk: what is below its members. It comes from the
// type model; a member is added when it is first met.
type shape struct {
	typ     string // as the type model names it: Period, Encounter.participant
	rules   []*rule
	members sync.Map // name → *member
}

// member is one member of an object.
type member struct {
	typ    string
	shape  *shape // nil: primitive, or a resource, which names its own type
	rules  []*rule
	valued bool // it is beside a value
}

// shape returns the shape of a type.
func (t *table) shape(typ string) *shape {
	if found, ok := t.shapes.Load(typ); ok {
		return found.(*shape)
	}
	s := &shape{typ: typ}
	for name := typ; name != ""; name = t.model.ParentType(name) {
		s.rules = union(s.rules, t.rules[name])
	}
	found, _ := t.shapes.LoadOrStore(typ, s)
	return found.(*shape)
}

// union adds rules that are not yet present. It skips a rule that repeats an expression
// under another key: the operations of a TestScript share their content, with a key for
// each place.
func union(rules, more []*rule) []*rule {
	all := append([]*rule(nil), rules...)
next:
	for _, r := range more {
		for _, there := range rules {
			if there.expression == r.expression {
				continue next
			}
		}
		all = append(all, r)
	}
	return all
}

// member returns the member with a name in an object of the shape.
func (t *table) member(s *shape, name string) *member {
	if found, ok := s.members.Load(name); ok {
		return found.(*member)
	}
	path := s.typ + "." + name
	typ := t.model.TypeOf(path)
	if typ == "" {
		if base, of := t.choice(s.typ, name); of != "" {
			path, typ = s.typ+"."+base+"[x]", of
		}
	}
	m := &member{typ: typ, rules: t.rules[path]}
	if typ != "" && strings.ToLower(typ[:1]) != typ[:1] {
		m.shape = t.shape(typ)
		m.rules = union(m.rules, m.shape.rules)
	}
	found, _ := s.members.LoadOrStore(name, m)
	return found.(*member)
}

// choice splits the name of a member that is one type of a choice: valueQuantity is
// value with type Quantity.
func (t *table) choice(owner, name string) (base, typ string) {
	for i := range name {
		if name[i] < 'A' || name[i] > 'Z' {
			continue
		}
		for _, typ := range t.model.ChoiceTypes(owner + "." + name[:i]) {
			if strings.EqualFold(typ[:1], name[i:i+1]) && typ[1:] == name[i+1:] {
				return name[:i], typ
			}
		}
	}
	return "", ""
}
