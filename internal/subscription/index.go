package subscription

import (
	"cmp"
	"slices"

	"signalfhir/internal/fhir"
)

// topicIndex is the subscriptions on one topic, so arranged that an event finds
// those it can concern without asking the others. The lock of the registry guards
// it; a slice that was read from it never changes.
type topicIndex struct {
	all    []*subscription   // in order of creation
	always []*subscription   // asked for every event
	groups map[string]*group // the others, by what their filters look at first
}

// group is the subscriptions whose filters look at the same thing first.
type group struct {
	filter  Filter // of any of them: it knows where to look
	all     []*subscription
	byValue map[string][]*subscription
}

// place is where a subscription stands in the index of its topic.
type place struct {
	name   string // of its group, "" for none
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

// add puts s in its place; filter is its own.
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

// insert answers a list with s in its place in the order of creation, which most
// often is the end.
func insert(list []*subscription, s *subscription) []*subscription {
	if n := len(list); n == 0 || list[n-1].order < s.order {
		return append(list, s)
	}
	at, _ := slices.BinarySearchFunc(list, s, byOrder)
	return slices.Insert(slices.Clone(list), at, s)
}

// without answers a list without s, a new one.
func without(list []*subscription, s *subscription) []*subscription {
	at, found := slices.BinarySearchFunc(list, s, byOrder)
	if !found {
		return list
	}
	return slices.Concat(list[:at], list[at+1:])
}

func byOrder(a, b *subscription) int { return cmp.Compare(a.order, b.order) }

// candidates lists the subscriptions an event about a resource can concern, in
// order of creation. Its cost grows with their number and the number of groups,
// not with the number of the others.
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

// others lists the subscriptions that are not among the candidates, where they are
// no more than most; their number it answers in any case.
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
