package search

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// maxHops bounds the references a chain follows, either way: what it costs
// multiplies with each.
const maxHops = 5

// hops is the number of references a name follows.
func hops(name string) int { return strings.Count(name, ".") + strings.Count(name, "_has:") }

// chained makes the condition of a name such as "subject:Patient.name": that what
// the reference parameter before the dot points to meets the rest.
func (s Scope) chained(typ, name, comparator, value string) (*Condition, *fhir.Error) {
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
		c, no := s.Condition(target, rest, comparator, value)
		if no != nil {
			// Of several types some need not have the parameter; a wrong value is
			// wrong for all.
			if refused == nil || no.Code() == "value" {
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
	test := func(res *fhir.Resource) (bool, []any, error) {
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
			ok, values, err := c.test(found)
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

// chainTargets lists the types a chain through the parameter may go to.
func (p *Parameter) chainTargets(wanted string) ([]string, *fhir.Error) {
	if p.Type != "reference" || !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "not-supported", "%s of %s is a %s; only a reference can be chained", p.Name, p.Resource, p.Type)
	}
	anyType := len(p.Target) == 0 || slices.Contains(p.Target, "Resource")
	switch {
	case wanted == "" && anyType:
		return p.Release.ResourceTypes(), nil
	case wanted == "":
		return p.Target, nil
	case !p.Release.IsResourceType(wanted) || !anyType && !slices.Contains(p.Target, wanted):
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s of %s points to %s, never to a %s", p.Name, p.Resource, strings.Join(p.Target, ", "), wanted)
	}
	return []string{wanted}, nil
}

// reversed makes the condition of "_has:Observation:patient:code": that a resource
// of the type refers to this one and meets the rest.
func (s Scope) reversed(name, comparator, value string) (*Condition, *fhir.Error) {
	f := strings.SplitN(name, ":", 4)
	if len(f) < 4 || f[3] == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: expected _has:Type:reference:parameter=value, as in _has:Observation:patient:code=1234-5", name)
	}
	typ, link := f[1], f[2]
	if !s.Release.IsResourceType(typ) {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: %q is not a resource type of FHIR %s", name, typ, s.Release)
	}
	p, refused := find(s.Release, typ, link)
	if refused != nil {
		return nil, refused
	}
	if p.Type != "reference" || !p.Supported() {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, "value", "%s: %s of %s is a %s, not a reference", name, link, typ, p.Type)
	}
	inner, refused := s.Condition(typ, f[3], comparator, value)
	if refused != nil {
		return nil, refused
	}
	test := func(res *fhir.Resource) (bool, []any, error) {
		passed, seen := false, 0
		for _, other := range s.list(typ) {
			if !slices.Contains(p.References(other), res.Reference()) {
				continue
			}
			seen++
			ok, _, err := inner.test(other)
			if err != nil {
				return false, nil, err
			}
			if passed = passed || ok; passed {
				return true, []any{other.Reference()}, nil
			}
		}
		if seen == 0 {
			return false, nil, nil
		}
		return false, []any{fmt.Sprintf("%d %s that refer to %s", seen, typ, res.Reference())}, nil
	}
	return &Condition{text: name + "=" + comparator + value, test: test}, nil
}

// Named answers the parameters a name of a type stands for, at the end of its
// chains: several where the references on the way may point to several types, none
// where there is no such parameter.
func Named(r fhir.Release, typ, name string) []*Parameter {
	if hops(name) > maxHops {
		return nil
	}
	head, rest, chain := strings.Cut(name, ".")
	head, wanted, _ := strings.Cut(head, ":")
	p, ok := Lookup(r, typ, head)
	if !ok {
		return nil
	}
	if !chain {
		return []*Parameter{p}
	}
	targets, refused := p.chainTargets(wanted)
	if refused != nil {
		return nil
	}
	var found []*Parameter
	for _, target := range targets {
		found = append(found, Named(r, target, rest)...)
	}
	return found
}
