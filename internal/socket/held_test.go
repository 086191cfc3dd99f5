package socket

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/fault"
	"signalfhir/internal/subscription"
)

// A line finds what leaves next as if it looked at all that it holds, and looks at one frame
// while none is loose.
func TestLine_LooksAtFewFrames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &line{}
		rule := &fault.Rule{}
		for now := time.Duration(0); now < 20; now++ {
			for range rapid.IntRange(0, 3).Draw(t, "frames") {
				h := &held{frame: subscription.Frame{Subscription: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "of")}, by: rule}
				switch rapid.IntRange(0, 4).Draw(t, "fault") {
				case 0:
					h.swap, h.loose = l.swapping(h.frame.Subscription) < 0, l.swapping(h.frame.Subscription) < 0
				case 1:
					h.due, h.loose = now+time.Duration(rapid.IntRange(1, 5).Draw(t, "wait")), true
				default:
					h.due = now + time.Duration(rapid.IntRange(0, 5).Draw(t, "wait"))
				}
				l.join(h)
			}
			for {
				want, blocked, loose := -1, false, 0
				for i, h := range l.held {
					waits := h.swap || h.due > now
					if want < 0 && !waits && (h.loose || !blocked) {
						want = i
					}
					blocked = blocked || waits && !h.loose
					if h.loose {
						loose++
					}
				}
				if got := l.next(now); got != want {
					t.Fatalf("got frame %d, want %d", got, want)
				}
				if loose == 0 && len(l.candidates()) > 1 {
					t.Fatalf("looks at %d frames, want one", len(l.candidates()))
				}
				if want < 0 {
					break
				}
				l.take(want)
			}
			if next := l.dueNext(now); next == nil && len(l.held) > 0 && !l.held[0].swap {
				t.Fatal("the first frame waits, and nothing is due")
			}
		}
	})
}
