package room

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// Page is one page of a type search.
type Page struct {
	Matches  []*fhir.Resource
	Included []*fhir.Resource // by _include and _revinclude, without duplicates
	Total    int              // -1 if the client does not want it
	Subset   *fhir.Subset     // elements that the client wants; nil: all
	Self     url.Values       // the parameters that were used
	Links    map[string]url.Values
	Issues   []fhir.Issue
}

const (
	pageSize    = 100  // matches on a page without _count
	maxPageSize = 1000 // largest _count
	maxIncluded = 5000 // resources that _include and _revinclude may add
)

// typeSearch is a search of one type while its parameters are read.
type typeSearch struct {
	base   *Base
	typ    string
	strict bool
	limit  int64 // bytes of the resources of a page

	queries            []*search.Query
	order              *search.Order
	count, offset      int
	onlyTotal, noTotal bool
	includes, reverse  []included
	elements           []string
	page               *Page
}

// included is one _include or _revinclude.
type included struct {
	search.Include
	iterate bool
}

// Search searches the resources of a type. It leaves unknown parameters out of Self and
// warns of them, or refuses them if strict is true. A page ends early, but not without a
// match, if its resources would have more than limit bytes. It fails once ctx ends.
func (b *Base) Search(ctx context.Context, typ string, params url.Values, strict bool, limit int64) (*Page, error) {
	w := &typeSearch{base: b, typ: typ, strict: strict, limit: limit, count: pageSize, page: &Page{Self: url.Values{}, Links: map[string]url.Values{}}}
	w.order, _ = b.scope().Order(typ, "_lastUpdated")
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if err := checkResultParameter(name, params[name]); err != nil {
			return nil, err
		}
		for _, value := range params[name] {
			used, err := w.read(name, value)
			if err != nil {
				return nil, err
			}
			if used {
				w.page.Self.Add(name, value)
			}
		}
	}
	if w.page.Self.Has("_count") {
		w.page.Self.Set("_count", strconv.Itoa(w.count)) // after the limit was applied
	}
	found, err := b.matching(ctx, typ, w.queries...)
	if err != nil {
		return nil, err
	}
	w.order.Sort(found)
	w.paginate(found)
	return w.page, nil
}

// read reads one parameter; used is false if it was ignored.
func (w *typeSearch) read(name, value string) (used bool, err error) {
	plain, modifier, _ := strings.Cut(name, ":")
	switch plain {
	case "_format", "_pretty":
		return false, nil
	case "_count":
		w.count, err = parseNumber(name, value, maxPageSize)
		w.onlyTotal = w.onlyTotal || w.count == 0
	case "_offset":
		w.offset, err = parseNumber(name, value, 1<<30)
	case "_total":
		w.noTotal = value == "none"
		err = oneOf(name, value, "none", "estimate", "accurate")
	case "_summary":
		return w.summary(value)
	case "_elements":
		w.elements = append(w.elements, strings.Split(value, ",")...)
		w.page.Subset = w.base.release.Elements(w.elements)
	case "_sort":
		w.order, err = w.base.scope().Order(w.typ, value)
	case "_include", "_revinclude":
		err = w.include(plain, modifier, value)
	case "_contained", "_containedType", "_score", "_maxresults":
		return false, w.ignore(name, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the search parameter %s is not supported", name))
	default:
		return w.condition(name, value)
	}
	if err != nil {
		return false, fhir.At(fhir.WithStatus(err, http.StatusBadRequest), "Bundle.link.where(relation='self')")
	}
	return true, nil
}

// checkResultParameter refuses a modifier on a parameter that has none, and several
// values for a parameter that may be given once.
func checkResultParameter(name string, values []string) error {
	plain, modifier, _ := strings.Cut(name, ":")
	switch plain {
	case "_count", "_offset", "_total", "_summary", "_sort", "_elements":
	default:
		return nil
	}
	switch {
	case plain != name:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "%s takes no modifier, got :%s", plain, modifier)
	case plain == "_sort" && len(values) > 1:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "_sort is given %d times; give it once, as in _sort=%s", len(values), strings.Join(values, ","))
	case plain != "_elements" && len(values) > 1:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s is given %d times, as %s; give it once", plain, len(values), strings.Join(values, " and "))
	}
	return nil
}

