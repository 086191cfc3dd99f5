package room_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

func newBase(t testing.TB) *room.Base {
	t.Helper()
	r, refused := room.New(room.Options{Releases: []fhir.Release{fhir.R5}})
	if refused != nil {
		t.Fatal(refused)
	}
	t.Cleanup(r.Close)
	return r.Base(fhir.R5)
}

// Of many requests for the same conditional create, one creates the resource and the
// others find it, whatever the condition is.
func TestConditionalCreate_CreatesOne(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]struct{ members, condition string }{
		"plain":    {`"identifier":[{"value":"1"}]`, "identifier=1"},
		"chained":  {`"managingOrganization":{"reference":"Organization/o"}`, "organization.name=Acme"},
		"negated":  {`"active":true`, "active:not=false&identifier:missing=true"},
		"reversed": {`"id":"x","link":[{"other":{"reference":"Patient/hub"},"type":"seealso"}]`, "link:Patient._has:Patient:link:link=Patient/hub"},
	} {
		for _, transaction := range []bool{false, true} {
			t.Run(name+"/"+strconv.FormatBool(transaction), func(t *testing.T) {
				t.Parallel()
				on := newBase(t)
				put(t, on, "Organization", "o", `"name":"Acme"`)
				put(t, on, "Patient", "hub", `"active":false`)
				var created, found atomic.Int32
				var clients sync.WaitGroup
				for i := range 8 {
					clients.Go(func() {
						for j := range 5 {
							put(t, on, "Organization", fmt.Sprint("other", i), fmt.Sprintf(`"name":"O %d"`, j))
							put(t, on, "Patient", fmt.Sprint("p", i), `"active":false`)
							o := room.Operation{Method: http.MethodPost, Type: "Patient", Object: resource(t, `"resourceType":"Patient",`+create.members), Search: create.condition}
							if transaction {
								o.Place = "Bundle.entry[0]"
							}
							w, err := on.Write(o, room.Request{})
							switch {
							case err != nil:
								t.Error(err)
							case w.Created:
								created.Add(1)
							case w.Found:
								found.Add(1)
							}
						}
					})
				}
				clients.Wait()
				if created.Load() != 1 || found.Load() != 39 {
					t.Errorf("%d created it and %d found it, want 1 and 39", created.Load(), found.Load())
				}
			})
		}
	}
}

// conditional lists conditions on Patient/a, each with a resource for which it holds and one
// for which it does not.
var conditional = map[string]struct{ condition, typ, id, open, closed string }{
	"plain":    {"name=Open", "Patient", "a", `"name":[{"text":"Open"}]`, `"name":[{"text":"Closed"}]`},
	"chained":  {"organization.name=Open", "Organization", "o", `"name":"Open"`, `"name":"Closed"`},
	"reversed": {"_has:Encounter:patient:status=planned", "Encounter", "e", `"status":"planned","subject":{"reference":"Patient/a"}`, `"status":"completed","subject":{"reference":"Patient/a"}`},
	"list":     {"_list=l", "List", "l", `"status":"current","mode":"working","entry":[{"item":{"reference":"Patient/a"}}]`, `"status":"current","mode":"working"`},
}

// conditionally lists the interactions on the Patient that a search selects. A write sets
// the gender.
func conditionally(t testing.TB, search string) map[string]room.Operation {
	return map[string]room.Operation{
		"update": {Method: http.MethodPut, Type: "Patient", Search: search, Object: resource(t, `"resourceType":"Patient","id":"a","gender":"other","managingOrganization":{"reference":"Organization/o"}`)},
		"patch":  {Method: http.MethodPatch, Type: "Patient", Search: search, Patch: room.JSONPatch([]byte(`[{"op":"add","path":"/gender","value":"other"}]`))},
		"delete": {Method: http.MethodDelete, Type: "Patient", Search: search},
	}
}

// If a concurrent write makes the search of a conditional interaction match no longer, the
// interaction comes before that write or does nothing.
func TestConditions_HoldWhenTheWriteHappens(t *testing.T) {
	t.Parallel()
	for name, c := range conditional {
		for interaction, operation := range conditionally(t, c.condition) {
			t.Run(name+"/"+interaction, func(t *testing.T) {
				t.Parallel()
				on := newBase(t)
				for i := range 100 { // so that the search takes a while
					put(t, on, "Patient", fmt.Sprint("other", i), `"active":true`)
				}
				for range 20 {
					put(t, on, "Patient", "a", `"managingOrganization":{"reference":"Organization/o"}`)
					put(t, on, c.typ, c.id, c.open)
					_, last := on.Room().Journal().Range()
					var both sync.WaitGroup
					both.Go(func() { put(t, on, c.typ, c.id, c.closed) })
					both.Go(func() {
						_, err := on.Write(operation, room.Request{})
						if err != nil && fhir.StatusOf(err) != http.StatusNotFound && fhir.StatusOf(err) != http.StatusConflict {
							t.Error(err)
						}
					})
					both.Wait()
					closed := false
					for _, e := range on.Room().Journal().Entries(journal.Filter{Kinds: []string{journal.Change}, After: last}) {
						acted := e.Interaction == "delete"
						if res, err := on.ReadVersion("Patient", "a", e.Version); err == nil && e.Resource == "Patient/a" {
							acted = res.Object.Text("gender") == "other" && e.Interaction == "update"
						}
						closed = closed || !acted
						if acted && closed {
							t.Fatalf("%s of Patient/a, version %s, came when it did not match any more", e.Interaction, e.Version)
						}
					}
				}
			})
		}
	}
}

// A conditional reference is resolved among the resources that are stored when the
// transaction is stored, even one that a patch adds.
func TestConditionalReferences_ResolveBesideWrites(t *testing.T) {
	t.Parallel()
	on := newBase(t)
	put(t, on, "Organization", "o", `"name":"Acme"`)
	put(t, on, "Encounter", "patched", `"status":"planned"`)
	var clients sync.WaitGroup
	clients.Go(func() {
		for i := range 50 {
			put(t, on, "Patient", fmt.Sprint("p", i%2), fmt.Sprintf(`"identifier":[{"value":"%d"}],"managingOrganization":{"reference":"Organization/o"}`, i))
		}
	})
	clients.Go(func() {
		for i := range 50 {
			to := fmt.Sprintf("Patient?organization.name=Acme&identifier=%d", i)
			written, err := on.Transaction([]room.Operation{
				{Method: http.MethodPut, Type: "Encounter", ID: "put", Place: "Bundle.entry[0]", Object: resource(t, `"resourceType":"Encounter","id":"put","status":"planned","subject":{"reference":"`+to+`"}`)},
				{Method: http.MethodPatch, Type: "Encounter", ID: "patched", Place: "Bundle.entry[1]", Patch: room.JSONPatch([]byte(`[{"op":"add","path":"/subject","value":{"reference":"` + to + `"}}]`))},
			}, room.Request{})
			if err != nil {
				if fhir.StatusOf(err) != http.StatusPreconditionFailed {
					t.Error(err)
				}
				continue
			}
			for _, w := range written {
				if got, want := w.Resource.Object.Object("subject").Text("reference"), fmt.Sprint("Patient/p", i%2); got != want {
					t.Errorf("%s refers to %s, want %s", w.ID, got, want)
				}
			}
		}
	})
	clients.Wait()
}
