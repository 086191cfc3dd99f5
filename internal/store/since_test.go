package store_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/store"
)

func TestSince_ReturnsWhatChangedOnce(t *testing.T) {
	t.Parallel()
	s := store.New(fhir.R5, clock.Real(), random.Seeded(1), store.Options{MaxDeleted: 1})
	put := func(id string) {
		t.Helper()
		o := fhir.NewObject()
		o.Set("resourceType", "Patient")
		if _, err := s.Update("Patient", id, o, ""); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(id string) {
		t.Helper()
		if c, err := s.Delete("Patient", id, ""); err != nil || c == nil {
			t.Fatal(c, err)
		}
	}
	want := func(since uint64, ids ...string) {
		t.Helper()
		changed, now, ok := s.Since(since)
		var got []string
		for _, one := range changed {
			got = append(got, one.ID)
		}
		if !ok || !slices.Equal(got, ids) || now != s.Commits() {
			t.Errorf("since %d of %d: got %q %v", since, now, got, ok)
		}
	}
	start := s.Commits()
	want(start)
	put("a")
	put("b")
	put("a")
	want(start, "b", "a")
	middle := s.Commits()
	remove("b")
	remove("a") // the tombstone of b goes
	put("b")
	want(middle, "b", "a", "b") // the first b is another record, which is gone
	want(s.Commits())

	s.Reset()
	if changed, _, ok := s.Since(middle); ok {
		t.Errorf("after a reset: got %v", changed)
	}
	want(s.Commits())
}

func TestSince_KnowsThousandsOfChanges(t *testing.T) {
	t.Parallel()
	s := store.New(fhir.R5, clock.Real(), random.Seeded(1), store.Options{})
	oldest := s.Commits()
	for i := range 20_000 {
		o := fhir.NewObject()
		o.Set("resourceType", "Patient")
		before := s.Commits()
		if _, _, err := s.Commit(store.Write{Method: http.MethodPut, Type: "Patient", ID: fmt.Sprint(i), Object: o}); err != nil {
			t.Fatal(err)
		}
		if changed, _, ok := s.Since(before); !ok || len(changed) != 1 || changed[0].ID != fmt.Sprint(i) {
			t.Fatalf("write %d: got %v %v", i, changed, ok)
		}
	}
	if changed, _, ok := s.Since(s.Commits() - 4096); !ok || len(changed) != 4096 {
		t.Errorf("got %d changes (%v), want 4096", len(changed), ok)
	}
	if _, _, ok := s.Since(oldest); ok {
		t.Error("it remembers every change")
	}
}
