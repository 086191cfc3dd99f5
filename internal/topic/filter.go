package topic

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// Filters are the compiled filters of one subscription. An event must pass all of
// them (FLT-1).
type Filters struct{ filters []filter }

// filter is one filterBy, with a condition for each type that it applies to.
type filter struct {
	conditions map[string]*search.Condition
}

// CompileFilters compiles the filters of a subscription to the topic. It returns an
// issue for each problem (FLT-4 to FLT-11).
func (t *Topic) CompileFilters(filters []fhir.Filter) (*Filters, []fhir.Issue) {
	compiled := &Filters{}
	var issues []fhir.Issue
	for _, f := range filters {
		one, more := t.compileFilter(f)
		issues = append(issues, more...)
		compiled.filters = append(compiled.filters, one)
	}
	return compiled, issues
}

func (t *Topic) compileFilter(f fhir.Filter) (filter, []fhir.Issue) {
	one := filter{conditions: map[string]*search.Condition{}}
	offered := t.offers(f)
	if len(offered) == 0 {
		return one, []fhir.Issue{broken(fhir.CodeNotSupported, f.At("filterParameter"), "the topic offers no filter "+f.Parameter+onType(f.ResourceType)+"; it offers "+t.offerText())}
	}
	var issues []fhir.Issue
	if f.Comparator != "" && !slices.ContainsFunc(offered, func(c fhir.CanFilterBy) bool { return slices.Contains(c.Comparators, f.Comparator) }) {
		issues = append(issues, broken(fhir.CodeNotSupported, f.At("comparator"), notOffered("comparator", f.Comparator, f.Parameter, comparators(offered))))
	}
	if f.Modifier != "" && !slices.ContainsFunc(offered, func(c fhir.CanFilterBy) bool { return slices.Contains(c.Modifiers, f.Modifier) }) {
		issues = append(issues, broken(fhir.CodeNotSupported, f.At("modifier"), notOffered("modifier", f.Modifier, f.Parameter, modifiers(offered))))
	}
	if f.Modifier == "type" {
		issues = append(issues, broken(fhir.CodeNotSupported, f.At("modifier"), "a filter cannot use the modifier type; write the type in the value, as in Patient/123 (FLT-10)"))
	}
	if len(issues) > 0 {
		return one, issues
	}
	for _, typ := range t.appliesTo(f, offered) {
		condition, issue := t.condition(typ, f, offered)
		if issue != nil {
			return one, []fhir.Issue{*issue}
		}
		one.conditions[typ] = condition
	}
	return one, nil
}

func onType(typ string) string {
	if typ == "" {
		return ""
	}
	return " on " + typ
}

func notOffered(what, got, parameter string, offered []string) string {
	if len(offered) == 0 {
		return fmt.Sprintf("the topic offers the filter %s without a %s, only for equality; leave %s out", parameter, what, got)
	}
	return fmt.Sprintf("the topic does not offer the %s %s for the filter %s; it offers %s", what, got, parameter, strings.Join(offered, ", "))
}

func comparators(offered []fhir.CanFilterBy) []string {
	var all []string
	for _, c := range offered {
		all = append(all, c.Comparators...)
	}
	return all
}

func modifiers(offered []fhir.CanFilterBy) []string {
	var all []string
	for _, c := range offered {
		all = append(all, c.Modifiers...)
	}
	return all
}

// offers returns the canFilterBy elements of the topic that match a filter.
func (t *Topic) offers(f fhir.Filter) []fhir.CanFilterBy {
	var offered []fhir.CanFilterBy
	for _, c := range t.topic.CanFilterBy {
		if c.Parameter == f.Parameter && (f.ResourceType == "" || c.Resource == "" || isAny(f.ResourceType) || isAny(c.Resource) || c.Resource == f.ResourceType) {
			offered = append(offered, c)
		}
	}
	if t.anyFilter {
		offered = append(offered, fhir.CanFilterBy{Resource: f.ResourceType, Parameter: f.Parameter, Comparators: search.Comparators(), Modifiers: []string{f.Modifier}})
	}
	return offered
}

func isAny(typ string) bool { return typ == "Resource" || typ == "DomainResource" }

