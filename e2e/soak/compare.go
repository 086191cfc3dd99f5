package soak

import (
	"fmt"
)

// compareFramesLocked compares the frames that a client read with those that the journal
// says were sent to it. The witness is locked. Unless the journal is complete, it may have
// ended before the last frames.
func (w *world) compareFramesLocked(c *client, complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := w.model.byClient[c.name]
	if s == nil {
		if complete && len(c.frames) > 0 {
			w.differs(c, frame{}, "it read frames, and the journal has no such socket")
		}
		return
	}
	for i, f := range c.frames[:min(len(c.frames), len(s.sent))] {
		if !s.sent[i].same(f) {
			w.differs(c, f, "frame %d should be %s", i, s.sent[i])
			return
		}
	}
	if extra := len(c.frames) - len(s.sent); extra > 0 && complete {
		w.differs(c, c.frames[len(s.sent)], "%d frames more than the journal has", extra)
	}
	// A connection that breaks loses what is on its way. One that ends with a close frame of
	// the server loses nothing but what the journal names before it has the end, and one that
	// is open nothing at all.
	open := c.pace != never && !c.left.Load() && !c.ended
	if !(open && complete || c.told && (complete || s.closed)) {
		return
	}
	for i := len(c.frames); i < len(s.sent); i++ {
		f := s.sent[i]
		gap, lost := s.dropped[f.subscription]
		switch {
		case f.first == 0 && s.slow:
		case f.first > 0 && lost && gap[0] <= f.first && f.last <= gap[1]:
		default:
			w.differs(c, f, "it did not come")
			return
		}
	}
}

func (w *world) differs(c *client, f frame, format string, args ...any) {
	v := violation{world: w.name, client: c.name, subscription: f.subscription, text: fmt.Sprintf(format, args...) + "\n  at " + f.String()}
	if w.first(v) {
		v.history = w.witness.historyLocked(v)
		w.report.violated(v)
	}
}

// events asks for $events or $status of a subscription. It returns false if there is no such
// subscription.
func (w *world) events(id, operation string) (frame, bool) {
	status, data, err := w.room.ask("GET", "/fhir/R5/Subscription/"+id+"/"+operation, nil)
	switch {
	case err != nil, w.closing.Load():
		return frame{}, false
	case status == 404, status == 410:
		return frame{}, false
	case status != 200:
		w.violated(violation{subscription: id, text: fmt.Sprintf("%s: %d %s", operation, status, data)})
		return frame{}, false
	}
	m, err := readMessage(data)
	f := frame{}
	if err == nil {
		f, err = m.frame()
	}
	if err != nil {
		w.violated(violation{subscription: id, text: fmt.Sprintf("%s: %v in %.2000s", operation, err, data)})
		return f, false
	}
	if f.first > 0 && f.last != f.total {
		w.violated(violation{subscription: id, text: fmt.Sprintf("%s: the last event is %d, the counter %d", operation, f.last, f.total)})
	}
	return f, true
}

// keptAtLeast is how many events $events has of each subscription, if there were so many.
const keptAtLeast = 1000

// compareEvents compares $events and $status with the model. Nothing happens meanwhile.
func (w *world) compareEvents(id string) {
	events, is := w.events(id, "$events")
	status, also := w.events(id, "$status")
	w.witness.mu.Lock()
	s := w.model.subscription(id)
	live, focus := s.live, s.generation.focus
	w.witness.mu.Unlock()
	problem := ""
	switch kept := events.last - events.first + 1; {
	case is != also:
		problem = "only one of $events and $status knows it"
	case live != is:
		problem = fmt.Sprintf("it exists: %t, should be %t", is, live)
	case !is:
	case events.total != int64(len(focus)) || status.total != events.total:
		problem = fmt.Sprintf("the counter is %d in $events and %d in $status, and should be %d", events.total, status.total, len(focus))
	case events.total > 0 && (events.first == 0 || kept < min(events.total, keptAtLeast)):
		problem = fmt.Sprintf("$events has %d to %d of %d", events.first, events.last, events.total)
	default:
		for i, resource := range events.focus {
			if n := events.first + int64(i); focus[n-1] != resource {
				problem = fmt.Sprintf("event %d is about %s, should be %s", n, resource, focus[n-1])
			}
		}
	}
	if problem != "" {
		w.violated(violation{subscription: id, text: problem})
	}
}

// compareWritesLocked compares the writes that the server accepted with those that the
// journal has. The witness is locked.
func (w *world) compareWritesLocked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for version, n := range w.accepted {
		if w.model.changes[version] != n {
			w.report.violated(violation{world: w.name, text: fmt.Sprintf("%s was accepted %d times, the journal has it %d times", version, n, w.model.changes[version])})
			return
		}
	}
	for version, n := range w.model.changes {
		if w.accepted[version] != n {
			w.report.violated(violation{world: w.name, text: fmt.Sprintf("%s was accepted %d times, the journal has it %d times", version, w.accepted[version], n)})
			return
		}
	}
}
