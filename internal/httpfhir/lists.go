package httpfhir

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
	"signalfhir/internal/httpedge"
	"signalfhir/internal/store"
)

// Search serves GET [type] and POST [type]/_search.
func (f *FHIR) Search(r *Request) (*Response, error) {
	params := r.Query
	if r.Method == http.MethodPost {
		var err error
		if params, err = r.form(); err != nil {
			return nil, err
		}
		if format := params.Get("_format"); format != "" {
			if err := acceptableFormat(format); err != nil {
				return nil, err
			}
		}
	}
	page, err := r.Base.Search(r.ctx, r.Type, params, r.Strict, r.Limit)
	if err != nil {
		return nil, err
	}
	address := r.URL + "/" + r.Type
	result := &fhir.SearchResult{
		ID:       r.Room.NewID(),
		At:       r.Room.Clock().Now(),
		Base:     r.URL,
		Self:     Link(address, page.Self),
		Total:    page.Total,
		Matches:  page.Matches,
		Included: page.Included,
		Subset:   page.Subset,
		Issues:   page.Issues,
	}
	for _, relation := range []string{"first", "previous", "next", "last"} {
		if params := page.Links[relation]; params != nil {
			result.Links = append(result.Links, fhir.Link{Relation: relation, URL: Link(address, params)})
		}
	}
	return &Response{Status: http.StatusOK, Body: r.Release.EncodeSearchset(result)}, nil
}

// form reads the parameters of a search by POST, those of the query included.
func (r *Request) form() (url.Values, error) {
	kind, _, _ := mime.ParseMediaType(r.contentType())
	if kind != "" && kind != echo.MIMEApplicationForm || r.http == nil {
		return nil, fhir.Refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "Content-Type %q: a search by POST takes application/x-www-form-urlencoded", kind)
	}
	// Without a Content-Type net/http would not read the body.
	form := r.http.Clone(r.http.Context()) // the journal has the headers as they were sent
	form.Header.Set("Content-Type", echo.MIMEApplicationForm)
	if err := form.ParseForm(); httpedge.ReadError(err) != nil {
		return nil, err
	} else if err != nil {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "the search parameters in the body could not be read: %v; send application/x-www-form-urlencoded", err)
	}
	return form.Form, nil
}

// SearchAll refuses GET [base], a search over all types.
func (f *FHIR) SearchAll(r *Request) (*Response, error) {
	r.Out.Set("Allow", "POST, OPTIONS")
	return nil, fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "a search is about one type, as in %s/Patient?name=x; the base itself takes a Bundle by POST, and %s/metadata lists what the server supports", r.URL, r.URL)
}

// Link returns an address with a query.
func Link(address string, params url.Values) string {
	if len(params) == 0 {
		return address
	}
	return address + "?" + params.Encode()
}

// historyParams are the parameters of a history. Its order is fixed.
var historyParams = []string{"_since", "_count", "_offset", "_format", "_pretty"}

// historyPage is the largest number of versions on a page of a history.
const historyPage = 1000

// History serves GET [type]/[id]/_history, GET [type]/_history and GET _history, newest
// first.
func (f *FHIR) History(r *Request) (*Response, error) {
	for name := range r.Query {
		if !slices.Contains(historyParams, name) {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "a history takes %s, not %s", strings.Join(historyParams, ", "), name)
		}
	}
	params := QueryParams(r.Query)
	since, err := params.Instant("_since")
	if err != nil {
		return nil, err
	}
	count, err := params.Number("_count", historyPage)
	if err != nil {
		return nil, err
	}
	offset, err := params.Number("_offset", 0)
	if err != nil {
		return nil, err
	}
	count, offset = min(count, historyPage), min(offset, 1<<30)
	entries, total, refused := r.Base.Log(r.Type, r.ID, since, int(offset), int(count))
	if refused != nil {
		return nil, refused
	}
	bytes := int64(0)
	for i, e := range entries { // a page ends early, but not without a version
		if e.Resource != nil {
			bytes += int64(len(e.Resource.JSON))
		}
		if bytes > r.Limit && i > 0 {
			entries, count = entries[:i], int64(i)
			break
		}
	}
	h := &fhir.History{ID: r.Room.NewID(), At: r.Room.Clock().Now(), Base: r.URL, Total: total, Self: Link(r.URL+r.Path, r.Query)}
	if next := offset + count; count > 0 && next < int64(total) {
		query := maps.Clone(r.Query)
		query.Set("_offset", strconv.FormatInt(next, 10))
		h.Links = append(h.Links, fhir.Link{Relation: "next", URL: Link(r.URL+r.Path, query)})
	}
	for _, e := range entries {
		h.Entries = append(h.Entries, historyEntry(e.Type, e.ID, e.Version))
	}
	return &Response{Status: http.StatusOK, Body: r.Release.EncodeHistory(h)}, nil
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
