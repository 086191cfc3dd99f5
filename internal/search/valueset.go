package search

import (
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// matchInValueSet takes the canonical or id of a stored ValueSet. The content of a
// ValueSet is its expansion or, without one, the codes, whole systems and other
// stored ValueSets in its compose.
func (s Scope) matchInValueSet(p *Parameter, text string) (valueMatcher, error) {
	name := literal(text)
	set := s.canonical("ValueSet", name)
	if set == nil {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s: this server has no ValueSet %s; store it first", p.Name, name)
	}
	if why := s.notEnumerated(set, map[string]bool{}); why != "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s: ValueSet %s %s", p.Name, name, why)
	}
	return func(v any) bool {
		set := s.canonical("ValueSet", name) // its current version
		return set != nil && slices.ContainsFunc(tokensOf(v), func(t token) bool { return t.code != "" && s.inValueSet(set, t, map[string]bool{}) })
	}, nil
}

// notEnumerated returns which part of a ValueSet, or of one it includes, needs a
// terminology server or is not stored here, or "" if none does; seen holds the ids
// of the ValueSets already checked.
func (s Scope) notEnumerated(set *fhir.Resource, seen map[string]bool) string {
	if seen[set.ID] || set.Object.Has("expansion") {
		return ""
	}
	seen[set.ID] = true
	compose := set.Object.Object("compose")
	for _, member := range []string{"include", "exclude"} {
		for _, item := range compose.Array(member) {
			part, _ := item.(*fhir.Object)
			if part.Has("filter") {
				return "has a compose." + member + ".filter, which this server does not expand; give it an expansion"
			}
			for _, canonical := range part.Array("valueSet") {
				url, _ := canonical.(string)
				other := s.canonical("ValueSet", url)
				if other == nil {
					return "is made of ValueSet " + url + ", which is not stored here; store it first"
				}
				if why := s.notEnumerated(other, seen); why != "" {
					return "is made of ValueSet " + url + ", which " + why
				}
			}
		}
	}
	return ""
}

// inValueSet reports whether a code is in a ValueSet. known caches the results by
// id; a set that is being evaluated counts as false, which ends recursion.
func (s Scope) inValueSet(set *fhir.Resource, t token, known map[string]bool) bool {
	in, found := known[set.ID]
	if !found {
		known[set.ID] = false
		in = s.enumerates(set, t, known)
		known[set.ID] = in
	}
	return in
}

func (s Scope) enumerates(set *fhir.Resource, t token, known map[string]bool) bool {
	if expansion := set.Object.Object("expansion"); expansion != nil {
		return inExpansion(expansion, t)
	}
	in := func(member string) bool {
		for _, item := range set.Object.Object("compose").Array(member) {
			if part, ok := item.(*fhir.Object); ok && s.inPart(part, t, known) {
				return true
			}
		}
		return false
	}
	return in("include") && !in("exclude")
}

// inPart reports whether a code is in one include or exclude: in its system and
// codes, and in each ValueSet it names.
func (s Scope) inPart(part *fhir.Object, t token, known map[string]bool) bool {
	if part.Has("filter") {
		return false // added after the query was parsed, which would have refused it
	}
	if system := part.Text("system"); system != "" && !sameSystem(system, t) {
		return false
	}
	if concepts := part.Array("concept"); len(concepts) > 0 && !slices.ContainsFunc(concepts, func(c any) bool {
		concept, ok := c.(*fhir.Object)
		return ok && concept.Text("code") == t.code
	}) {
		return false
	}
	for _, canonical := range part.Array("valueSet") {
		url, _ := canonical.(string)
		set := s.canonical("ValueSet", url)
		if set == nil || !s.inValueSet(set, t, known) {
			return false
		}
	}
	return true
}

// sameSystem compares systems. The system of a plain code is implied by its element
// and matches any.
func sameSystem(system string, t token) bool { return t.system == system || t.implied }