// offerText lists the filters that the topic offers, for an error text.
func (t *Topic) offerText() string {
	var names []string
	for _, c := range t.topic.CanFilterBy {
		name := c.Parameter
		if c.Resource != "" {
			name += onType(c.Resource)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// appliesTo returns the types of focus that a filter applies to (FLT-2).
func (t *Topic) appliesTo(f fhir.Filter, offered []fhir.CanFilterBy) []string {
	if f.ResourceType != "" && !isAny(f.ResourceType) {
		return []string{f.ResourceType}
	}
	var types []string
	for _, c := range offered {
		if c.Resource == "" || isAny(c.Resource) {
			return t.focusTypes(f, offered)
		}
		if !slices.Contains(types, c.Resource) {
			types = append(types, c.Resource)
		}
	}
	return types
}

// focusTypes returns the types of focus that an event of the topic can have and that
// have the parameter of the filter. If no type has it, focusTypes returns one type for
// the error text to name.
func (t *Topic) focusTypes(f fhir.Filter, offered []fhir.CanFilterBy) []string {
	all := t.Resources()
	if slices.ContainsFunc(t.triggers, func(g trigger) bool { return isAny(g.Resource) }) {
		all = t.scope.Release.ResourceTypes()
	}
	var types []string
	for _, typ := range all {
		if len(t.parameters(typ, f, offered)) > 0 {
			types = append(types, typ)
		}
	}
	switch {
	case len(types) > 0:
		return types
	case len(all) == 1:
		return all
	}
	return []string{"Resource"}
}

// defined returns the search parameter on one type that the topic names in
// filterDefinition, or whose URL is the name of the filter; nil if there is none
// (FLT-5).
func (t *Topic) defined(typ string, f fhir.Filter, offered []fhir.CanFilterBy) *search.Parameter {
	for _, c := range offered {
		if c.Definition == "" || c.Resource != "" && c.Resource != typ && !isAny(c.Resource) {
			continue
		}
		if p, ok := search.Lookup(t.scope.Release, typ, c.Definition); ok {
			return p
		}
	}
	if strings.Contains(f.Parameter, "/") {
		p, _ := search.Lookup(t.scope.Release, typ, f.Parameter)
		return p
	}
	return nil
}

// parameters returns the search parameters that a filter uses on one type: the
// defined one, or else those with the name of the filter, at the end of its chain
// (FLT-5, FLT-7).
func (t *Topic) parameters(typ string, f fhir.Filter, offered []fhir.CanFilterBy) []*search.Parameter {
	if p := t.defined(typ, f, offered); p != nil {
		return []*search.Parameter{p}
	}
	return search.Named(t.scope.Release, typ, f.Parameter)
}

// condition compiles a filter to a search condition on one type.
func (t *Topic) condition(typ string, f fhir.Filter, offered []fhir.CanFilterBy) (*search.Condition, *fhir.Issue) {
	refuse := func(code fhir.IssueCode, member, text string) (*search.Condition, *fhir.Issue) {
		issue := broken(code, f.At(member), text)
		return nil, &issue
	}
	parameters := t.parameters(typ, f, offered)
	if len(parameters) == 0 {
		return refuse(fhir.CodeNotSupported, "filterParameter", f.Parameter+" is not a known search parameter of "+typ+", and the topic has no filterDefinition that this server knows (FLT-6)")
	}
	// A chain may end in parameters of several types: a date has prefixes even if the
	// first parameter has none.
	var prefixes []string
	supported := false
	for _, p := range parameters {
		prefixes = append(prefixes, p.Prefixes(f.Value)...)
		supported = supported || p.Supported()
	}
	if f.Comparator != "" && len(prefixes) > 0 {
		issue := broken(fhir.CodeValue, f.At("value"), "the comparator "+f.Comparator+" and the prefix of "+f.Value+" both compare; keep one of them")
		issue.Rule = false // malformed, so 400 (FLT-9)
		return nil, &issue
	}
	// A prefix is a comparator written in the value, so the topic must offer it too.
	for _, prefix := range prefixes {
		if prefix != "eq" && !slices.Contains(comparators(offered), prefix) {
			return refuse(fhir.CodeNotSupported, "value", notOffered("comparator", prefix, f.Parameter, comparators(offered))+" (FLT-11)")
		}
	}
	condition, refused := t.search(typ, f, offered)
	if refused != nil {
		member := "filterParameter"
		switch {
		case fhir.CodeOf(refused) == fhir.CodeValue:
			member = "value"
		case supported && f.Modifier != "":
			member = "modifier"
		}
		return refuse(fhir.CodeOf(refused), member, refused.Error())
	}
	return condition, nil
}

// search compiles a filter that was checked.
func (t *Topic) search(typ string, f fhir.Filter, offered []fhir.CanFilterBy) (*search.Condition, error) {
	if p := t.defined(typ, f, offered); p != nil {
		return t.scope.ConditionOn(p, f.Modifier, f.Comparator, f.Value)
	}
	name := f.Parameter
	if f.Modifier != "" {
		name += ":" + f.Modifier
	}
	return t.scope.Condition(typ, name, f.Comparator, f.Value)
}

// Match reports whether a resource passes every filter that applies to its type
// (FLT-1, FLT-3). It also says in words how each filter compared, or, if some failed,
// how those compared.
func (f *Filters) Match(state *fhir.Resource) (bool, []string) {
	var passed, failed []string
	for _, one := range f.filters {
		condition := one.conditions[state.Type]
		if condition == nil {
			continue
		}
		ok, reason := condition.Match(state)
		if ok {
			passed = append(passed, "filter "+reason)
		} else {
			failed = append(failed, "filter "+reason)
		}
	}
	if len(failed) > 0 {
		return false, failed
	}
	return true, passed
}

// Index returns the key and the values under which the filters can be indexed. A
// resource can pass only if it has one of the values at the place that the key names.
// Filters of one topic that return the same key look at the same place. If key is "",
// the filters cannot be indexed, and Match must be called for every event.
func (f *Filters) Index() (key string, values []string) {
	if i := f.indexed(); i >= 0 {
		for _, typ := range slices.Sorted(maps.Keys(f.filters[i].conditions)) {
			p, keys, _ := f.filters[i].conditions[typ].Keys()
			key += typ + "." + p.Name + " "
			values = append(values, keys...)
		}
	}
	slices.Sort(values)
	return key, slices.Compact(values)
}

// indexed returns the index of the first filter that compares for equality on every
// type of focus, or -1 if there is none.
func (f *Filters) indexed() int {
	return slices.IndexFunc(f.filters, func(one filter) bool {
		for _, condition := range one.conditions {
			if _, _, ok := condition.Keys(); !ok {
				return false
			}
		}
		return len(one.conditions) > 0
	})
}

// Values returns the values that a resource has at the place that the key of Index
// names. applies is false if the indexed filter does not apply to the resource; then
// Match must be called (FLT-3).
func (f *Filters) Values(state *fhir.Resource) (values []string, applies bool) {
	i := f.indexed()
	if i < 0 {
		return nil, false
	}
	condition := f.filters[i].conditions[state.Type]
	if condition == nil {
		return nil, false
	}
	p, _, _ := condition.Keys()
	values, err := p.Keys(state)
	return values, err == nil
}
