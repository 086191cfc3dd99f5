package soak

import (
	"bytes"
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
	m, err := readMessage(data)
	if err != nil {
		return frame{}, fmt.Errorf("%w in %.2000s", err, data)
	}
	if m.resourceType == "OperationOutcome" {
		f := frame{kind: "outcome", size: len(data)}
		for _, issue := range m.issues {
			if of := ended.FindStringSubmatch(issue.Diagnostics); of != nil {
				f.subscription = of[1]
			}
		}
		return f, nil
	}
	f, err := m.frame()
	f.size = len(data)
	return f, err
}

// message is what is read of an OperationOutcome, or of a bundle: a notification, or the
// response to $events or $status.
type message struct {
	resourceType string
	issues       []struct{ Diagnostics string }
	first        struct { // entry
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

// readMessage reads a message up to the first entry of a bundle. The others may be long,
// and reading them would slow the clients down, not the server.
func readMessage(data []byte) (m message, err error) {
	in := json.NewDecoder(bytes.NewReader(data))
	if _, err := in.Token(); err != nil {
		return m, err
	}
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return m, err
		}
		var into any = new(json.RawMessage)
		switch name {
		case "resourceType":
			into = &m.resourceType
		case "issue":
			into = &m.issues
		case "entry":
			if _, err := in.Token(); err != nil {
				return m, err
			}
			return m, in.Decode(&m.first)
		}
		if err := in.Decode(into); err != nil {
			return m, err
		}
	}
	return m, nil
}

// frame returns the status that a bundle begins with. The numbers of its events are
// contiguous.
func (m *message) frame() (frame, error) {
	s := m.first.Resource
	if s.ResourceType != "SubscriptionStatus" {
		return frame{}, fmt.Errorf("a %s that does not begin with a SubscriptionStatus", m.resourceType)
	}
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
