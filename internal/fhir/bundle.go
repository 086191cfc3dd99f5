package fhir

import (
	"net/http"
	"strconv"
	"time"
)

// Link is a Bundle.link: self, next, …
type Link struct{ Relation, URL string }

// SearchResult is the content of a searchset.
type SearchResult struct {
	ID       string // uuid of the bundle
	At       time.Time
	Base     string // absolute URL of the FHIR base, no trailing slash
	Self     string // absolute URL of the search as it was understood
	Links    []Link // besides self
	Total    int    // -1: omitted
	Matches  []*Resource
	Included []*Resource
	Subset   *Subset // elements to keep of each; nil: all
	Issues   []Issue // what the client should know about the search; an entry of mode outcome
}

// EncodeSearchset writes the result of a search. It has the self link that R5
// demands (bdl-18). Every entry has fullUrl, resource and search.mode, and never
// request or response (bdl-3a).
func (r Release) EncodeSearchset(s *SearchResult) Body {
	size := 512 + len(s.Self)
	for _, list := range [][]*Resource{s.Matches, s.Included} {
		for _, res := range list {
			size += copied(res) + len(s.Base) + len(res.Type) + len(res.ID) + 64
		}
	}
	w := &bodyWriter{text: appendBundleHead(make([]byte, 0, size), "searchset", s.ID, s.At, s.Total, s.Self, s.Links)}
	entries := entryList{}
	for _, res := range s.Matches {
		w.text = entries.next(w.text)
		s.writeFound(w, res, "match")
	}
	for _, res := range s.Included {
		w.text = entries.next(w.text)
		s.writeFound(w, res, "include")
	}
	dst := w.text
	if len(s.Issues) > 0 {
		// bdl-15 demands a fullUrl here too. The outcome is not stored, so it uses the
		// uuid of its bundle.
		dst = appendString(append(entries.next(dst), `{"fullUrl":`...), "urn:uuid:"+s.ID)
		dst = append(append(dst, `,"resource":`...), EncodeOutcome(s.Issues)...)
		dst = append(dst, `,"search":{"mode":"outcome"}}`...)
	}
	w.text = append(entries.end(dst), '}')
	return w.body()
}

// copied returns how many bytes of a resource a body copies.
func copied(res *Resource) int {
	if len(res.JSON) < sharedBytes {
		return len(res.JSON)
	}
	return 0
}

func (s *SearchResult) writeFound(w *bodyWriter, res *Resource, mode string) {
	content := res.JSON
	if s.Subset != nil {
		content = s.Subset.JSON(res)
	}
	w.text = appendURL(append(w.text, `{"fullUrl":`...), s.Base, res.Type, res.ID)
	w.text = append(w.text, `,"resource":`...)
	w.share(content)
	w.text = appendString(append(w.text, `,"search":{"mode":`...), mode)
	w.text = append(w.text, "}}"...)
}

// History is the content of a history bundle.
type History struct {
	ID      string // uuid of the bundle
	At      time.Time
	Base    string // absolute URL of the FHIR base, no trailing slash
	Self    string // absolute URL of the request; may be ""
	Links   []Link // besides self
	Total   int
	Entries []HistoryEntry // newest first
}

// HistoryEntry is one version of a resource.
type HistoryEntry struct {
	Type, ID, VersionID string
	Method              string // POST or PUT; a version without Resource is a DELETE
	Status              string // "201"; if empty, the usual status for Method
	At                  time.Time
	Resource            *Resource // nil: this version is a deletion
}

// EncodeHistory writes the versions of a resource. Every entry has request and
// response; it has a resource only if the request brought one (bdl-3b, bdl-14).
func (r Release) EncodeHistory(h *History) Body {
	size := 512 + len(h.Self)
	for i := range h.Entries {
		size += 320 + len(h.Base)
		if res := h.Entries[i].Resource; res != nil {
			size += copied(res)
		}
	}
	w := &bodyWriter{text: appendBundleHead(make([]byte, 0, size), "history", h.ID, h.At, h.Total, h.Self, h.Links)}
	entries := entryList{}
	for i := range h.Entries {
		w.text = entries.next(w.text)
		w.writeVersion(h.Base, &h.Entries[i])
	}
	w.text = append(entries.end(w.text), '}')
	return w.body()
}

func (w *bodyWriter) writeVersion(base string, e *HistoryEntry) {
	request := Entry{Type: e.Type, ID: e.ID, Method: http.MethodPut}
	status := "200"
	switch {
	case e.Resource == nil:
		request.Method, status = http.MethodDelete, "204"
	case e.Method == http.MethodPost:
		request.Method, status = http.MethodPost, "201"
	}
	if e.Status != "" {
		status = e.Status
	}
	w.text = appendURL(append(w.text, `{"fullUrl":`...), base, e.Type, e.ID)
	if e.Resource != nil {
		w.text = append(w.text, `,"resource":`...)
		w.share(e.Resource.JSON)
	}
	dst := appendRequest(append(w.text, ','), &request)
	dst = appendString(append(dst, `,"response":{"status":`...), status)
	dst = appendString(append(dst, `,"etag":`...), `W/"`+e.VersionID+`"`)
	dst = appendInstant(append(dst, `,"lastModified":`...), e.At)
	w.text = append(dst, "}}"...)
}

// EncodeStatusBundle writes the result of $status: a searchset with one status of
// type query-status for each subscription found (OPS-1 to OPS-6), without events
// (OPS-8). id is a uuid, self the absolute URL of the request.
func (r Release) EncodeStatusBundle(id string, at time.Time, self string, statuses []*Notification) []byte {
	dst := appendBundleHead(make([]byte, 0, 512+len(self)+768*len(statuses)), "searchset", id, at, len(statuses), self, nil)
	entries := entryList{}
	for _, n := range statuses {
		status := *n
		status.Type, status.Events = QueryStatus, nil
		dst = r.appendStatusEntry(entries.next(dst), &status, "", nil)
		dst = append(dst, `,"search":{"mode":"match"}}`...)
	}
	return append(entries.end(dst), '}')
}

// appendBundleHead appends a bundle up to its entries.
func appendBundleHead(dst []byte, kind, id string, at time.Time, total int, self string, links []Link) []byte {
	dst = appendString(append(dst, `{"resourceType":"Bundle","id":`...), id)
	dst = appendString(append(dst, `,"type":`...), kind)
	dst = appendInstant(append(dst, `,"timestamp":`...), at)
	if total >= 0 {
		dst = strconv.AppendInt(append(dst, `,"total":`...), int64(total), 10)
	}
	all := links
	if self != "" {
		all = append([]Link{{"self", self}}, links...)
	}
	for i, link := range all {
		if i == 0 {
			dst = append(dst, `,"link":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendString(append(dst, `{"relation":`...), link.Relation)
		dst = appendString(append(dst, `,"url":`...), link.URL)
		dst = append(dst, '}')
	}
	if len(all) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

// entryList writes the punctuation around the entries of a bundle. A bundle without
// entries has no member entry: FHIR has no empty arrays.
type entryList struct{ opened bool }

func (l *entryList) next(dst []byte) []byte {
	if l.opened {
		return append(dst, ',')
	}
	l.opened = true
	return append(dst, `,"entry":[`...)
}

func (l *entryList) end(dst []byte) []byte {
	if l.opened {
		return append(dst, ']')
	}
	return dst
}