// oneOf refuses a value that is not known.
func oneOf(name, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s=%s: expected one of %s", name, value, strings.Join(known, ", "))
}

// ignore warns that a parameter is ignored, or refuses it if the search is strict.
func (w *typeSearch) ignore(name string, why error) error {
	if w.strict {
		return fhir.WithStatus(why, http.StatusBadRequest)
	}
	issue := fhir.IssuesOf(why)[0]
	issue.Severity = "warning"
	w.page.Issues = append(w.page.Issues, issue)
	return nil
}

func (w *typeSearch) summary(value string) (used bool, err error) {
	if len(w.elements) > 0 && (value == "text" || value == "data") {
		return false, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "_summary=%s and _elements=%s both select elements; give only one of them", value, strings.Join(w.elements, ","))
	}
	switch value {
	case "count":
		w.onlyTotal = true
	case "false":
	case "text":
		w.page.Subset = w.base.release.Elements([]string{"text"})
	case "data":
		w.page.Subset = w.base.release.Without("text")
	case "true":
		return false, w.ignore("_summary", fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "_summary=true: this server does not know which elements are in the summary, so it returns all; use _elements to select some"))
	default:
		return false, oneOf("_summary", value, "true", "text", "data", "count", "false")
	}
	return true, nil
}

func (w *typeSearch) include(name, modifier, value string) error {
	if modifier != "" && modifier != "iterate" && modifier != "recurse" {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "%s takes only the modifier :iterate, got :%s", name, modifier)
	}
	one, err := w.base.scope().ParseInclude(value)
	if err != nil {
		return err
	}
	if name == "_include" {
		w.includes = append(w.includes, included{one, modifier != ""})
	} else {
		w.reverse = append(w.reverse, included{one, modifier != ""})
	}
	return nil
}

func (w *typeSearch) condition(name, value string) (used bool, err error) {
	text := url.QueryEscape(name) + "=" + url.QueryEscape(value)
	query, err := w.base.scope().Query(w.typ, text)
	if err == nil {
		w.queries = append(w.queries, query)
		return true, nil
	}
	// Only an unknown parameter may be ignored, not a known one with a wrong value.
	plain, _, _ := strings.Cut(name, ":")
	if _, known := search.Lookup(w.base.release, w.typ, plain); known || strings.Contains(name, ".") || strings.HasPrefix(name, "_has:") {
		return false, fhir.WithStatus(err, http.StatusBadRequest)
	}
	return false, w.ignore(name, err)
}

// paginate fills the page with its part of the matches, and with links.
func (w *typeSearch) paginate(found []*fhir.Resource) {
	p := w.page
	p.Total = len(found)
	if w.noTotal && !w.onlyTotal {
		p.Total = -1
	}
	if w.onlyTotal {
		return
	}
	from := min(w.offset, len(found))
	whole := min(from+w.count, len(found))
	to := w.fill(found, from, whole)
	at := func(offset int) url.Values {
		link := url.Values{}
		for name, values := range p.Self {
			link[name] = values
		}
		link.Del("_offset")
		if offset > 0 {
			link.Set("_offset", strconv.Itoa(offset))
		}
		return link
	}
	if to < len(found) || from > 0 {
		p.Links["first"] = at(0)
		switch {
		case to == len(found) && from < to:
			p.Links["last"] = at(from)
		case to == whole: // nobody knows where a last page begins if pages end early
			p.Links["last"] = at((max(len(found), 1) - 1) / w.count * w.count)
		}
	}
	if from > 0 {
		p.Links["previous"] = at(max(0, from-w.count))
	}
	if to < len(found) {
		p.Links["next"] = at(to)
	}
}