func inExpansion(part *fhir.Object, t token) bool {
	for _, item := range part.Array("contains") {
		c, ok := item.(*fhir.Object)
		if !ok {
			continue
		}
		if c.Text("code") == t.code && sameSystem(c.Text("system"), t) && c.Get("abstract") != true || inExpansion(c, t) {
			return true
		}
	}
	return false
}

// matchHierarchy parses system|code and compares by the concepts of the stored
// CodeSystem: :below matches the code and its descendants, :above the code and its
// ancestors.
func (s Scope) matchHierarchy(p *Parameter, modifier, text string) (valueMatcher, error) {
	parts := splitEscaped(text, '|')
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s:%s: expected system|code, got %q", p.Name, modifier, text)
	}
	system, code := literal(parts[0]), literal(parts[1])
	if s.canonical("CodeSystem", system) == nil {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s:%s: this server has no CodeSystem %s; store it first", p.Name, modifier, system)
	}
	return func(v any) bool {
		cs := s.canonical("CodeSystem", system)
		return cs != nil && slices.ContainsFunc(tokensOf(v), func(t token) bool {
			if t.code == "" || !sameSystem(system, t) {
				return false
			}
			upper, lower := code, t.code
			if modifier == "above" {
				upper, lower = t.code, code
			}
			return upper == lower || isUnder(cs.Object, upper, lower, false)
		})
	}, nil
}

// isUnder reports whether a concept is below another; inside means that the walk is
// already below the upper one.
func isUnder(o *fhir.Object, upper, lower string, inside bool) bool {
	for _, item := range o.Array("concept") {
		c, ok := item.(*fhir.Object)
		if !ok {
			continue
		}
		if inside && c.Text("code") == lower || isUnder(c, upper, lower, inside || c.Text("code") == upper) {
			return true
		}
	}
	return false
}

// groupTypes lists the resources that have members, with the elements that list them.
var groupTypes = []struct{ typ, list, member string }{
	{"Group", "member", "entity"},
	{"CareTeam", "participant", "member"},
	{"List", "entry", "item"},
}

// group returns the Group, CareTeam or List with a reference or bare id.
func (s Scope) group(reference string) *fhir.Resource {
	to := takeApart(s.Release, reference)
	for _, g := range groupTypes {
		if to.base == "" && to.typ == g.typ {
			return s.lookup(to.typ + "/" + to.id)
		}
		if to.typ != "" {
			continue
		}
		if res := s.lookup(g.typ + "/" + reference); res != nil {
			return res
		}
	}
	return nil
}

// isMember reports whether a Group, CareTeam or List has an active member.
func isMember(group *fhir.Resource, wanted referenceParts) bool {
	for _, g := range groupTypes {
		if g.typ != group.Type {
			continue
		}
		for _, item := range group.Object.Array(g.list) {
			entry, ok := item.(*fhir.Object)
			if !ok || entry.Get("inactive") == true || entry.Get("deleted") == true {
				continue
			}
			if takeApart(group.Release, entry.Object(g.member).Text("reference")) == wanted {
				return true
			}
		}
	}
	return false
}

func (s Scope) noGroup(p *Parameter, name string) error {
	return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotSupported, "%s: this server has no Group, CareTeam or List %s; store it first", p.Name, strings.TrimSpace(name))
}

// matchInGroup takes the reference of a stored Group, CareTeam or List and matches
// references to its members.
func (s Scope) matchInGroup(p *Parameter, text string) (valueMatcher, error) {
	name := literal(text)
	if s.group(name) == nil {
		return nil, s.noGroup(p, name)
	}
	return func(v any) bool {
		group := s.group(name)
		o, _ := v.(*fhir.Object)
		if group == nil || o == nil {
			return false
		}
		if inner := o.Object("reference"); inner != nil {
			o = inner
		}
		to := takeApart(p.Release, o.Text("reference"))
		return to.typ != "" && isMember(group, to)
	}, nil
}
