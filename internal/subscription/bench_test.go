package subscription_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"signalfhir/internal/subscription"
)

// sink is a socket that takes everything and keeps nothing.
type sink struct{ id string }

func (s *sink) ID() string                          { return s.id }
func (s *sink) Send(subscription.Frame) bool        { return true }
func (s *sink) Unbound(string, subscription.Reason) {}

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

// One encoding serves every socket: what is left per socket is the handing over.
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

// What an event costs each further subscription is its small head.
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

// benchmarkAppend makes an occurrence for each round, as a write does.
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
