package store_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
	"signalfhir/internal/store"
)

var start = time.Date(2026, 1, 1, 10, 0, 0, 123456789, time.UTC)

func newStore(o store.Options) (*store.Store, *clock.Adjustable) {
	c := clock.NewManual(start)
	return store.New(fhir.R5, c, random.Seeded(1), o), c
}

func parse(t testing.TB, text string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func patient(t testing.TB, family string) *fhir.Object {
	t.Helper()
	return parse(t, fmt.Sprintf(`{"resourceType":"Patient","name":[{"family":%q}]}`, family))
}

// put stores a version of Patient/id and returns the change.
func put(t testing.TB, s *store.Store, id, family string) *store.Change {
	t.Helper()
	change, err := s.Update("Patient", id, patient(t, family), "")
	if err != nil {
		t.Fatalf("update of Patient/%s: %v", id, err)
	}
	return change
}

func remove(t testing.TB, s *store.Store, id string) *store.Change {
	t.Helper()
	change, err := s.Delete("Patient", id, "")
	if err != nil {
		t.Fatalf("delete of Patient/%s: %v", id, err)
	}
	return change
}

func wantRefused(t testing.TB, err error, status int, code string, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("got no refusal, want %d %s", status, code)
		return
	}
	if fhir.AsError(err).Status != status || string(fhir.CodeOf(err)) != code {
		t.Errorf("got %d %s (%v), want %d %s", fhir.AsError(err).Status, fhir.CodeOf(err), err, status, code)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("diagnostics %q: want it to contain %q", err, text)
		}
	}
}

func ids(resources []*fhir.Resource) []string {
	found := []string{}
	for _, r := range resources {
		found = append(found, r.ID)
	}
	return found
}

