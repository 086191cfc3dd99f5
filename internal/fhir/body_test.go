package fhir_test

import (
	"bytes"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// bulk returns a stored resource of some bytes.
func bulk(id string, bytes int) *fhir.Resource {
	return fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Patient", "id", id, "implicitRules", "http://example.org/"+strings.Repeat("x", bytes)))
}

// A body shares the bytes of large resources. Those of small ones, and what is between, take
// little memory.
func TestBody_SharesLargeResources(t *testing.T) {
	t.Parallel()
	const large = 100_000
	first, small, second := bulk("a", large), bulk("b", 10), bulk("c", large)
	version := func(r *fhir.Resource) fhir.HistoryEntry {
		return fhir.HistoryEntry{Type: "Patient", ID: r.ID, VersionID: "1", Method: "POST", At: at("10:00:00"), Resource: r}
	}
	found := &fhir.SearchResult{ID: "x", At: at("10:00:00"), Base: base, Matches: []*fhir.Resource{first, small}, Included: []*fhir.Resource{second}}
	for name, body := range map[string]fhir.Body{
		"searchset": fhir.R5.EncodeSearchset(found),
		"history":   fhir.R5.EncodeHistory(&fhir.History{ID: "x", At: at("10:00:00"), Base: base, Entries: []fhir.HistoryEntry{version(first), version(small), version(second)}}),
		"responses": fhir.EncodeResponses("x", "batch-response", at("10:00:00"), []fhir.Response{{Status: "200", Resource: fhir.Whole(first.JSON)}, {Status: "200", Resource: fhir.Whole(small.JSON)}, {Status: "200", Resource: fhir.Whole(second.JSON)}}),
		// A search in a batch.
		"responses of bodies": fhir.EncodeResponses("x", "batch-response", at("10:00:00"), []fhir.Response{{Status: "200", Resource: fhir.R5.EncodeSearchset(found)}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shared, own := 0, 0
			for _, part := range body {
				if &part[0] == &first.JSON[0] || &part[0] == &second.JSON[0] {
					shared++
				} else {
					own += cap(part)
				}
			}
			if shared != 2 || own > large/4 {
				t.Errorf("%d resources are shared, and %d bytes are not; want two, and a few bytes", shared, own)
			}
			whole := body.Bytes()
			if _, err := fhir.Parse(whole); err != nil || int64(len(whole)) != body.Len() {
				t.Errorf("%d bytes, of %d: %v", len(whole), body.Len(), err)
			}
			for _, r := range []*fhir.Resource{first, small, second} {
				if bytes.Count(whole, r.JSON) != 1 {
					t.Errorf("Patient/%s is in the body %d times, want once", r.ID, bytes.Count(whole, r.JSON))
				}
			}
		})
	}
}

// A tree of many small elements takes several times as much memory as its JSON.
func TestFootprint_CountsTheTree(t *testing.T) {
	t.Parallel()
	var names []any
	for range 1000 {
		names = append(names, fhir.NewObject("family", "a"))
	}
	many := fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Patient", "name", names))
	if n := many.Footprint(); n < 3*len(many.JSON) {
		t.Errorf("%d bytes for %d of JSON, want at least three times as much", n, len(many.JSON))
	}
	if one := bulk("a", 100_000); one.Footprint() < 2*len(one.JSON) || one.Footprint() > 3*len(one.JSON) {
		t.Errorf("%d bytes for %d of JSON, want about twice as much", one.Footprint(), len(one.JSON))
	}
}
