package subscription_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
	"signalfhir/internal/subscription"
)

// mannered gives a registry manners.
func mannered(m manners.Manners) func(*subscription.Options) {
	return func(o *subscription.Options) {
		o.Manners = &manners.Current{}
		o.Manners.Set(m)
	}
}

// A shared heartbeat leaves out a subscription whose replay is not over: it would hear of
// events that it is still to get.
func TestTogether_LeavesOutAReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t, mannered(manners.Manners{SharedHeartbeat: true}))
	r.Put(spec("behind", heartbeat(time.Minute)))
	r.Put(spec("quiet", heartbeat(time.Minute), onTopic("u")))
	r.happen(100)
	slow := newGatedSocket("slow")
	r.bind(t, "quiet", slow)
	r.SetReplay(policy(t, "all"))
	r.bind(t, "behind", slow)
	slow.await(2 + 64)
	r.clock.Advance(time.Minute)
	slow.await(2 + 64 + 1)
	frames := slow.take()
	beat := frames[len(frames)-1]
	if beat.Type != fhir.Heartbeat || beat.Subscription != "quiet" || bytes.Contains(beat.Bytes, []byte("Subscription/behind")) {
		t.Errorf("got %s, want a heartbeat of quiet alone", beat.Bytes)
	}
	slow.open()
	slow.await(2 + 100 + 1)
	slow.take()
	r.clock.Advance(time.Minute)
	slow.await(2 + 100 + 2)
	if beat := slow.take()[0]; beat.Type != fhir.Heartbeat || strings.Count(string(beat.Bytes), `"SubscriptionStatus"`) != 2 {
		t.Errorf("got %s, want one heartbeat for both", beat.Bytes)
	}
}

// Shared heartbeats of sockets that are bound to the same subscriptions do not wait for each
// other, nor for binds and events.
func TestTogether_Concurrently(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent, mannered(manners.Manners{SharedHeartbeat: true}))
	const subscriptions = 4
	for i := range subscriptions {
		r.Put(spec(fmt.Sprint("s", i), heartbeat(time.Second)))
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for round := range 50 {
				s := newSocket(fmt.Sprint(n, "-", round))
				for i := range subscriptions {
					r.bind(t, fmt.Sprint("s", (i+n)%subscriptions), s)
				}
				r.clock.Advance(time.Second)
				r.happen(1)
				r.Gone(s)
			}
		})
	}
	all.Wait()
}
