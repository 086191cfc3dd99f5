package room

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
)

// Read answers the current version of typ/id: 404 where there never was one,
// 410 where it was deleted (LC-17).
func (b *Base) Read(typ, id string) (*fhir.Resource, *fhir.Error) {
	return b.store.Read(typ, id)
}

// ReadVersion answers one version of typ/id.
func (b *Base) ReadVersion(typ, id, version string) (*fhir.Resource, *fhir.Error) {
	return b.store.VRead(typ, id, version)
}

// History answers the versions of typ/id, newest first.
func (b *Base) History(typ, id string) ([]store.Version, *fhir.Error) {
	return b.store.History(typ, id)
}

// Find lists the resources of a type whose id contains text, what changed last
// first, with those that were deleted; see [store.Store.Find].
func (b *Base) Find(typ, text string, offset, limit int) (found []store.Found, total int) {
	return b.store.Find(typ, text, offset, limit)
}

// Page is one page of a type search.
type Page struct {
	Matches []*fhir.Resource
	Total   int
	Self    url.Values // the parameters that were used
	Next    url.Values // the parameters of the next page; nil on the last one
	Issues  []fhir.Issue
}

// The number of matches on a page where _count does not say, and at most.
const (
	pageSize    = 100
	maxPageSize = 1000
)

// Search answers a type search. Parameters it does not know are left out of
// Self and warned of, or refused where strict.
func (b *Base) Search(typ string, params url.Values, strict bool) (*Page, *fhir.Error) {
	page := &Page{Self: url.Values{}}
	count, offset, newestFirst, onlyTotal := pageSize, 0, false, false
	var conditions []string
	for _, name := range slices.Sorted(mapKeys(params)) {
		for _, value := range params[name] {
			var err *fhir.Error
			switch name {
			case "_format", "_pretty":
				continue
			case "_count":
				count, err = whole(name, value, maxPageSize)
				onlyTotal = count == 0
			case "_offset":
				offset, err = whole(name, value, 1<<30)
			case "_total":
			case "_summary":
				onlyTotal = value == "count"
				if value != "count" && value != "false" {
					err = fhir.Refuse(http.StatusBadRequest, "not-supported", "_summary=%s: this server knows _summary=count and _summary=false", value)
				}
			case "_sort":
				switch value {
				case "_lastUpdated":
				case "-_lastUpdated":
					newestFirst = true
				default:
					err = fhir.Refuse(http.StatusBadRequest, "not-supported", "_sort=%s: this server sorts by _lastUpdated and -_lastUpdated", value)
				}
			default:
				conditions = append(conditions, url.QueryEscape(name)+"="+url.QueryEscape(value))
				continue
			}
			if err != nil {
				return nil, err.At("Bundle.link.where(relation='self')")
			}
			page.Self.Add(name, value)
		}
	}

	var queries []*search.Query
	for _, condition := range conditions {
		query, err := b.scope().Query(typ, condition)
		if err != nil {
			if strict || !unknownParameter(b.release, typ, condition) {
				err.Status = http.StatusBadRequest
				return nil, err
			}
			issue := err.Issues[0]
			issue.Severity = "warning"
			page.Issues = append(page.Issues, issue)
			continue
		}
		queries = append(queries, query)
		name, value, _ := strings.Cut(condition, "=")
		name, _ = url.QueryUnescape(name)
		value, _ = url.QueryUnescape(value)
		page.Self.Add(name, value)
	}
	found, err := b.matching(typ, queries...)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b *fhir.Resource) int {
		if newestFirst {
			a, b = b, a
		}
		return a.LastUpdated.Compare(b.LastUpdated)
	})
	page.Total = len(found)
	if onlyTotal {
		return page, nil
	}
	from := min(offset, len(found))
	to := min(from+count, len(found))
	page.Matches = found[from:to]
	if to < len(found) {
		page.Next = url.Values{}
		for name, values := range page.Self {
			page.Next[name] = values
		}
		page.Next.Set("_offset", strconv.Itoa(to))
	}
	return page, nil
}

func mapKeys(v url.Values) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range v {
			if !yield(k) {
				return
			}
		}
	}
}

// unknownParameter tells a parameter the type does not have from one whose
// value is wrong: only the former may be ignored.
func unknownParameter(rel fhir.Release, typ, condition string) bool {
	name, _, _ := strings.Cut(condition, "=")
	name, _ = url.QueryUnescape(name)
	name, _, _ = strings.Cut(name, ":")
	_, known := search.Lookup(rel, typ, name)
	return !known && !strings.Contains(name, ".")
}

func whole(name, value string, most int) (int, *fhir.Error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "%s=%s: expected a whole number from 0 on", name, value)
	}
	return min(n, most), nil
}

// matching lists the current resources of a type that every query selects.
func (b *Base) matching(typ string, queries ...*search.Query) ([]*fhir.Resource, *fhir.Error) {
	var found []*fhir.Resource
next:
	for _, res := range b.store.List(typ) {
		for _, query := range queries {
			ok, err := query.Match(res)
			if err != nil {
				return nil, fhir.Refuse(http.StatusInternalServerError, "exception", "searching %s: %v", res.Reference(), err)
			}
			if !ok {
				continue next
			}
		}
		found = append(found, res)
	}
	return found, nil
}
