package httpmock

import (
	"fmt"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// caughtUp waits until a client has the events that happened while it was away, whatever
// brought them: a socket that was bound since, with a replay, a resend or as they happened, or
// $events. A socket that was bound before may be dead, so what was sent to it does not count.
func (in *awaitBody) caughtUp() (*condition, error) {
	id := in.CaughtUp.Subscription
	want := max(1, in.CaughtUp.Count)
	var since uint64
	if in.Since != nil {
		since = *in.Since
	}
	var happened int
	var missing map[int64]bool // numbers of events
	return &condition{
		what:         fmt.Sprintf("the client of Subscription/%s to have %s: sent to a socket that was bound since, or asked for with $events", id, quantity(want, "event")),
		subscription: id,
		near:         ofKind(journal.Bound, journal.Events),
		progress: func() string {
			return fmt.Sprintf("%s happened, and it does not have %d", quantity(happened, "event"), len(missing))
		},
		selects: func() func(*journal.Entry) bool {
			fresh := map[string]bool{} // sockets
			happened, missing = 0, map[int64]bool{}
			return func(e *journal.Entry) bool {
				if e.Subscription != id || e.Seq <= since {
					return false
				}
				got := false
				switch e.Kind {
				case journal.Bound:
					fresh[e.Socket] = true
				case journal.Appended:
					missing[e.First] = true
					happened++
				case journal.Sent:
					got = fresh[e.Socket] && e.Type == string(fhir.EventNotification)
				case journal.Events:
					got = true
				}
				for number := range missing {
					if got && e.First <= number && (number <= e.Last || e.Kind == journal.Events && e.Last == 0) {
						delete(missing, number)
					}
				}
				return got && happened >= want && len(missing) == 0
			}
		},
	}, requireSubscription("caughtUp", id, checkCount("caughtUp.count", in.CaughtUp.Count))
}
