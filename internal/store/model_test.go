package store_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/store"
)

// model is a plain reimplementation of the store.
type model struct {
	versions map[string][]string // id → "" for a deletion, else the family name
	order    []string            // ids of those that exist
}

func (m *model) exists(id string) bool {
	v := m.versions[id]
	return len(v) > 0 && v[len(v)-1] != ""
}

// Any sequence of writes results in contiguous version ids from 1, a history that
// records every write, and a current state that is its newest entry.
func TestStore_AgreesWithAPlainModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		maxVersions := rapid.IntRange(1, 8).Draw(t, "maxVersions")
		c := clock.NewManual(start)
		s := store.New(fhir.R5, c, random.Seeded(1), store.Options{MaxVersions: maxVersions})
		m := &model{versions: map[string][]string{}}
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "id")
			family := "f" + strconv.Itoa(step)
			o := fhir.NewObject("resourceType", "Patient", "name", []any{fhir.NewObject("family", family)})
			last, existed := strconv.Itoa(len(m.versions[id])), m.exists(id)
			var change *store.Change
			var err error
			kind := rapid.SampledFrom([]string{"create", "update", "delete", "if-match", "mismatch", "wait"}).Draw(t, "step")
			switch kind {
			case "create":
				change, err = s.Create("Patient", id, o)
				if refused := err != nil; refused != existed {
					t.Fatalf("create of %s (exists: %v): %v", id, existed, err)
				}
			case "update":
				if change, err = s.Update("Patient", id, o, ""); err != nil {
					t.Fatalf("update of %s: %v", id, err)
				}
			case "delete":
				if change, err = s.Delete("Patient", id, ""); err != nil {
					t.Fatalf("delete of %s: %v", id, err)
				}
				if (change != nil) != existed {
					t.Fatalf("delete of %s (exists: %v): %+v", id, existed, change)
				}
				family = ""
			case "if-match":
				change, err = s.Update("Patient", id, o, `W/"`+last+`"`)
				if refused := err != nil; refused == existed {
					t.Fatalf("update of %s (exists: %v) if it matches %s: %v", id, existed, last, err)
				}
			case "mismatch":
				change, err = s.Update("Patient", id, o, `W/"`+last+`0"`)
				if err == nil {
					t.Fatalf("update of %s against version %s0 passed", id, last)
				}
			case "wait":
				c.Advance(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			}
			if change != nil {
				m.versions[id] = append(m.versions[id], family)
				switch {
				case family == "":
					m.order = slices.DeleteFunc(m.order, func(other string) bool { return other == id })
				case !existed:
					m.order = append(m.order, id)
				}
				wantChange(t, change, existed, family)
			}
			wantModel(t, s, m, maxVersions)
		}
	})
}

func wantChange(t *rapid.T, c *store.Change, existed bool, family string) {
	want := store.Update
	switch {
	case family == "":
		want = store.Delete
	case !existed:
		want = store.Create
	}
	if c.Interaction != want || (c.Previous != nil) != existed || (c.Current == nil) != (family == "") {
		t.Fatalf("change: got %+v, want %s (existed before: %v)", c, want, existed)
	}
}

func wantModel(t *rapid.T, s *store.Store, m *model, maxVersions int) {
	if got := ids(s.List("Patient")); !slices.Equal(got, m.order) {
		t.Fatalf("list: got %v, want %v", got, m.order)
	}
	if got := s.Count(); got != len(m.order) {
		t.Fatalf("count: got %d, want %d", got, len(m.order))
	}
	for id, versions := range m.versions {
		history, err := s.History("Patient", id)
		if err != nil {
			t.Fatalf("history of %s: %v", id, err)
		}
		if want := min(len(versions), maxVersions); len(history) != want {
			t.Fatalf("history of %s: %d versions, want %d", id, len(history), want)
		}
		for i, v := range history {
			n := len(versions) - i
			family := versions[n-1]
			if v.VersionID != strconv.Itoa(n) {
				t.Fatalf("history of %s, entry %d: version %s, want %d", id, i, v.VersionID, n)
			}
			if (v.Resource == nil) != (family == "") || v.Created != (family != "" && (n == 1 || versions[n-2] == "")) {
				t.Fatalf("version %d of %s: got %+v, want family %q", n, id, v, family)
			}
			if i > 0 && v.At.After(history[i-1].At) {
				t.Fatalf("version %d of %s is younger than the next", n, id)
			}
			res, err := s.VRead("Patient", id, v.VersionID)
			if res != v.Resource || (err != nil) != (family == "") {
				t.Fatalf("vread of %s version %d: got %v, %v", id, n, res, err)
			}
			if res == nil {
				continue
			}
			want := fmt.Sprintf(`{"resourceType":"Patient","id":%q,"meta":{"versionId":"%d","lastUpdated":%q},"name":[{"family":%q}]}`,
				id, n, v.At.Format("2006-01-02T15:04:05.000Z"), family)
			if got := string(res.JSON); got != want || string(res.Object.AppendJSON(nil)) != want || !res.LastUpdated.Equal(v.At) {
				t.Fatalf("version %d of %s:\n got %s\nwant %s", n, id, got, want)
			}
		}
		current, err := s.Read("Patient", id)
		if current != history[0].Resource || (err == nil) != m.exists(id) {
			t.Fatalf("read of %s: got %v, %v", id, current, err)
		}
	}
}
