package subscription_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
)

// sink is a socket that accepts all frames and drops them.
type sink struct{ id string }

func (s *sink) ID() string                                                     { return s.id }
func (s *sink) Send(subscription.Frame, func(string, subscription.Frame)) bool { return true }
func (*sink) Ready(int64) <-chan struct{}                                      { return nil }
func (*sink) Lost(string, int64) (int64, bool)                                 { return 0, true }
func (*sink) WhyClosing() string                                               { return "" }

func (s *sink) Unbound(string, subscription.Reason, int) {}

// The cost of an event must not grow with subscriptions on other topics.
func BenchmarkAppend_OtherTopics(b *testing.B) {
	for _, others := range []int{1, 100, 10_000} {
		b.Run(strconv.Itoa(others), func(b *testing.B) {
			r := newRig(b, silent)
			for i := range others {
				r.Put(spec(fmt.Sprint("other", i), onTopic(fmt.Sprint("u", i%100))))
			}
			r.Put(spec("s"))
			r.bind(b, "s", &sink{"a"})
			benchmarkAppend(b, r)
		})
	}
}

// One encoding serves every socket: per socket only the queueing is left.
func BenchmarkAppend_SocketsOfOneSubscription(b *testing.B) {
	for _, sockets := range []int{1, 1000} {
		for _, period := range []time.Duration{0, time.Minute} {
			b.Run(fmt.Sprintf("%d/heartbeat=%s", sockets, period), func(b *testing.B) {
				r := newRig(b, silent)
				r.Put(spec("s", heartbeat(period)))
				for i := range sockets {
					r.bind(b, "s", &sink{strconv.Itoa(i)})
				}
				benchmarkAppend(b, r)
			})
		}
	}
}

// An event costs each further subscription only its small head.
func BenchmarkAppend_SubscriptionsOfOneTopic(b *testing.B) {
	for _, subscriptions := range []int{1, 1000} {
		b.Run(strconv.Itoa(subscriptions), func(b *testing.B) {
			r := newRig(b, silent)
			for i := range subscriptions {
				id := strconv.Itoa(i)
				r.Put(spec(id))
				r.bind(b, id, &sink{id})
			}
			benchmarkAppend(b, r)
		})
	}
}

// byPatient is a filter that is indexed by its value, as a filter by reference is.
type byPatient string

func (f byPatient) Match(res *fhir.Resource) (bool, []string) {
	got, _ := f.Values(res)
	return slices.Contains(got, string(f)), []string{"patient=" + string(f)}
}

func (f byPatient) Index() (string, []string) { return "patient", []string{string(f)} }

func (byPatient) Values(res *fhir.Resource) ([]string, bool) {
	return []string{res.Object.Object("subject").Text("reference")}, true
}

// The cost of an event that passes the filter of one among many subscriptions on
// its topic: finding that one must not grow with the others. Baseline is a filter
// that is not indexed, so that each subscription is evaluated.
func BenchmarkAppend_OneOfManyMatches(b *testing.B) {
	for _, found := range []bool{true, false} {
		for _, many := range []int{100, 10_000, 100_000} {
			b.Run(fmt.Sprintf("indexed=%v/%d", found, many), func(b *testing.B) {
				r := newRig(b, silent)
				for i := range many {
					patient := byPatient(fmt.Sprint("Patient/", i))
					r.Put(spec(strconv.Itoa(i), func(s *subscription.Spec) {
						s.Filter = patient
						if !found {
							s.Filter = filterFunc(patient.Match)
						}
					}))
				}
				o := fhir.NewObject("resourceType", "Encounter", "id", "e", "subject", fhir.NewObject("reference", "Patient/7"))
				res := fhir.NewResource(fhir.R5, o)
				b.ReportAllocs()
				for b.Loop() {
					if got, _ := r.Append("t", occurrence(), res); !slices.ContainsFunc(got, func(d subscription.Delivery) bool { return d.Subscription == "7" && d.Number > 0 }) {
						b.Fatalf("got %v, want an event of 7", got)
					}
				}
			})
		}
	}
}

// The cost of an event per subscription that it concerns, among many on its
// topic: it must not depend on their number.
func BenchmarkAppend_ManyMatch(b *testing.B) {
	for _, matching := range []int{1, 100, 10_000} {
		b.Run(strconv.Itoa(matching), func(b *testing.B) {
			r := newRig(b, silent)
			for i := range 10_000 {
				patient := "Patient/1"
				if i >= matching {
					patient = "Patient/2"
				}
				r.Put(spec(strconv.Itoa(i), func(s *subscription.Spec) { s.Filter = byPatient(patient) }))
			}
			res := fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", "Encounter", "id", "e", "subject", fhir.NewObject("reference", "Patient/1")))
			b.ReportAllocs()
			for b.Loop() {
				r.Append("t", occurrence(), res)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(matching), "ns/matching")
		})
	}
}

// benchmarkAppend makes one occurrence per iteration, as a write does.
func benchmarkAppend(b *testing.B, r *rig) {
	b.ReportAllocs()
	for b.Loop() {
		r.Append("t", occurrence(), state)
	}
}

func BenchmarkBind_ToHandshake(b *testing.B) {
	r := newRig(b, silent)
	r.Put(spec("s", heartbeat(time.Minute)))
	expires := r.in(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		s := &sink{"a"}
		if err := r.Bind("s", s, "k", expires); err != nil {
			b.Fatal(err)
		}
		r.Gone(s)
	}
}
