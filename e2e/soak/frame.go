package soak

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// frame is what is kept of a message of the server, as a client read it or as the journal
// names it.
type frame struct {
	kind         string // handshake, heartbeat, event-notification, outcome or pong
	subscription string // of a notification; of an outcome, the one whose binding ended
	status       string // of the subscription; a client knows it
	first, last  int64  // numbers of the events
	total        int64  // events of the subscription so far
	focus        []string
	size         int
}

func (f frame) String() string {
	text := f.kind
	if f.subscription != "" {
		text += " " + f.subscription
	}
	if f.first > 0 {
		text += fmt.Sprintf(" %d to %d of %s", f.first, f.last, strings.Join(f.focus, ", "))
	}
	return text + fmt.Sprintf(" (%d so far, %d bytes)", f.total, f.size)
}

// same reports whether a client read the frame that the journal has. Of a frame that is no
// notification the journal may have another text, in which a secret is hidden.
func (f frame) same(read frame) bool {
	if f.kind != read.kind || f.subscription == "" {
		return f.kind == read.kind
	}
	return f.subscription == read.subscription && f.first == read.first && f.last == read.last &&
		f.total == read.total && f.size == read.size && slices.Equal(f.focus, read.focus)
}

var ended = regexp.MustCompile(`the binding to Subscription/(\S+) ended`)

// readFrame reads a message of the server.
func readFrame(data []byte) (frame, error) {
	if string(data) == "pong" {
		return frame{kind: "pong", size: len(data)}, nil
	}
	var body struct {
		ResourceType string
		Issue        []struct{ Diagnostics string }
		bundle
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return frame{}, fmt.Errorf("%w in %s", err, data)
	}
	if body.ResourceType == "OperationOutcome" {
		f := frame{kind: "outcome", size: len(data)}
		for _, issue := range body.Issue {
			if of := ended.FindStringSubmatch(issue.Diagnostics); of != nil {
				f.subscription = of[1]
			}
		}
		return f, nil
	}
	f, err := body.frame()
	f.size = len(data)
	return f, err
}

// bundle is a notification, or the response to $events or $status.
type bundle struct {
	Entry []struct {
		Resource struct {
			ResourceType                 string
			Type, Status                 string
			EventsSinceSubscriptionStart int64 `json:",string"`
			NotificationEvent            []struct {
				EventNumber int64 `json:",string"`
				Focus       struct{ Reference string }
			}
			Subscription struct{ Reference string }
		}
	}
}

// frame returns the status that a bundle begins with. The numbers of its events are
// contiguous.
func (b *bundle) frame() (frame, error) {
	if len(b.Entry) == 0 || b.Entry[0].Resource.ResourceType != "SubscriptionStatus" {
		return frame{}, fmt.Errorf("a bundle without a SubscriptionStatus: %+v", b)
	}
	s := b.Entry[0].Resource
	f := frame{kind: s.Type, status: s.Status, subscription: lastPart(s.Subscription.Reference, 1), total: s.EventsSinceSubscriptionStart}
	for _, e := range s.NotificationEvent {
		if f.first == 0 {
			f.first, f.last = e.EventNumber, e.EventNumber-1
		}
		if e.EventNumber != f.last+1 {
			return f, fmt.Errorf("event %d follows event %d in one bundle", e.EventNumber, f.last)
		}
		f.last = e.EventNumber
		f.focus = append(f.focus, lastPart(e.Focus.Reference, 2))
	}
	return f, nil
}

// lastPart returns the last segments of an address.
func lastPart(address string, segments int) string {
	parts := strings.Split(address, "/")
	return strings.Join(parts[max(0, len(parts)-segments):], "/")
}
