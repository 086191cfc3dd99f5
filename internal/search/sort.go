package search

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/fhir"
)

// Order is the sort order of search results: the parameters of a _sort.
type Order struct{ keys []sortKey }

type sortKey struct {
	parameter *Parameter
	backward  bool
}

// Order parses a _sort: parameters separated by commas, with a "-" before
// descending ones.
func (s Scope) Order(typ, sort string) (*Order, error) {
	o := &Order{}
	for name := range strings.SplitSeq(sort, ",") {
		name, backward := strings.CutPrefix(strings.TrimSpace(name), "-")
		if name == "" {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "_sort=%s: expected parameters separated by commas, as in -date,_id", sort)
		}
		p, refused := find(s.Release, typ, name)
		if refused != nil {
			return nil, fhir.WithStatus(refused, http.StatusBadRequest)
		}
		if !p.Supported() || p.Type == "composite" || p.Type == "special" || aboutResource[name] != nil {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "_sort=%s: results cannot be sorted by %s, a %s", sort, name, p.Type)
		}
		o.keys = append(o.keys, sortKey{p, backward})
	}
	return o, nil
}

// Sort sorts resources. Those without a value come last in either direction. If a
// resource has several values, the first in the direction of the sort counts. The
// sort is stable.
func (o *Order) Sort(resources []*fhir.Resource) {
	type row struct {
		res  *fhir.Resource
		keys []sortable
	}
	rows := make([]row, len(resources))
	for i, res := range resources {
		rows[i].res = res
		for _, k := range o.keys {
			rows[i].keys = append(rows[i].keys, k.of(res))
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		for i, k := range o.keys {
			x, y := a.keys[i], b.keys[i]
			if !x.there || !y.there {
				if x.there != y.there {
					return map[bool]int{true: -1, false: 1}[x.there]
				}
				continue
			}
			if d := x.compare(y); d != 0 {
				if k.backward {
					return -d
				}
				return d
			}
		}
		return 0
	})
	for i := range rows {
		resources[i] = rows[i].res
	}
}

// sortable is one value to sort by.
type sortable struct {
	there  bool
	text   string
	at     time.Time
	number interval
}

func (a sortable) compare(b sortable) int {
	switch {
	case a.number.low != nil && b.number.low != nil:
		return a.number.low.Cmp(b.number.low)
	case !a.at.IsZero() || !b.at.IsZero():
		return a.at.Compare(b.at)
	}
	return cmp.Compare(a.text, b.text)
}

func (k sortKey) of(res *fhir.Resource) sortable {
	values, err := k.parameter.Values(res)
	if err != nil {
		return sortable{}
	}
	var best sortable
	for _, v := range values {
		for _, one := range k.sortables(v) {
			if !best.there || (one.compare(best) < 0) != k.backward {
				best = one
			}
		}
	}
	return best
}

func (k sortKey) sortables(v any) []sortable {
	var all []sortable
	switch k.parameter.Type {
	case "date":
		if s, ok := spanOf(v); ok {
			at := s.from
			if k.backward && s.to != latest || at == earliest {
				at = s.to
			}
			all = append(all, sortable{there: true, at: at})
		}
	case "number", "quantity":
		if n, ok := intervalOf(v); ok {
			if n.low == nil {
				n.low = n.high
			}
			all = append(all, sortable{there: n.low != nil, number: n})
		}
	case "string":
		for _, text := range stringsOf(v) {
			all = append(all, sortable{there: true, text: fold(text)})
		}
	case "token":
		for _, t := range tokensOf(v) {
			all = append(all, sortable{there: true, text: t.code})
		}
	default: // reference, uri
		all = append(all, sortable{there: true, text: describeOne(v)})
	}
	return all
}
