package room

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/store"
	"signalfhir/internal/synth"
	"signalfhir/internal/topic"
)

// Trigger describes synthetic events: events without a write.
type Trigger struct {
	Topic        string        // canonical: every subscription on it whose filters the focus passes
	Subscription string        // or one subscription, ignoring its filters
	Release      fhir.Release  // of the subscriptions on the topic; "": every release that has the topic
	Focus        *fhir.Object  // nil: see Reference
	Reference    string        // "Encounter/1", stored or not; "": an example is made
	Interaction  string        // create, update or delete; "": create
	Count        int           // number of events
	Interval     time.Duration // between them; 0: at once
}

// Fired is one event that a trigger made.
type Fired struct {
	Subscription string `json:"subscription"`
	Number       int64  `json:"number"`
}

// Triggered is what a trigger did.
type Triggered struct {
	Events    []Fired // at most maxFired
	Omitted   int     // events that Events leaves out
	Scheduled int     // occurrences that are to come
}

// maxFired is how many events the result of a trigger names: many occurrences that concern
// many subscriptions are millions of events.
const maxFired = 10_000

// add adds events, and counts those that are too many.
func (t *Triggered) add(fired []Fired) {
	named := min(len(fired), maxFired-len(t.Events))
	t.Events = append(t.Events, fired[:named]...)
	t.Omitted += len(fired) - named
}

// maxTriggers is the largest number of events of one call.
const maxTriggers = 100_000

// pendingTrigger is a trigger that still has events to fire.
type pendingTrigger struct{ stop func(why error) }

// Trigger fires the events of t. Without an interval, all events are appended when it
// returns. It makes them as fast as the bound sockets take them, and other writes can
// come between. It stops early when ctx ends, the room is reset or closes, and when the
// subscription or topic goes away; then it returns an error and what it has fired. With
// an interval, only the first event is appended when Trigger returns, and the others
// follow on the room's clock.
func (r *Room) Trigger(ctx context.Context, t Trigger) (*Triggered, error) {
	switch {
	case (t.Topic == "") == (t.Subscription == ""):
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "give either a topic (its canonical URL) or a subscription (its id)")
	case t.Count < 1 || t.Count > maxTriggers:
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "count: got %d, expected 1 to %d", t.Count, maxTriggers)
	case t.Interval < 0:
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "interval: got %s, expected zero or more", t.Interval)
	}
	method, ok := map[string]string{"": http.MethodPost, "create": http.MethodPost, "update": http.MethodPut, "delete": http.MethodDelete}[t.Interaction]
	if !ok {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "interaction: got %q, expected create, update or delete", t.Interaction)
	}

	if t.Interval == 0 {
		return r.fireAll(ctx, t, method)
	}
	if err := r.Admit(); err != nil {
		return nil, err
	}
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.checkOpen(); err != nil {
		return nil, err
	}
	on, err := r.targetsLocked(t)
	if err != nil {
		return nil, err
	}
	fired, _, err := r.fireLocked(t, on, method)
	if err != nil {
		return nil, err
	}
	if t.Count > 1 {
		r.scheduleLocked(t, method, t.Count-1)
	}
	done := &Triggered{Events: []Fired{}, Scheduled: t.Count - 1}
	done.add(fired)
	return done, nil
}

// firing is a trigger whose events are made at once.
type firing struct {
	room    *Room
	trigger Trigger
	method  string
	states  map[*Base]*fhir.Resource // the focus of each base: the events share its bytes
	done    int                      // occurrences made
	result  Triggered
}

// fireAll fires all events of a trigger, in rounds. After each round it waits until the
// sockets that got events have room for more, so that a large trigger neither fills their
// queues nor holds the write lock for long.
func (r *Room) fireAll(ctx context.Context, t Trigger, method string) (*Triggered, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.open, func() { cancel(r.checkOpen()) })()
	p := &pendingTrigger{stop: cancel}
	r.write.Lock()
	r.pending[p] = struct{}{}
	r.write.Unlock()
	defer func() {
		r.write.Lock()
		defer r.write.Unlock()
		delete(r.pending, p)
	}()
	f := &firing{room: r, trigger: t, method: method, states: map[*Base]*fhir.Resource{}, result: Triggered{Events: []Fired{}}} // not nil, which is null as JSON
	for {
		fired, err := f.round(ctx)
		f.result.add(fired)
		if err == nil && f.done == t.Count {
			return &f.result, nil
		}
		if err == nil && !r.subscriptions.AwaitReaders(ctx, subscriptionsOf(fired)) {
			err = stopped(ctx)
		}
		if err != nil && f.done > 0 {
			err = fhir.Refuse(fhir.StatusOf(err), fhir.CodeOf(err), "the trigger stopped after %d of %d events: %v", f.done, t.Count, err)
		}
		if err != nil {
			return &f.result, err
		}
		r.AwaitHeld(ctx) // a fault may have closed a socket after an event
	}
}

