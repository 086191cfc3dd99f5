package search

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
)

// maxHops bounds the references a chain follows in either direction: each one
// multiplies the cost.
const maxHops = 5

// maxVisits bounds the resources that one evaluation visits. They multiply with
// each hop if many resources refer to one, and that one to many.
const maxVisits = 20_000

// effort counts the resources that one evaluation has visited.
type effort struct{ visits int }

// visit counts one more visit and fails at the limit.
func (e *effort) visit() error {
	if e.visits++; e.visits > maxVisits {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "it visits more than %d resources; narrow the query or follow fewer references", maxVisits)
	}
	return nil
}

// madeConditions caches the conditions made of one comparator and value, by type
// and name: the target types of a chain repeat at each of its hops.
type madeConditions map[[2]string]madeCondition

type madeCondition struct {
	condition *Condition
	refused   error
}

// of returns a condition and makes it on the first call.
func (m madeConditions) of(s Scope, typ, name, comparator, value string) (*Condition, error) {
	key := [2]string{typ, name}
	one, known := m[key]
	if !known {
		one.condition, one.refused = s.condition(typ, name, comparator, value, m)
		m[key] = one
	}
	return one.condition, one.refused
}

// hops returns the number of references a name follows.
func hops(name string) int { return strings.Count(name, ".") + strings.Count(name, "_has:") }

// chained makes the condition of a name such as "subject:Patient.name": the target
// of the reference parameter before the dot must meet the rest.
func (s Scope) chained(typ, name, comparator, value string, made madeConditions) (*Condition, error) {
	head, rest, _ := strings.Cut(name, ".")
	head, wanted, _ := strings.Cut(head, ":")
	p, refused := find(s.Release, typ, head)
	if refused != nil {
		return nil, refused
	}
	targets, refused := p.chainTargets(wanted)
	if refused != nil {
		return nil, refused
	}
	inner := map[string]*Condition{}
	var types []string
	for _, target := range targets {
		c, no := made.of(s, target, rest, comparator, value)
		if no != nil {
			// Some of several types may lack the parameter; a wrong value is wrong for
			// all of them.
			if refused == nil || fhir.CodeOf(no) == fhir.CodeValue {
				refused = no
			}
			continue
		}
		inner[target] = c
		types = append(types, target)
	}
	if len(inner) == 0 {
		return nil, refused
	}
	test := func(res *fhir.Resource, e *effort) (bool, []any, error) {
		references, err := p.Values(res)
		if err != nil {
			return false, nil, err
		}
		passed, seen := false, []any(nil)
		for _, reference := range references {
			found := s.resolve(res, reference, types)
			if found == nil {
				seen = append(seen, describeOne(reference)+" (which is not stored here)")
				continue
			}
			c := inner[found.Type]
			if c == nil {
				seen = append(seen, found.Reference()+" (which has no such parameter)")
				continue
			}
			if err := e.visit(); err != nil {
				return false, nil, err
			}
			ok, values, err := c.test(found, e)
			if err != nil {
				return false, nil, err
			}
			passed = passed || ok
			seen = append(seen, found.Reference()+" with "+describe(values))
		}
		return passed, seen, nil
	}
	return &Condition{text: name + "=" + comparator + value, test: test}, nil
}

// chainTargets returns the types that a chain through the parameter may go to.
func (p *Parameter) chainTargets(wanted string) ([]string, error) {
	if p.Type != "reference" || !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s of %s is a %s; only a reference can be chained", p.Name, p.Resource, p.Type)
	}
	anyType := len(p.Target) == 0 || slices.Contains(p.Target, "Resource")
	switch {
	case wanted == "" && anyType:
		return p.Release.ResourceTypes(), nil
	case wanted == "":
		return p.Target, nil
	case !p.Release.IsResourceType(wanted) || !anyType && !slices.Contains(p.Target, wanted):
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s of %s points to %s, not to a %s", p.Name, p.Resource, strings.Join(p.Target, ", "), wanted)
	}
	return []string{wanted}, nil
}

// reversed makes the condition of "_has:Observation:patient:code": a resource of
// the type must refer to this one and meet the rest.
func (s Scope) reversed(name, comparator, value string, made madeConditions) (*Condition, error) {
	f := strings.SplitN(name, ":", 4)
	if len(f) < 4 || f[3] == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: expected _has:Type:reference:parameter=value, as in _has:Observation:patient:code=1234-5", name)
	}
	typ, link := f[1], f[2]
	if !s.Release.IsResourceType(typ) {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %q is not a resource type of FHIR %s", name, typ, s.Release)
	}
	p, refused := find(s.Release, typ, link)
	if refused != nil {
		return nil, refused
	}
	if p.Type != "reference" || !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %s of %s is a %s, not a reference", name, link, typ, p.Type)
	}
	inner, refused := made.of(s, typ, f[3], comparator, value)
	if refused != nil {
		return nil, refused
	}
	referring := &referrers{link: p}
	test := func(res *fhir.Resource, e *effort) (bool, []any, error) {
		others := referring.to(res, s.list(typ))
		for _, other := range others {
			if err := e.visit(); err != nil {
				return false, nil, err
			}
			if ok, _, err := inner.test(other, e); err != nil {
				return false, nil, err
			} else if ok {
				return true, []any{other.Reference()}, nil
			}
		}
		if len(others) == 0 {
			return false, nil, nil
		}
		return false, []any{fmt.Sprintf("%d %s that refer to %s", len(others), typ, res.Reference())}, nil
	}
	return &Condition{text: name + "=" + comparator + value, test: test}, nil
}

// referrers finds the resources among others that refer to a given one. It keeps an
// index until others change, because a search calls it for each of its resources.
type referrers struct {
	link *Parameter

	mu     sync.Mutex
	others []*fhir.Resource
	byName map[string][]*fhir.Resource // by the name they refer to
}

// to returns the resources among others that refer to res.
func (f *referrers) to(res *fhir.Resource, others []*fhir.Resource) []*fhir.Resource {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName == nil || !same(f.others, others) {
		f.others, f.byName = others, map[string][]*fhir.Resource{}
		for _, other := range others {
			for _, name := range f.link.links(other) {
				f.byName[name] = append(f.byName[name], other)
			}
		}
	}
	var found []*fhir.Resource
	for _, name := range namesOf(res) {
		for _, other := range f.byName[name] {
			if name == res.Reference() || !slices.Contains(found, other) { // by several names
				found = append(found, other)
			}
		}
	}
	return found
}

// same reports whether two lists have the same resources. A list is not modified once
// it is made, so it need not be compared with itself.
func same(a, b []*fhir.Resource) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// Named returns the parameters that a name of a type means at the end of its chains:
// several if the references on the way may point to several types, none if there is
// no such parameter.
func Named(r fhir.Release, typ, name string) []*Parameter {
	if hops(name) > maxHops {
		return nil
	}
	for types := []string{typ}; ; {
		if reversed, ok := strings.CutPrefix(name, "_has:"); ok {
			f := strings.SplitN(reversed, ":", 3)
			if len(f) < 3 {
				return nil
			}
			types, name = f[:1], f[2]
			continue
		}
		head, rest, chain := strings.Cut(name, ".")
		head, wanted, _ := strings.Cut(head, ":")
		var found []*Parameter
		var next []string
		for _, typ := range types {
			p, ok := Lookup(r, typ, head)
			if !ok {
				continue
			}
			found = append(found, p)
			targets, _ := p.chainTargets(wanted)
			for _, target := range targets {
				if chain && !slices.Contains(next, target) {
					next = append(next, target)
				}
			}
		}
		if !chain {
			return found
		}
		types, name = next, rest
	}
}
