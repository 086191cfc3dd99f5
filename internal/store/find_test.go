package store_test

import (
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
