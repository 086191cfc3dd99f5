package room_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

// How long a write takes while the searches of conditional interactions over ten thousand
// resources run without a pause, and, to compare, alone and beside a goroutine that only
// computes.
func BenchmarkWriteBesideConditions(b *testing.B) {
	const many = 10_000
	r, refused := room.New(room.Options{Releases: []fhir.Release{fhir.R5}, JournalSize: -1})
	if refused != nil {
		b.Fatal(refused)
	}
	defer r.Close()
	on := r.Base(fhir.R5)
	for i := range many {
		put(b, on, "Patient", fmt.Sprint("p", i), fmt.Sprintf(`"identifier":[{"system":"urn:s","value":"%d"}]`, i))
		put(b, on, "Encounter", fmt.Sprint("e", i), fmt.Sprintf(`"status":"in-progress","subject":{"reference":"Patient/p%d"}`, i))
	}
	create := func(typ, members, condition string) func() {
		o := resource(b, `"resourceType":"`+typ+`",`+members)
		return func() {
			if w, err := on.Create(typ, o, condition, room.Request{}); err != nil || !w.Found {
				b.Error(w, err)
			}
		}
	}
	spin := strings.Repeat("search", 1000)
	for _, beside := range []struct {
		name string
		run  func()
	}{
		{"alone", func() {}},
		{"computing", func() { _ = strings.ToUpper(spin) }},
		{"create", create("Patient", `"active":true`, "identifier=urn:s|77")},
		{"chained", create("Encounter", `"status":"planned"`, "patient.identifier=urn:s|77")},
		{"reversed", create("Patient", `"active":true`, "_has:Encounter:patient:_id=e77")},
		{"reference", func() {
			o := resource(b, `"resourceType":"Encounter","id":"linked","status":"planned","subject":{"reference":"Patient?identifier=urn:s|77"}`)
			if _, err := on.Transaction([]room.Operation{{Method: http.MethodPut, Type: "Encounter", ID: "linked", Object: o, Place: "Bundle.entry[0]"}}, room.Request{}); err != nil {
				b.Error(err)
			}
		}},
	} {
		b.Run(beside.name, func(b *testing.B) {
			ended := make(chan struct{})
			var others sync.WaitGroup
			runs := 0
			if beside.name != "alone" {
				others.Go(func() {
					for ; ; runs++ {
						select {
						case <-ended:
							return
						default:
							beside.run()
						}
					}
				})
			}
			// At its pace, so that a search which stops writes stops them often.
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			var took []time.Duration
			for b.Loop() {
				<-pace.C
				began := time.Now()
				put(b, on, "Patient", "p5", `"active":true`)
				took = append(took, time.Since(began))
			}
			close(ended)
			others.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
			b.ReportMetric(float64(runs)/b.Elapsed().Seconds(), "searches/s")
		})
	}
}

// resource parses a resource from its members.
func resource(t testing.TB, members string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte("{" + members + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return o
}
