package subscription

import (
	"cmp"
	"slices"

	"signalfhir/internal/fhir"
)

// topicIndex holds the subscriptions on one topic, arranged so that an event
// finds those it can concern without evaluating the others. The lock of the
// registry guards it; a slice that was read from it never changes.
type topicIndex struct {
	all    []*subscription   // in order of creation
	always []*subscription   // evaluated for every event
	groups map[string]*group // the others, by what their filters look at first
}

// group is the subscriptions whose filters look at the same thing first.
type group struct {
	filter  Filter // of any member; all look at the same element
	all     []*subscription
	byValue map[string][]*subscription
}

// place is the position of a subscription in the index of its topic.
type place struct {
	name   string // name of its group; "" if it is in none
	values []string
}

func placeOf(f Filter) place {
	if f == nil {
		return place{}
	}
	name, values := f.Index()
	return place{name, values}
}

func (p place) equal(other place) bool {
	return p.name == other.name && slices.Equal(p.values, other.values)
}

// add puts s in its place; filter is the filter of s.
func (t *topicIndex) add(s *subscription, filter Filter) {
	t.all = insert(t.all, s)
	if s.place.name == "" {
		t.always = insert(t.always, s)
		return
	}
	g := t.groups[s.place.name]
	if g == nil {
		g = &group{filter: filter, byValue: map[string][]*subscription{}}
		t.groups[s.place.name] = g
	}
	g.all = insert(g.all, s)
	for _, value := range s.place.values {
		g.byValue[value] = insert(g.byValue[value], s)
	}
}

func (t *topicIndex) remove(s *subscription) {
	t.all = without(t.all, s)
	if s.place.name == "" {
		t.always = without(t.always, s)
		return
	}
	g := t.groups[s.place.name]
	g.all = without(g.all, s)
	for _, value := range s.place.values {
		if g.byValue[value] = without(g.byValue[value], s); len(g.byValue[value]) == 0 {
			delete(g.byValue, value)
		}
	}
	if len(g.all) == 0 {
		delete(t.groups, s.place.name)
	}
}

// insert returns list with s at its position in the order of creation, which is
// usually the end.
func insert(list []*subscription, s *subscription) []*subscription {
	if n := len(list); n == 0 || list[n-1].order < s.order {
		return append(list, s)
	}
	at, _ := slices.BinarySearchFunc(list, s, byOrder)
	return slices.Insert(slices.Clone(list), at, s)
}

// without returns a new list that lacks s.
func without(list []*subscription, s *subscription) []*subscription {
	at, found := slices.BinarySearchFunc(list, s, byOrder)
	if !found {
		return list
	}
	return slices.Concat(list[:at], list[at+1:])
}

func byOrder(a, b *subscription) int { return cmp.Compare(a.order, b.order) }

// candidates returns the subscriptions that an event about a resource can
// concern, in order of creation. Its cost grows with their number and the number
// of groups, not with the number of other subscriptions.
func (t *topicIndex) candidates(state *fhir.Resource) []*subscription {
	lists := [][]*subscription{}
	if len(t.always) > 0 {
		lists = append(lists, t.always)
	}
	for _, g := range t.groups {
		values, applies := g.filter.Values(state)
		if !applies {
			lists = append(lists, g.all)
			continue
		}
		for _, value := range values {
			if found := g.byValue[value]; found != nil {
				lists = append(lists, found)
			}
		}
	}
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	found := slices.Concat(lists...)
	slices.SortFunc(found, byOrder)
	return slices.Compact(found)
}

// others returns the subscriptions that are not among the candidates, if there
// are at most most of them. It returns their number in any case.
func (t *topicIndex) others(candidates []*subscription, most int) (list []*subscription, number int) {
	if number = len(t.all) - len(candidates); number == 0 || number > most {
		return nil, number
	}
	for _, s := range t.all {
		if len(candidates) > 0 && candidates[0] == s {
			candidates = candidates[1:]
			continue
		}
		list = append(list, s)
	}
	return list, number
}
