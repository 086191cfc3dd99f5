package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/room"
)

// About selects the changes that [Happened] explains: those of a resource, those that can
// concern a subscription, and the one that an entry of the journal belongs to. A zero field
// selects all.
type About struct {
	Resource     string // "Encounter/1"
	Subscription string // its id
	Seq          uint64
}

// Consequence is an entry of the journal that a change led to.
type Consequence struct {
	Seq          uint64 `json:"seq"`
	Kind         string `json:"kind"`
	Topic        string `json:"topic,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Socket       string `json:"socket,omitempty"`
	First        int64  `json:"first,omitempty"`
	Last         int64  `json:"last,omitempty"`
	Text         string `json:"text,omitempty"`

	late bool // not-fired, because the budget of the write had no time for the criteria
}

// Happening is a change with its consequences.
type Happening struct {
	Seq         uint64        `json:"seq"`
	Time        time.Time     `json:"time"`
	Resource    string        `json:"resource"`
	Release     string        `json:"release,omitempty"`
	Interaction string        `json:"interaction,omitempty"`
	Version     string        `json:"version,omitempty"` // "" for an event that was triggered
	Steps       []Consequence `json:"steps"`

	// By the present topics and filters; nil if the versions are no longer kept, or if
	// the event was triggered.
	Verdict *Explanation `json:"verdict,omitempty"`
	Note    string       `json:"note,omitempty"`

	triggered bool // by /mock/trigger
	former    bool // of a resource that had the name before a reset
}

// has reports whether a change has a consequence for which f returns true.
func (h *Happening) has(f func(Consequence) bool) bool {
	return slices.ContainsFunc(h.Steps, f)
}

// String returns a text such as "sent abc, event 1 to s1".
func (c Consequence) String() string {
	text := strings.Join(slices.DeleteFunc([]string{c.Kind, c.Subscription, c.Topic}, func(word string) bool { return word == "" }), " ")
	switch {
	case c.First > 0 && c.First == c.Last:
		text += fmt.Sprintf(", event %d", c.First)
	case c.First > 0:
		text += fmt.Sprintf(", events %d to %d", c.First, c.Last)
	}
	if c.Socket != "" {
		text += " to " + c.Socket
	}
	if c.Text != "" {
		text += ": " + c.Text
	}
	return text
}

// Happenings are changes in the order in which they happened.
type Happenings []*Happening

// maxHappenings bounds the changes of a response, which has the newest.
const maxHappenings = 100

// Happened returns the changes and triggers that the journal still has, with their
// consequences, the newest last. It evaluates criteria and filters again, as they are now,
// those of the newest change first. If the budget is used up, what happened is explained by
// the journal alone.
func Happened(r *room.Room, about About, within *budget.Budget) Happenings {
	release := "" // of the changes that can concern the subscription
	if res, err := r.Subscription(about.Subscription); err == nil {
		release = string(res.Release)
	}
	changes, statuses := happenings(r, about.Subscription, func(h *Happening) bool {
		return (about.Resource == "" || h.Resource == about.Resource) &&
			(about.Subscription == "" || h.Release == release || h.has(func(step Consequence) bool { return step.Subscription == about.Subscription })) &&
			(about.Seq == 0 || h.Seq == about.Seq || h.has(func(step Consequence) bool { return step.Seq == about.Seq }))
	})
	changes = changes[max(0, len(changes)-maxHappenings):]
	for _, h := range slices.Backward(changes) {
		judge(r, h, about.Subscription, statuses, within)
	}
	return changes
}

// String returns a text for a terminal.
func (changes Happenings) String() string {
	var text strings.Builder
	for _, h := range changes {
		steps := h.Steps
		if h.Verdict != nil {
			text.WriteString(h.Verdict.String())
			steps = h.unlisted()
		} else {
			fmt.Fprintf(&text, "%s %s", cmp.Or(h.Interaction, "change of"), h.Resource)
			if h.Version != "" {
				fmt.Fprintf(&text, ", version %s", h.Version)
			}
			if h.Release != "" {
				fmt.Fprintf(&text, ", %s", h.Release)
			}
			text.WriteString("\n")
		}
		if h.Note != "" {
			fmt.Fprintf(&text, "  %s\n", h.Note)
			for _, step := range steps {
				fmt.Fprintf(&text, "  %s\n", step)
			}
		}
	}
	if len(changes) == 0 {
		return "the journal knows of no such change\n"
	}
	return text.String()
}

// judge adds the verdict on a change by the present topics and filters.
func judge(r *room.Room, h *Happening, subscription string, statuses statuses, within *budget.Budget) {
	release, _ := fhir.ParseRelease(h.Release)
	base := r.Base(release)
	switch {
	case h.triggered:
		h.Note = "it was triggered by /mock/trigger, so no criteria were asked"
	case h.Version == "" || base == nil:
		h.Note = "the journal no longer goes back to the change itself, so the criteria cannot be asked again"
	case h.former:
		h.Note = "the room was reset since and the resource is another, so the criteria cannot be asked again"
	case subscription != "" && !exists(r, subscription):
		h.Note = "the subscription was deleted since, so its filters cannot be asked again"
	default:
		if h.Verdict = version(base, h.Resource, h.Version, subscription, h.outcomes(), within); h.Verdict == nil {
			h.Note = "the versions before and after it are no longer kept, so the criteria cannot be asked again"
			return
		}
		for _, v := range h.verdicts() {
			h.settle(v, statuses)
		}
		if len(h.unlisted()) > 0 {
			h.Note = "it led to more, for subscriptions that were deleted since or are no longer on these topics"
		}
	}
}

// exists reports whether a room has a subscription.
func exists(r *room.Room, subscription string) bool {
	_, err := r.Subscription(subscription)
	return err == nil
}

// verdicts returns the verdicts on the subscriptions of all topics.
func (h *Happening) verdicts() []*Verdict {
	var all []*Verdict
	for i := range h.Verdict.Topics {
		for j := range h.Verdict.Topics[i].Subscriptions {
			all = append(all, &h.Verdict.Topics[i].Subscriptions[j])
		}
	}
	for i := range h.Verdict.Criteria {
		all = append(all, &h.Verdict.Criteria[i])
	}
	return all
}

// unlisted returns the consequences for subscriptions without a verdict: those that were
// deleted or moved to another topic since then, and those whose topic was deleted.
func (h *Happening) unlisted() []Consequence {
	if slices.ContainsFunc(h.Verdict.Topics, func(t TopicVerdict) bool { return t.More > 0 }) {
		return nil // they may be among those
	}
	listed := map[string]bool{"": true}
	for _, v := range h.verdicts() {
		listed[v.Subscription] = true
	}
	return slices.DeleteFunc(slices.Clone(h.Steps), func(step Consequence) bool { return listed[step.Subscription] })
}

// outcomes returns what the journal says of the topics.
func (h *Happening) outcomes() outcomes {
	then, times := outcomes{}, map[string]int{}
	for _, step := range h.Steps {
		if step.Kind != journal.Fired && step.Kind != journal.NotFired {
			continue
		}
		then[step.Topic] = outcome{step.Kind == journal.Fired, step.late, step.Text}
		if times[step.Topic]++; times[step.Topic] > 1 { // versions of one topic
			delete(then, step.Topic)
		}
	}
	return then
}

// statuses has the statuses that subscriptions had, in order.
type statuses map[string][]gained

// gained is a status, and the entry of the journal that set it.
type gained struct {
	seq    uint64
	status string
}

// at returns the status of a subscription when the entry seq was written, or "" if the
// journal does not have it.
func (all statuses) at(seq uint64, subscription string) string {
	status := ""
	for _, one := range all[subscription] {
		if one.seq < seq {
			status = one.status
		}
	}
	return status
}

// settle replaces what would happen to an event now by what happened to it.
func (h *Happening) settle(v *Verdict, statuses statuses) {
	would := v.Numbered
	v.Numbered, v.Sent, v.Sockets = false, false, []string{}
	v.Steps = slices.DeleteFunc(v.Steps, func(s Step) bool { return s.Step == "bindings" || s.Step == "delivery" })
	if then := statuses.at(h.Seq, v.Subscription); then != "" {
		for i := range v.Steps {
			if s := &v.Steps[i]; s.Step == "subscription" {
				s.OK, s.Text = then == fhir.StatusActive, "its status was "+then
			}
		}
	}
	number, reason, faults, absent := int64(0), "", []string(nil), []string(nil)
	for _, step := range h.Steps {
		switch {
		case step.Subscription != v.Subscription:
		case step.Kind == journal.Appended:
			v.Numbered, number = true, step.First
		case step.Kind == journal.Sent && !slices.Contains(v.Sockets, step.Socket): // unless it was sent again
			v.Sent, v.Sockets = true, append(v.Sockets, step.Socket)
			if _, what, is := strings.Cut(step.Text, "by manners: "); is {
				faults = append(faults, "manners changed it on "+step.Socket+": "+what)
			}
		case step.Kind == journal.NotSent:
			reason = step.Text
		case step.Kind == journal.Fault && step.First == 0:
			absent = append(absent, step.Text+" on "+step.Socket)
		case step.Kind == journal.Fault:
			faults = append(faults, step.Text+" on "+step.Socket)
		}
	}
	last := Step{Step: "delivery", OK: v.Sent}
	switch {
	case v.Sent:
		last.Text = strings.Join(append([]string{fmt.Sprintf("it got event %d, sent to %s", number, strings.Join(v.Sockets, ", "))}, faults...), "; ")
	case v.Numbered:
		why := cmp.Or(reason, strings.Join(faults, "; "), "it waits to share a notification with others")
		last.Text = strings.Join(append([]string{fmt.Sprintf("it got event %d", number), why}, absent...), "; ")
	case reason != "":
		last.Text = "it got no event: " + reason
	case would:
		last.Text = "it got no event then, though it would now: the subscription or its topic was created or changed since"
	default:
		last.Text = "it got no event"
	}
	v.Steps = append(v.Steps, last)
}

// appendTo appends a change to the history of its resource. A change to a version that the
// history already has begins another history: the room was reset.
func (h *Happening) appendTo(history []*Happening) []*Happening {
	version := func(h *Happening) int {
		n, _ := strconv.Atoi(h.Version)
		return n
	}
	if n := len(history); n > 0 && version(h) <= version(history[n-1]) {
		for _, one := range history {
			one.former = true
		}
		history = nil
	}
	return append(history, h)
}

// happenings reads the changes and their consequences from the journal. If a subscription is
// named, it leaves out the consequences for others. It also returns the statuses that
// subscriptions had.
func happenings(r *room.Room, subscription string, wanted func(*Happening) bool) (Happenings, statuses) {
	var all []*Happening
	about := map[string]*Happening{} // the latest change of a resource, by release and reference
	type event struct {
		subscription string
		number       int64
	}
	led := map[event]*Happening{}          // the change of an event
	histories := map[string][]*Happening{} // the changes of a resource, by release and reference
	had, absent := statuses{}, newAbsent()
	for _, e := range r.Journal().Entries(journal.Filter{Kinds: []string{journal.Change, journal.Fired, journal.NotFired, journal.Appended, journal.NotSent, journal.Sent, journal.Fault, journal.Status, journal.Token, journal.Bound, journal.Unbound, journal.Reset}}) {
		absent.read(&e)
		if e.Kind == journal.Status {
			had[e.Subscription] = append(had[e.Subscription], gained{e.Seq, e.Text})
			continue
		}
		mine := subscription == "" || e.Subscription == "" || e.Subscription == subscription
		step := Consequence{e.Seq, e.Kind, e.Topic, e.Subscription, e.Socket, e.First, e.Last, e.Text, e.Type == journal.Budget}
		if slices.Contains([]string{journal.Token, journal.Bound, journal.Unbound, journal.Reset}, e.Kind) || e.Kind == journal.Fault && e.First == 0 {
			continue // it is about no event
		}
		if e.Kind == journal.Sent || e.Kind == journal.Fault || e.Kind == journal.NotSent && e.First > 0 {
			// A delivery has only the numbers of its events.
			for n := max(e.First, 1); mine && n <= e.Last; n++ {
				if change := led[event{e.Subscription, n}]; change != nil {
					change.Steps = append(change.Steps, step)
					if e.Kind == journal.NotSent {
						change.Steps = append(change.Steps, absent.of(&e)...)
					}
				}
			}
			continue
		}
		change := about[e.Release+e.Resource]
		if e.Kind == journal.Appended { // it has no release: it belongs to the latest change of the resource
			change = about[e.Resource]
		}
		triggered := e.Kind == journal.Fired && e.Type == "trigger"
		if change == nil || e.Kind == journal.Change || triggered {
			change = &Happening{Seq: e.Seq, Time: e.Time, Resource: e.Resource, Release: e.Release, Interaction: e.Interaction, Version: e.Version, Steps: []Consequence{}, triggered: triggered}
			about[e.Release+e.Resource] = change
			all = append(all, change)
			if e.Version != "" {
				histories[e.Release+e.Resource] = change.appendTo(histories[e.Release+e.Resource])
			}
		}
		about[e.Resource] = change
		if e.Kind == journal.Appended {
			led[event{e.Subscription, e.First}] = change
		}
		if mine && e.Kind != journal.Change {
			change.Steps = append(change.Steps, step)
		}
	}
	found := Happenings{}
	for _, h := range all {
		if wanted(h) {
			found = append(found, h)
		}
	}
	return found, had
}
