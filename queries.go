package main

import (
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
)

// What is answered with a list: searches and histories.

// search answers GET [type] and POST [type]/_search.
func (s *server) search(c echo.Context) error {
	typ := c.Param("type")
	params := c.QueryParams()
	if c.Request().Method == http.MethodPost {
		kind, _, _ := mime.ParseMediaType(c.Request().Header.Get("Content-Type"))
		if kind != "" && kind != echo.MIMEApplicationForm {
			return fhir.Refuse(http.StatusUnsupportedMediaType, "not-supported", "Content-Type %q: a search by POST takes application/x-www-form-urlencoded", kind)
		}
		// Else net/http would leave the body unread, and the search without it.
		c.Request().Header.Set("Content-Type", echo.MIMEApplicationForm)
		form, err := c.FormParams()
		if err != nil {
			return fhir.Refuse(http.StatusBadRequest, "structure", "the search parameters in the body could not be read: %v; send application/x-www-form-urlencoded", err)
		}
		params = form
		if format := form.Get("_format"); format != "" {
			if err := acceptableFormat(format); err != nil {
				return err
			}
		}
	}
	page, err := s.on(c).Search(typ, params, s.strict(c))
	if err != nil {
		return err
	}
	base := s.base(c)
	result := &fhir.SearchResult{
		ID:       s.room.NewID(),
		At:       s.room.Clock().Now(),
		Base:     base,
		Self:     link(base+"/"+typ, page.Self),
		Total:    page.Total,
		Matches:  page.Matches,
		Included: page.Included,
		Subset:   page.Subset,
		Issues:   page.Issues,
	}
	for _, relation := range []string{"first", "previous", "next", "last"} {
		if params := page.Links[relation]; params != nil {
			result.Links = append(result.Links, fhir.Link{Relation: relation, URL: link(base+"/"+typ, params)})
		}
	}
	return s.write(c, http.StatusOK, release(c).EncodeSearchset(result))
}

// searchOfAll refuses GET [base], a search over all types.
func (s *server) searchOfAll(c echo.Context) error {
	c.Response().Header().Set("Allow", "POST, OPTIONS")
	return fhir.Refuse(http.StatusMethodNotAllowed, "not-supported", "a search is about one type, as in %s/Patient?name=x; the base itself takes a Bundle by POST, and %s/metadata tells what there is", s.base(c), s.base(c))
}

func link(address string, params url.Values) string {
	if len(params) == 0 {
		return address
	}
	return address + "?" + params.Encode()
}

// history answers GET [type]/[id]/_history, GET [type]/_history and GET _history, newest
// first.
func (s *server) history(c echo.Context) error {
	for name := range c.QueryParams() {
		if !slices.Contains(historyParams, name) {
			return fhir.Refuse(http.StatusBadRequest, "not-supported", "a history takes %s, not %s", strings.Join(historyParams, ", "), name)
		}
	}
	since, err := instant(given(c, "_since"))
	if err != nil {
		return err
	}
	count, err := eventNumber(given(c, "_count"), historyPage)
	if err != nil {
		return err
	}
	offset, err := eventNumber(given(c, "_offset"), 0)
	if err != nil {
		return err
	}
	count, offset = min(count, historyPage), min(offset, 1<<30)
	entries, total, refused := s.on(c).Log(c.Param("type"), c.Param("id"), since, int(offset), int(count))
	if refused != nil {
		return refused
	}
	h := &fhir.History{ID: s.room.NewID(), At: s.room.Clock().Now(), Base: s.base(c), Total: total}
	address := s.rootOf(c) + c.Request().URL.Path
	h.Self = link(address, c.QueryParams())
	if next := offset + count; count > 0 && next < int64(total) {
		params := maps.Clone(c.QueryParams())
		params.Set("_offset", strconv.FormatInt(next, 10))
		h.Links = append(h.Links, fhir.Link{Relation: "next", URL: link(address, params)})
	}
	for _, e := range entries {
		h.Entries = append(h.Entries, historyEntry(e.Type, e.ID, e.Version))
	}
	return s.write(c, http.StatusOK, release(c).EncodeHistory(h))
}

// historyParams are the parameters of a history. It has no order but its own.
var historyParams = []string{"_since", "_count", "_offset", "_format", "_pretty"}

// historyPage is the number of versions on a page of a history, at most.
const historyPage = 1000

// given is a parameter of the query, as many times as it is there.
func given(c echo.Context, name string) []fhir.Param {
	var params []fhir.Param
	for _, value := range c.QueryParams()[name] {
		params = append(params, fhir.Param{Name: name, Value: value, Expression: name})
	}
	return params
}

func historyEntry(typ, id string, v store.Version) fhir.HistoryEntry {
	entry := fhir.HistoryEntry{Type: typ, ID: id, VersionID: v.VersionID, Method: v.Method, Status: "200", At: v.At, Resource: v.Resource}
	switch {
	case v.Resource == nil:
		entry.Status = "204"
	case v.Created:
		entry.Status = "201"
	}
	return entry
}