// subscriptionsOf returns the subscriptions that got events, each once.
func subscriptionsOf(fired []Fired) []string {
	ids := make([]string, len(fired))
	for i, f := range fired {
		ids[i] = f.Subscription
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// A round of a trigger ends when it has made this many events, or events with this many
// bytes.
const (
	roundEvents = 64
	roundBytes  = 1 << 20
)

// round fires the next events.
func (f *firing) round(ctx context.Context) (fired []Fired, err error) {
	r := f.room
	if err := r.Admit(); err != nil {
		return nil, err
	}
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.checkOpen(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // a reset has also removed the subscription
		return fired, stopped(ctx)
	}
	on, err := r.targetsLocked(f.trigger)
	if err != nil {
		return nil, err
	}
	for i := range on {
		on[i].states = f.states
	}
	begin, bytes := f.done, int64(0)
	for f.done < f.trigger.Count && f.done-begin < roundEvents && len(fired) < roundEvents && bytes < roundBytes && !(f.done > begin && r.clock.Held()) {
		if ctx.Err() != nil {
			return fired, stopped(ctx)
		}
		more, size, err := r.fireLocked(f.trigger, on, f.method)
		if err != nil {
			return fired, err
		}
		f.done++
		bytes += size
		fired = append(fired, more...)
	}
	return fired, nil
}

// target is a base on which the events of a trigger happen.
type target struct {
	base  *Base
	topic *topic.Topic // nil if the subscription has none, or it was deleted
	typ   string       // of an example resource

	states map[*Base]*fhir.Resource // the focus in the form of a base, once it is made; nil: make it each time
}

// targetsLocked returns where the events of t happen: on the base of its subscription,
// or on every base that has the topic and could send the focus.
func (r *Room) targetsLocked(t Trigger) ([]target, error) {
	if t.Subscription != "" {
		b, err := r.baseOf(t.Subscription)
		if err != nil {
			return nil, err
		}
		if _, err := b.store.Read("Subscription", t.Subscription); err != nil {
			return nil, err
		}
		state, _ := r.subscriptions.State(t.Subscription)
		if dormant(state.Status) {
			return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "Subscription/%s is %s, so it gets no events; set its status to \"requested\" first", t.Subscription, state.Status)
		}
		on, _ := b.topicByKey(state.TopicKey)
		typ := focusType(on)
		if c := b.classic.find(t.Subscription); c != nil {
			typ = c.Type
		}
		return []target{{base: b, topic: on, typ: typ}}, b.checkFocusLocked(t, typ)
	}
	var targets []target
	var refused error
	for _, b := range r.bases {
		if t.Release != "" && t.Release != b.release {
			continue
		}
		on, ok := b.topics.Resolve(t.Topic)
		if !ok {
			continue
		}
		if err := b.checkFocusLocked(t, focusType(on)); err != nil {
			if refused == nil {
				refused = err
			}
			continue // another release may know the focus
		}
		targets = append(targets, target{base: b, topic: on, typ: focusType(on)})
	}
	switch {
	case len(targets) > 0:
		return targets, nil
	case refused != nil:
		return nil, refused
	}
	return nil, fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "this server has no topic %s; it has %s", t.Topic, strings.Join(r.topicURLs(), ", "))
}

// focusType returns the first resource type of a topic, or "" if there is none.
func focusType(on *topic.Topic) string {
	if on == nil || len(on.Resources()) == 0 {
		return ""
	}
	return on.Resources()[0]
}

// checkFocusLocked refuses a focus that the server could not send. typ is the type of
// the example that it makes without a focus.
func (b *Base) checkFocusLocked(t Trigger, typ string) error {
	if t.Focus != nil && t.Reference != "" {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "give the focus as a resource or as a reference, not both")
	}
	if t.Focus != nil {
		typ = t.Focus.Text("resourceType")
		if !b.release.IsResourceType(typ) {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "focus.resourceType: %q is not a resource type of FHIR %s", typ, b.release)
		}
		return fhir.RefuseAll(b.release.Validate(t.Focus))
	}
	if t.Reference != "" {
		typ, id, ok := strings.Cut(t.Reference, "/")
		if !ok || !b.release.IsResourceType(typ) || !fhir.IsID(id) {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "reference: got %q, expected Type/id such as Encounter/1", t.Reference)
		}
		return nil
	}
	if typ == "" {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeRequired, "the topic has no resource type to make an example of; give a focus or a reference")
	}
	return nil
}

