package explain_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/explain"
	"signalfhir/internal/room"
)

// How long a write takes while explanations about a thousand subscriptions run without a
// pause and, for comparison, alone and while another goroutine computes. The write makes
// no events: the additional time beside an explanation is waiting.
func BenchmarkWriteBesideExplain(b *testing.B) {
	on := withSubscriptions(b, 1000)
	put(b, on, "SubscriptionTopic", "t", strings.Replace(topicOn("Encounter"), `"resourceTrigger":[`, `"resourceTrigger":[{"resource":"Patient","supportedInteraction":["delete"]},`, 1))
	encounter := parse(b, "Encounter", "e", `"status":"in-progress","subject":{"reference":"Patient/7"}`)
	spin := strings.Repeat("explain", 1000)
	for _, beside := range []struct {
		name string
		run  func()
	}{
		{"alone", func() {}},
		{"computing", func() { _ = strings.ToUpper(spin) }},
		{"explain", func() {
			if e, err := explain.Change(on, nil, encounter, "", budget.New("test", time.Hour)); err != nil || len(e.Topics[0].Subscriptions) != 1000 {
				b.Error(e, err)
			}
		}},
		{"happened", func() {
			_ = explain.Happened(on.Room(), explain.About{Resource: "Patient/p"}, budget.New("test", time.Hour))
		}},
	} {
		b.Run(beside.name, func(b *testing.B) {
			ended := make(chan struct{})
			var others sync.WaitGroup
			if beside.name != "alone" {
				others.Go(func() {
					for {
						select {
						case <-ended:
							return
						default:
							beside.run()
						}
					}
				})
			}
			patient := parse(b, "Patient", "p", `"active":true`)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if _, err := on.Update("Patient", "p", patient, room.Request{}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			close(ended)
			others.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
		})
	}
}