func TestCreate_PutsTypeIDAndMetaFirstAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	change, err := s.Create("Patient", "p1", parse(t, `{"active":true,"meta":{"versionId":"77","lastUpdated":"1999-01-01T00:00:00Z","profile":["http://example.org/p"],"tag":[{"code":"x"}]},
		"multipleBirthInteger":1.50,"id":"other","resourceType":"Patient"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"resourceType":"Patient","id":"p1","meta":{"versionId":"1","lastUpdated":"2026-01-01T10:00:00.123Z","profile":["http://example.org/p"],"tag":[{"code":"x"}]},"active":true,"multipleBirthInteger":1.50}`
	if got := string(change.Current.JSON); got != want {
		t.Errorf("stored:\n got %s\nwant %s", got, want)
	}
	if change.Interaction != store.Create || change.Method != http.MethodPost || change.Previous != nil || change.State() != change.Current {
		t.Errorf("change: got %+v, want a create by POST", change)
	}
	if r := change.Current; r.Type != "Patient" || r.ID != "p1" || r.VersionID != "1" || r.Release != fhir.R5 || !r.LastUpdated.Equal(change.At) || !change.At.Equal(start.Truncate(time.Millisecond)) {
		t.Errorf("resource: got %+v at %s", r, change.At)
	}
}

func TestCreate_ChoosesAValidID(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	seen := map[string]bool{}
	for range 100 {
		change, err := s.Create("Patient", "", patient(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		id := change.Current.ID
		if !regexp.MustCompile(`^[A-Za-z0-9\-.]{1,64}$`).MatchString(id) || seen[id] {
			t.Errorf("id %q is not valid or not new", id)
		}
		seen[id] = true
	}
}

func TestCreate_RefusesAnIDInUse(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	put(t, s, "p1", "a")
	_, err := s.Create("Patient", "p1", patient(t, "b"))
	wantRefused(t, err, http.StatusConflict, "conflict", "Patient/p1", "version 1")
	if _, err := s.Create("Group", "p1", parse(t, `{"resourceType":"Group"}`)); err != nil {
		t.Errorf("the same id in another type: %v", err)
	}
	remove(t, s, "p1")
	change, err := s.Create("Patient", "p1", patient(t, "c"))
	if err != nil || change.Current.VersionID != "3" {
		t.Errorf("an id that was deleted: got %v, %v; want version 3", change, err)
	}
}

func TestUpdate_MakesTheNextVersionOrTheFirst(t *testing.T) {
	t.Parallel()
	s, c := newStore(store.Options{})
	first := put(t, s, "p1", "a")
	if first.Interaction != store.Create || first.Method != http.MethodPut || first.Previous != nil {
		t.Errorf("update of nothing: got %+v, want a create by PUT", first)
	}
	before := string(first.Current.JSON)
	c.Advance(time.Second)
	second := put(t, s, "p1", "b")
	if second.Interaction != store.Update || second.Method != http.MethodPut || second.Previous != first.Current || second.Current.VersionID != "2" {
		t.Errorf("update: got %+v, want version 2 after version 1", second)
	}
	if !second.At.After(first.At) {
		t.Errorf("lastUpdated: got %s after %s", second.At, first.At)
	}
	if got := string(first.Current.JSON); got != before || string(first.Current.Object.AppendJSON(nil)) != before {
		t.Errorf("version 1 was changed to %s", got)
	}
}

// A new version is often made from a tree that shares parts with the old one.
func TestUpdate_DoesNotChangeThePreviousVersion(t *testing.T) {
	t.Parallel()
	s, c := newStore(store.Options{})
	first := put(t, s, "p1", "a")
	before := string(first.Current.Object.AppendJSON(nil))
	shared := fhir.NewObject("resourceType", "Patient", "meta", first.Current.Object.Object("meta"))
	c.Advance(time.Hour)
	if _, err := s.Update("Patient", "p1", shared, ""); err != nil {
		t.Fatal(err)
	}
	if got := string(first.Current.Object.AppendJSON(nil)); got != before {
		t.Errorf("version 1 was changed:\n got %s\nwant %s", got, before)
	}
}

func TestUpdate_LastUpdatedNeverGoesBack(t *testing.T) {
	t.Parallel()
	times := []time.Time{start, start.Add(-time.Hour), start.Add(time.Hour)}
	s := store.New(fhir.R5, &script{times: times}, random.Seeded(1), store.Options{})
	a, b, c := put(t, s, "p1", "a"), put(t, s, "p1", "b"), put(t, s, "p1", "c")
	if b.At.Before(a.At) || !c.At.After(b.At) {
		t.Errorf("got %s, %s, %s; want them not to go back", a.At, b.At, c.At)
	}
	if !b.Current.LastUpdated.Equal(b.At) {
		t.Errorf("meta.lastUpdated is %s, the change says %s", b.Current.LastUpdated, b.At)
	}
}

// script is a clock that shows one time after the other.
type script struct {
	clock.Clock
	times []time.Time
}

func (s *script) Now() time.Time {
	now := s.times[0]
	s.times = s.times[1:]
	return now
}

func TestDelete_LeavesATombstoneUntilPutAgain(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	if change := remove(t, s, "p1"); change != nil {
		t.Errorf("delete of nothing: got %+v, want no change", change)
	}
	put(t, s, "p1", "a")
	current := put(t, s, "p1", "b").Current
	change := remove(t, s, "p1")
	if change.Interaction != store.Delete || change.Method != http.MethodDelete || change.Previous != current || change.Current != nil || change.State() != current {
		t.Errorf("change: got %+v, want a delete of version 2", change)
	}
	if again := remove(t, s, "p1"); again != nil {
		t.Errorf("second delete: got %+v, want no change", again)
	}
	_, err := s.Read("Patient", "p1")
	wantRefused(t, err, http.StatusGone, "deleted", "Patient/p1", "version 3") // LC-17
	if got := s.Count(); got != 0 {
		t.Errorf("count: got %d, want 0", got)
	}
	recreated := put(t, s, "p1", "c")
	if recreated.Interaction != store.Create || recreated.Previous != nil || recreated.Current.VersionID != "4" {
		t.Errorf("put after delete: got %+v, want a create of version 4", recreated)
	}
}

func TestRead_UnknownIsNotFound(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	put(t, s, "p1", "a")
	for _, at := range [][2]string{{"Patient", "p2"}, {"Group", "p1"}, {"", ""}} {
		_, err := s.Read(at[0], at[1])
		wantRefused(t, err, http.StatusNotFound, "not-found", at[0]+"/"+at[1])
		_, err = s.VRead(at[0], at[1], "1")
		wantRefused(t, err, http.StatusNotFound, "not-found")
		_, err = s.History(at[0], at[1])
		wantRefused(t, err, http.StatusNotFound, "not-found")
	}
	if got := s.List("Group"); len(got) != 0 {
		t.Errorf("list of a type without resources: got %v", ids(got))
	}
}

func TestVRead_ReturnsEachKeptVersion(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{MaxVersions: 3})
	var changes []*store.Change
	for _, family := range []string{"a", "b", "c"} {
		changes = append(changes, put(t, s, "p1", family))
	}
	remove(t, s, "p1") // version 4; version 1 is no longer kept
	got, err := s.VRead("Patient", "p1", "2")
	if err != nil || got != changes[1].Current {
		t.Errorf("version 2: got %v, %v", got, err)
	}
	_, err = s.VRead("Patient", "p1", "4")
	wantRefused(t, err, http.StatusGone, "deleted")
	_, err = s.VRead("Patient", "p1", "1")
	wantRefused(t, err, http.StatusNotFound, "not-found", "no longer kept", "oldest kept is 2")
	for _, version := range []string{"0", "5", "-1", "01", "", "x", "99999999999999999999"} {
		_, err = s.VRead("Patient", "p1", version)
		wantRefused(t, err, http.StatusNotFound, "not-found", "has no version", "latest is 4")
	}
}

func TestHistory_NewestFirstWithDeletions(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	if _, err := s.Create("Patient", "p1", patient(t, "a")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "p1", "b")
	remove(t, s, "p1")
	put(t, s, "p1", "c")
	history, err := s.History("Patient", "p1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range history {
		got = append(got, fmt.Sprint(v.VersionID, " ", v.Method, " created=", v.Created, " deleted=", v.Resource == nil))
	}
	want := []string{
		"4 PUT created=true deleted=false",
		"3 DELETE created=false deleted=true",
		"2 PUT created=false deleted=false",
		"1 POST created=true deleted=false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ifMatch string
		passes  bool
	}{
		{"", true},
		{`W/"3"`, true},
		{`"3"`, true},
		{"3", true},
		{"*", true},
		{`W/"1", W/"3"`, true},
		{`W/"2"`, false},
		{`W/"33"`, false},
		{`W/"03"`, false},
		{`""`, false},
		{" ", false},
		{"three", false},
	} {
		t.Run(c.ifMatch, func(t *testing.T) {
			t.Parallel()
			for _, write := range []func(s *store.Store) error{
				func(s *store.Store) error {
					_, err := s.Update("Patient", "p1", patient(t, "b"), c.ifMatch)
					return err
				},
				func(s *store.Store) error { _, err := s.Delete("Patient", "p1", c.ifMatch); return err },
			} {
				s, _ := newStore(store.Options{})
				for range 3 {
					put(t, s, "p1", "a")
				}
				err := write(s)
				if c.passes && err != nil {
					t.Errorf("refused: %v", err)
				}
				if !c.passes {
					wantRefused(t, err, http.StatusPreconditionFailed, "conflict", "the current version of Patient/p1 is 3")
				}
			}
		})
	}
}

func TestIfMatch_NeverMatchesAMissingResource(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	put(t, s, "gone", "a")
	remove(t, s, "gone")
	for _, id := range []string{"never", "gone"} {
		for _, ifMatch := range []string{"*", `W/"1"`, `W/"2"`} {
			_, err := s.Update("Patient", id, patient(t, "b"), ifMatch)
			wantRefused(t, err, http.StatusPreconditionFailed, "conflict", "Patient/"+id+" does not exist")
			_, err = s.Delete("Patient", id, ifMatch)
			wantRefused(t, err, http.StatusPreconditionFailed, "conflict", "Patient/"+id+" does not exist")
		}
	}
	if got := s.Count(); got != 0 {
		t.Errorf("count: got %d, want 0", got)
	}
}

func TestList_InOrderOfCreation(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	for _, id := range []string{"c", "a", "b", "d"} {
		put(t, s, id, "x")
	}
	put(t, s, "c", "y") // an update keeps the place
	remove(t, s, "a")
	remove(t, s, "d")
	put(t, s, "a", "z") // a second creation does not
	if got, want := ids(s.List("Patient")), []string{"c", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("list: got %v, want %v", got, want)
	}
	if got := s.List("Patient")[0].VersionID; got != "2" {
		t.Errorf("version: got %s, want the current one, 2", got)
	}
	if diff := cmp.Diff(map[string]int{"Patient": 3}, s.Types()); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

func TestStore_Full(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{MaxResources: 2})
	put(t, s, "a", "x")
	put(t, s, "b", "x")
	_, err := s.Update("Patient", "c", patient(t, "x"), "")
	wantRefused(t, err, http.StatusTooManyRequests, "too-costly", "2 resources")
	_, err = s.Create("Group", "", parse(t, `{"resourceType":"Group"}`))
	wantRefused(t, err, http.StatusTooManyRequests, "too-costly")
	_, err = s.Read("Patient", "c")
	wantRefused(t, err, http.StatusNotFound, "not-found") // a refused write leaves nothing behind
	put(t, s, "a", "y")                                   // a full store takes updates
	remove(t, s, "a")
	put(t, s, "c", "x")
}

func TestStore_KeepsALimitedNumberOfTombstones(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{MaxDeleted: 2})
	for _, id := range []string{"a", "b", "c"} {
		put(t, s, id, "x")
	}
	remove(t, s, "a")
	put(t, s, "a", "y")
	remove(t, s, "b")
	remove(t, s, "c")
	remove(t, s, "a") // deleted last, though it was the first to be deleted before
	_, err := s.Read("Patient", "b")
	wantRefused(t, err, http.StatusNotFound, "not-found")
	for _, id := range []string{"a", "c"} {
		_, err := s.Read("Patient", id)
		wantRefused(t, err, http.StatusGone, "deleted")
	}
}

func TestReset_RemovesEverything(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{})
	held := put(t, s, "a", "x").Current
	put(t, s, "b", "x")
	remove(t, s, "b")
	s.Reset()
	for _, id := range []string{"a", "b"} {
		_, err := s.Read("Patient", id)
		wantRefused(t, err, http.StatusNotFound, "not-found")
	}
	if s.Count() != 0 || len(s.Types()) != 0 || len(s.List("Patient")) != 0 {
		t.Errorf("after a reset: %d resources, types %v", s.Count(), s.Types())
	}
	if change := put(t, s, "a", "y"); change.Current.VersionID != "1" || held.VersionID != "1" {
		t.Errorf("after a reset numbering starts at 1, got %s", change.Current.VersionID)
	}
}