// fill puts the matches from from to to on the page, and the resources they include. If
// they have too many bytes, it puts fewer there. It returns where they end.
func (w *typeSearch) fill(found []*fhir.Resource, from, to int) int {
	bytes := int64(0)
	for i, res := range found[from:to] {
		if bytes += int64(len(res.JSON)); bytes > w.limit && i > 0 {
			to = from + i
			break
		}
	}
	for {
		p := w.page
		issues := len(p.Issues)
		p.Matches, p.Included = found[from:to], nil
		if whole := w.addIncluded(); whole || to-from <= 1 {
			return to
		}
		p.Issues = p.Issues[:issues]
		to = from + (to-from)/2
	}
}

// addIncluded adds the resources that _include and _revinclude ask for. Those with
// :iterate are also followed from the resources that were added. It returns false, with an
// issue on the page, if the page would have too many bytes.
func (w *typeSearch) addIncluded() (whole bool) {
	if len(w.includes)+len(w.reverse) == 0 {
		return true
	}
	scope := w.base.scope()
	seen := map[string]bool{}
	left := w.limit
	for _, res := range w.page.Matches {
		seen[res.Reference()] = true
		left -= int64(len(res.JSON))
	}
	full := false // of bytes
	for from, first := w.page.Matches, true; len(from) > 0; first = false {
		var more []*fhir.Resource
		add := func(found []*fhir.Resource) {
			for _, res := range found {
				if seen[res.Reference()] {
					continue
				}
				seen[res.Reference()] = true
				if left -= int64(len(res.JSON)); left < 0 {
					full = true
				} else if len(w.page.Included)+len(more) < maxIncluded {
					more = append(more, res)
				}
			}
		}
		for _, res := range from {
			for _, i := range w.includes {
				if first || i.iterate {
					add(scope.Included(i.Include, res))
				}
			}
			for _, i := range w.reverse {
				if first || i.iterate {
					add(scope.Including(i.Include, res))
				}
			}
		}
		w.page.Included = append(w.page.Included, more...)
		from = more
		if full {
			w.page.Issues = append(w.page.Issues, fhir.Issue{Severity: "warning", Code: fhir.CodeTooCostly, Diagnostics: fmt.Sprintf("only %d resources are included: with more the response would have more than %d bytes (--max-response-bytes)", len(w.page.Included), w.limit)})
			return false
		}
		if len(w.page.Included) >= maxIncluded {
			w.page.Issues = append(w.page.Issues, fhir.Issue{Severity: "warning", Code: fhir.CodeTooCostly, Diagnostics: fmt.Sprintf("only %d resources are included, the limit", maxIncluded)})
			return true
		}
	}
	return true
}

// parseNumber parses a whole number. It returns limit if the number is larger.
func parseNumber(name, value string, limit int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s=%s: expected a whole number, 0 or more", name, value)
	}
	return min(n, limit), nil
}

// maxSearch is the longest time that one search may take; chains can make it slow.
const maxSearch = 10 * time.Second

// matching returns the current resources of a type that match all queries.
func (b *Base) matching(ctx context.Context, typ string, queries ...*search.Query) ([]*fhir.Resource, error) {
	var found []*fhir.Resource
	err := evaluate(ctx, b.store.List(typ), queries, func(res *fhir.Resource, matches bool) {
		if matches {
			found = append(found, res)
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// evaluate calls verdict with each resource and whether it matches all queries. It ends
// with the first error, or once ctx ends.
func evaluate(ctx context.Context, resources []*fhir.Resource, queries []*search.Query, verdict func(res *fhir.Resource, matches bool)) error {
	began := time.Now()
	for i, res := range resources {
		if ctx.Err() != nil {
			return fhir.Refuse(statusClientLeft, fhir.CodeTransient, "the client left before the search was done")
		}
		if time.Since(began) > maxSearch {
			return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "the search took more than %s for the first %d resources; search fewer resources, or use fewer chained parameters", maxSearch, i)
		}
		matches := true
		for _, query := range queries {
			ok, err := query.Match(res)
			if tooMuch := fhir.AsError(err); tooMuch != nil {
				return tooMuch
			}
			if err != nil {
				return fhir.Refuse(http.StatusInternalServerError, fhir.CodeException, "searching %s: %v", res.Reference(), err)
			}
			if matches = ok; !ok {
				break
			}
		}
		verdict(res, matches)
	}
	return nil
}
