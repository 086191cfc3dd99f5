package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"signalfhir/internal/store"
)

func TestFind_LastChangedFirstWithTheDeleted(t *testing.T) {
	t.Parallel()
	s, c := newStore(store.Options{})
	for _, id := range []string{"ward-1", "WARD-2", "other", "ward-3"} {
		put(t, s, id, "Fuchs")
		c.Advance(time.Second)
	}
	remove(t, s, "ward-1")
	tests := map[string]struct {
		typ, text     string
		offset, limit int
		want          []string
		total         int
	}{
		"all":              {typ: "Patient", limit: 9, want: []string{"ward-1", "ward-3", "other", "WARD-2"}, total: 4},
		"text in any case": {typ: "Patient", text: "aRd", limit: 9, want: []string{"ward-1", "ward-3", "WARD-2"}, total: 3},
		"a page":           {typ: "Patient", offset: 1, limit: 2, want: []string{"ward-3", "other"}, total: 4},
		"behind the end":   {typ: "Patient", offset: 9, limit: 2, total: 4},
		"no such text":     {typ: "Patient", text: "none", limit: 9},
		"no such type":     {typ: "Encounter", limit: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, total := s.Find(test.typ, test.text, test.offset, test.limit)
			var ids []string
			for _, f := range found {
				ids = append(ids, f.ID)
				if deleted := f.Resource == nil; deleted != (f.ID == "ward-1") {
					t.Errorf("%s: deleted is %t", f.ID, deleted)
				}
			}
			if !slices.Equal(ids, test.want) || total != test.total {
				t.Errorf("got %v of %d, want %v of %d", ids, total, test.want, test.total)
			}
		})
	}
}

func TestFind_PagesOfALargeTypeAreInOrderAndComplete(t *testing.T) {
	t.Parallel()
	const many, page = 3500, 70
	s, c := newStore(store.Options{})
	for i := range many {
		put(t, s, fmt.Sprintf("p-%04d", i*13%many), "Fuchs")
		if i%3 == 0 { // some changed at the same time
			c.Advance(time.Millisecond)
		}
	}
	var all []store.Found
	for offset := 0; offset < many; offset += page {
		found, total := s.Find("Patient", "p-", offset, page)
		if len(found) != page || total != many {
			t.Fatalf("from %d: got %d of %d, want %d of %d", offset, len(found), total, page, many)
		}
		all = append(all, found...)
	}
	seen := map[string]bool{}
	for i, f := range all {
		seen[f.ID] = true
		if i > 0 && (f.At.After(all[i-1].At) || f.At.Equal(all[i-1].At) && f.ID < all[i-1].ID) {
			t.Fatalf("%s at %s comes after %s at %s", f.ID, f.At, all[i-1].ID, all[i-1].At)
		}
	}
	if len(seen) != many {
		t.Errorf("the pages show %d resources, want each of %d once", len(seen), many)
	}
	if found, total := s.Find("Patient", "", 0, 0); len(found) != 0 || total != many {
		t.Errorf("a page of none: got %d of %d", len(found), total)
	}
}