// With one writer and many readers, every version a reader gets is complete and never changes.
func TestStore_ReadersSeeWholeVersions(t *testing.T) {
	t.Parallel()
	s, _ := newStore(store.Options{MaxVersions: 5})
	put(t, s, "p", "0")
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if r, err := s.Read("Patient", "p"); err == nil && !strings.Contains(string(r.JSON), `"versionId":"`+r.VersionID+`"`) {
					t.Errorf("version %s has the body %s", r.VersionID, r.JSON)
				}
				if history, err := s.History("Patient", "p"); err == nil {
					for i := 1; i < len(history); i++ {
						if history[i].At.After(history[i-1].At) {
							t.Error("history is out of order")
						}
					}
				}
				s.List("Patient")
				s.Types()
				s.Count()
			}
		})
	}
	for i := range 500 {
		put(t, s, "p", fmt.Sprint(i))
		put(t, s, fmt.Sprint("q", i%10), "x")
		if i%7 == 0 {
			remove(t, s, "p")
		}
		remove(t, s, fmt.Sprint("q", (i+3)%10))
	}
	close(done)
	readers.Wait()
}

// ChangeTo returns the change that the write returned.
func TestChangeTo(t *testing.T) {
	t.Parallel()
	s := store.New(fhir.R5, clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), random.Seeded(1), store.Options{MaxVersions: 3})
	var made []*store.Change
	note := func(c *store.Change, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, c)
	}
	patient := func(family string) *fhir.Object {
		return fhir.NewObject("resourceType", "Patient", "name", []any{fhir.NewObject("family", family)})
	}
	note(s.Update("Patient", "p", patient("A"), ""))
	note(s.Update("Patient", "p", patient("B"), ""))
	check := func(from int) {
		t.Helper()
		for i, want := range made {
			got := s.ChangeTo("Patient", "p", want.VersionID)
			if i < from {
				if got != nil {
					t.Errorf("version %s: got %+v, want none, because the version before it is not kept", want.VersionID, got)
				}
			} else if got == nil || *got != *want {
				t.Errorf("version %s: got %+v, want %+v", want.VersionID, got, want)
			}
		}
	}
	check(0)
	note(s.Delete("Patient", "p", ""))
	check(0)
	note(s.Update("Patient", "p", patient("C"), ""))
	check(2) // version 2 is the oldest kept
	if s.ChangeTo("Patient", "p", "9") != nil || s.ChangeTo("Patient", "q", "1") != nil {
		t.Error("got a change to a version that never existed")
	}
}

