package fhir

import (
	"slices"
	"strings"
)

// FilterElement returns the element in which a Subscription of the release has its filters.
func (r Release) FilterElement() string {
	if r == R5 {
		return "Subscription.filterBy"
	}
	return "Subscription.criteria.extension"
}

// WithoutFilters returns a copy of a Subscription on a topic without its filters by some
// parameters, and the parameters among them that it had, each once. The Subscription must
// be one whose filters [Release.ReadSubscription] takes.
func (r Release) WithoutFilters(o *Object, parameters []string) (left *Object, dropped []string) {
	o = o.Clone()
	drop := func(name string) bool {
		if !slices.Contains(parameters, name) {
			return false
		}
		if !slices.Contains(dropped, name) {
			dropped = append(dropped, name)
		}
		return true
	}
	if o.Has("filterBy") { // R5
		keep(o, "filterBy", func(f *Object) bool { return !drop(f.Text("filterParameter")) })
		return o, dropped
	}
	criteria := o.Object("_criteria")
	if criteria == nil {
		return o, nil
	}
	keep(criteria, "extension", func(e *Object) bool {
		if e.Text("url") != backportStructure+"backport-filter-criteria" {
			return true
		}
		rest := r.withoutConditions(e.Text("valueString"), drop)
		e.Set("valueString", rest)
		return rest != ""
	})
	if criteria.Len() == 0 {
		o.Delete("_criteria")
	}
	return o, dropped
}

// keep removes the elements of an array for which f returns false, and an array that is
// empty then.
func keep(o *Object, name string, f func(*Object) bool) {
	kept := slices.DeleteFunc(slices.Clone(o.Array(name)), func(v any) bool {
		element, is := v.(*Object)
		return is && !f(element)
	})
	if len(kept) == 0 {
		o.Delete(name)
	} else {
		o.Set(name, kept)
	}
}

// withoutConditions returns filter criteria without the conditions on parameters for which
// drop returns true; "" if none is left.
func (r Release) withoutConditions(text string, drop func(parameter string) bool) string {
	head, rest := "", strings.TrimSpace(text)
	if typ, query, ok := strings.Cut(rest, "?"); ok && !strings.Contains(typ, "=") {
		head, rest = typ+"?", query
	}
	var left []string
	for condition := range strings.SplitSeq(rest, "&") {
		name, _, _ := strings.Cut(condition, "=")
		name = strings.TrimPrefix(name, "/")
		if typ, parameter, dotted := strings.Cut(name, "."); dotted && r.IsResourceType(typ) {
			name = parameter
		}
		if parameter, _ := cutModifier(name); !drop(parameter) {
			left = append(left, condition)
		}
	}
	if left == nil {
		return ""
	}
	return head + strings.Join(left, "&")
}