// fireLocked appends one synthetic occurrence, the same one on every target, in the form
// of its release. It returns the events and the size of the occurrence in bytes.
func (r *Room) fireLocked(t Trigger, targets []target, method string) (fired []Fired, size int64, err error) {
	now := r.clock.Now()
	made := t.Focus
	if made == nil && t.Reference == "" {
		typ := targets[0].typ
		if made = synth.Example(typ, r.random, now); made == nil {
			made = fhir.NewObject("resourceType", typ)
		}
	}
	if made != nil && made.Text("id") == "" {
		made = made.Clone()
		made.Set("id", r.random.ID())
	}
	fired = []Fired{}
	for _, on := range targets {
		state := on.focusLocked(t, made, now)
		focus := &fhir.Entry{Type: state.Type, ID: state.ID, Method: method, Resource: state}
		if t.Interaction == "delete" || state.Object == nil {
			focus.Resource = nil
		}
		occurrence := on.base.occurrence(on.topic, focus, state, now)
		size += occurrence.Size()
		fires := journal.Entry{Kind: journal.Fired, Type: "trigger", Subscription: t.Subscription, Resource: state.Reference(), Release: string(on.base.release), Interaction: cmp.Or(t.Interaction, "create")}
		if on.topic != nil {
			fires.Topic = on.topic.URL()
		}
		r.journal.Record(fires)
		if t.Subscription != "" {
			number, err := r.subscriptions.AppendTo(t.Subscription, occurrence)
			if err != nil {
				return nil, 0, err
			}
			return []Fired{{t.Subscription, number}}, size, nil
		}
		fired = append(fired, on.base.appendLocked(on.topic, occurrence, state)...)
	}
	return fired, size, nil
}

// focusLocked returns the focus of a synthetic event. A resource that the trigger names
// is the same for all its events.
func (on *target) focusLocked(t Trigger, made *fhir.Object, now time.Time) *fhir.Resource {
	if on.states == nil || t.Focus == nil || t.Focus.Text("id") == "" {
		return on.base.focusLocked(t, made, now)
	}
	state := on.states[on.base]
	if state == nil {
		state = on.base.focusLocked(t, made, now)
		on.states[on.base] = state
	}
	return state
}

// focusLocked returns the focus of a synthetic event in the form of the base: the given
// resource, the example, or the stored resource. The result has no Object if the
// resource is only referenced, or if there is no example of its type.
func (b *Base) focusLocked(t Trigger, made *fhir.Object, now time.Time) *fhir.Resource {
	if made == nil {
		typ, id, _ := strings.Cut(t.Reference, "/")
		if res, err := b.store.Read(typ, id); err == nil {
			return res
		}
		return &fhir.Resource{Release: b.release, Type: typ, ID: id}
	}
	if t.Focus == nil {
		made = b.release.Adapt(made)
		if made.Len() <= 2 {
			return &fhir.Resource{Release: b.release, Type: made.Text("resourceType"), ID: made.Text("id")}
		}
	}
	return fhir.NewResource(b.release, store.Stamp(made.Clone(), made.Text("id"), "1", now))
}

// scheduleLocked fires the remaining events of a trigger, one per interval. It ends early,
// with an entry in the journal, when the subscription or topic goes away.
func (r *Room) scheduleLocked(t Trigger, method string, left int) {
	generation := r.generation(t.Subscription)
	var timer clock.Timer
	p := &pendingTrigger{stop: func(error) { timer.Stop() }}
	r.pending[p] = struct{}{}
	timer = r.clock.AfterFunc(t.Interval, func() {
		full := r.Admit()
		r.write.Lock()
		defer r.write.Unlock()
		if _, running := r.pending[p]; !running {
			return
		}
		on, err := r.targetsLocked(t)
		if err == nil {
			err = full
		}
		if err == nil && t.Subscription != "" && generation != r.generation(t.Subscription) {
			err = fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "Subscription/%s was deleted, and created anew", t.Subscription)
		}
		if err == nil {
			_, _, err = r.fireLocked(t, on, method)
		}
		if err != nil {
			r.journal.Record(journal.Entry{Kind: journal.NotFired, Type: "trigger", Subscription: t.Subscription, Topic: t.Topic, Text: fmt.Sprintf("the trigger stopped with %d events left: %v", left, err)})
		}
		if left--; err != nil || left == 0 {
			delete(r.pending, p)
			return
		}
		timer.Reset(t.Interval)
	}, clock.What{Kind: clock.Trigger, Of: cmp.Or(t.Subscription, t.Topic)})
}

func (r *Room) stopTriggersLocked(why error) {
	for p := range r.pending {
		p.stop(why)
		delete(r.pending, p)
	}
}

// stopped returns why a context ended, as a refusal.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); fhir.AsError(cause) != nil {
		return cause
	}
	return fhir.Refuse(http.StatusRequestTimeout, fhir.CodeTimeout, "the request was cancelled")
}

// occurrence returns an occurrence with the resources that the topic's shape adds.
func (b *Base) occurrence(t *topic.Topic, focus *fhir.Entry, state *fhir.Resource, at time.Time) *fhir.Occurrence {
	var context []fhir.Entry
	if t != nil && state.Object != nil {
		for _, res := range t.Context(state) {
			context = append(context, fhir.Entry{Type: res.Type, ID: res.ID, Method: http.MethodGet, Resource: res})
		}
	}
	return fhir.NewOccurrence(at, focus, context)
}