// A store that holds too many bytes drops old versions first, and then refuses writes
// until something is deleted.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	s := store.New(fhir.R5, clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), random.Seeded(1), store.Options{MaxBytes: 20_000}) // a version takes 6 kB: its JSON and its tree
	large := func() *fhir.Object {
		return fhir.NewObject("resourceType", "Patient", "name", []any{fhir.NewObject("text", strings.Repeat("x", 3000))})
	}
	for range 10 { // old versions of one resource are dropped
		if _, err := s.Update("Patient", "a", large(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if versions, _ := s.History("Patient", "a"); len(versions) > 4 {
		t.Errorf("%d versions of 6 kB are kept in 20 kB", len(versions))
	}
	if _, err := s.VRead("Patient", "a", "1"); err == nil || !strings.Contains(err.Error(), "no longer kept") {
		t.Errorf("version 1: got %v, want not found, no longer kept", err)
	}
	var refused error
	for _, id := range []string{"b", "c", "d", "e"} {
		if _, err := s.Update("Patient", id, large(), ""); err != nil {
			refused = err
		}
	}
	if refused == nil || fhir.AsError(refused).Status != 429 || fhir.CodeOf(refused) != "too-costly" {
		t.Fatalf("got %v, want 429 too-costly", refused)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Delete("Patient", id, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Update("Patient", "f", large(), ""); err != nil {
		t.Errorf("after deletions: %v", err)
	}
	s.Reset()
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Update("Patient", id, large(), ""); err != nil {
			t.Errorf("after a reset: %v", err)
		}
	}
}
