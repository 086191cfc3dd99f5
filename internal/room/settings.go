package room

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// Settings are how a room treats its subscriptions, where the specification leaves it to
// the server. The zero value is what the server does by default. Settings that are in use
// are never modified.
type Settings struct {
	Replay      string           `json:"replay,omitempty"`      // none, missed, last:n or all; see [subscription.ParseReplay]
	Activation  *Activation      `json:"activation,omitempty"`  // of subscriptions for which no rule decides; nil: at once
	Activations []ActivationRule `json:"activations,omitempty"` // the first that fits decides
}

// Activation says what becomes of a subscription that a client requests: when it is
// created, or asked for again while it is not active.
type Activation struct {
	policy string        // one of the constants below
	after  time.Duration // on the room's clock
	text   string        // why it gets an error, or is refused
	drop   []string      // parameters of filters
}

const (
	activeAtOnce = "at-once"
	activeAtBind = "at-bind"      // by the first bind, after its handshake
	activeNever  = "never"        // it stays requested
	activeAfter  = "after"        // it is requested for a time
	getsError    = "error"        // it is created in status error
	isRefused    = "refuse"       // 422
	dropFilters  = "drop-filters" // at once, with fewer filters
)

// maxActivationDelay is the longest time that a subscription stays requested.
const maxActivationDelay = 366 * 24 * time.Hour

// UnmarshalJSON reads "at-once", "at-bind", "never", {"after":"5s"}, {"error":"why"},
// {"refuse":"why"} or {"drop-filters":["patient"]}.
func (a *Activation) UnmarshalJSON(data []byte) error {
	wrong := fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, `got %.200s, expected "at-once", "at-bind", "never", {"after":"5s"}, {"error":"why"}, {"refuse":"why"} or {"drop-filters":["patient"]}`, data).At("activation")
	var name string
	if json.Unmarshal(data, &name) == nil {
		if name != activeAtOnce && name != activeAtBind && name != activeNever {
			return wrong
		}
		*a = Activation{policy: name}
		return nil
	}
	var in struct {
		After  *string  `json:"after"`
		Error  *string  `json:"error"`
		Refuse *string  `json:"refuse"`
		Drop   []string `json:"drop-filters"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var members map[string]json.RawMessage
	if decoder.Decode(&in) != nil || json.Unmarshal(data, &members) != nil || len(members) != 1 {
		return wrong
	}
	switch {
	case in.After != nil:
		d, err := time.ParseDuration(*in.After)
		if err != nil || d <= 0 || d > maxActivationDelay {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time such as 5s, at most 8784h", *in.After).At("activation.after")
		}
		*a = Activation{policy: activeAfter, after: d}
	case in.Error != nil && isText(*in.Error):
		*a = Activation{policy: getsError, text: *in.Error}
	case in.Refuse != nil && isText(*in.Refuse):
		*a = Activation{policy: isRefused, text: *in.Refuse}
	case len(in.Drop) > 0 && !slices.Contains(in.Drop, ""):
		*a = Activation{policy: dropFilters, drop: in.Drop}
	default:
		return wrong
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (a Activation) MarshalJSON() ([]byte, error) {
	switch a.policy {
	case activeAfter:
		return json.Marshal(map[string]string{a.policy: a.after.String()})
	case getsError, isRefused:
		return json.Marshal(map[string]string{a.policy: a.text})
	case dropFilters:
		return json.Marshal(map[string][]string{a.policy: a.drop})
	case "":
		return json.Marshal(activeAtOnce)
	}
	return json.Marshal(a.policy)
}

// ActivationRule is an activation for some subscriptions: those whose id and topic fit.
type ActivationRule struct {
	Subscription string      `json:"subscription,omitempty"` // id, with * and ? as in file names; "": any
	Topic        string      `json:"topic,omitempty"`        // canonical URL without a version; "": any
	Activation   *Activation `json:"activation"`
}

// maxActivations bounds the rules of a room.
const maxActivations = 100

// check refuses what the members of settings do not allow, and fills in what is missing.
func (s *Settings) check() (subscription.Replay, error) {
	if s.Replay == "" {
		s.Replay = subscription.Replay{}.String()
	}
	if s.Activation == nil {
		s.Activation = &Activation{policy: activeAtOnce}
	}
	replay, err := subscription.ParseReplay(s.Replay)
	if err != nil {
		return replay, fhir.At(err, "replay")
	}
	if len(s.Activations) > maxActivations {
		return replay, fhir.Refuse(http.StatusBadRequest, fhir.CodeTooCostly, "got %d rules, a room has at most %d", len(s.Activations), maxActivations).At("activations")
	}
	for i, rule := range s.Activations {
		at := fmt.Sprintf("activations[%d]", i)
		if rule.Activation == nil {
			return replay, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "a rule needs an activation").At(at + ".activation")
		}
		if rule.Subscription == "" && rule.Topic == "" {
			return replay, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "name the subscription or the topic that the rule is for; for all, give the activation of the settings").At(at)
		}
		if _, err := path.Match(rule.Subscription, ""); err != nil {
			return replay, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected an id in which * stands for any characters", rule.Subscription).At(at + ".subscription")
		}
	}
	return replay, nil
}

// SetSettings replaces the settings. Subscriptions that there are keep their status. A
// refusal changes nothing.
func (r *Room) SetSettings(s Settings) error {
	if err := r.useSettings(s); err != nil {
		return err
	}
	text, _ := json.Marshal(r.Settings())
	r.controlled("settings", "", "%s", text)
	return nil
}

func (r *Room) useSettings(s Settings) error {
	replay, err := s.check()
	if err != nil {
		return err
	}
	r.settings.Store(&s)
	r.subscriptions.SetReplay(replay)
	return nil
}

// Settings returns the settings, complete.
func (r *Room) Settings() Settings { return *r.settings.Load() }

// activationOf returns what becomes of a subscription that is requested. topic is a
// canonical, perhaps with a version.
func (r *Room) activationOf(id, topic string) *Activation {
	s := r.settings.Load()
	topic, _, _ = strings.Cut(topic, "|")
	for _, rule := range s.Activations {
		if rule.Topic != "" && rule.Topic != topic {
			continue
		}
		if fits, _ := path.Match(rule.Subscription, id); fits || rule.Subscription == "" {
			return rule.Activation
		}
	}
	return s.Activation
}

// activation is what becomes of one subscription that is requested.
type activation struct {
	status string
	why    string // of the status error
	waits  subscription.Activation
}

// activate decides what becomes of a subscription that a client has requested; before is
// its state if it exists. One that is active stays so. A refusal is that of the settings.
func (b *Base) activate(how *Activation, before *subscription.State) (activation, error) {
	if before != nil && before.Status == fhir.StatusActive {
		return activation{status: fhir.StatusActive}, nil
	}
	switch how.policy {
	case isRefused:
		return activation{}, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "the server refuses the subscription: %s", how.text).At("Subscription.status")
	case getsError:
		return activation{status: fhir.StatusError, why: how.text}, nil
	case activeNever:
		return activation{status: fhir.StatusRequested}, nil
	case activeAtBind:
		return activation{status: fhir.StatusRequested, waits: subscription.Activation{AtBind: true}}, nil
	case activeAfter:
		due := b.room.clock.Elapsed() + max(how.after, 1)
		if before != nil && before.Status == fhir.StatusRequested && before.Activation.Due > 0 {
			due = before.Activation.Due // asking again does not make it longer
		}
		return activation{status: fhir.StatusRequested, waits: subscription.Activation{Due: due}}, nil
	}
	return activation{status: fhir.StatusActive}, nil
}

// adjust drops filters from a subscription whose filters are valid (US Core allows it). It
// returns what is left, read again, with a warning; nothing is dropped if the settings drop
// none of its filters.
func (b *Base) adjust(how *Activation, o *fhir.Object, sub *fhir.Subscription, t *topic.Topic, filters *topic.Filters) (*fhir.Object, *fhir.Subscription, *topic.Filters, []fhir.Issue) {
	if how.policy != dropFilters || t == nil {
		return o, sub, filters, nil
	}
	left, dropped := b.release.WithoutFilters(o, how.drop)
	if len(dropped) == 0 {
		return o, sub, filters, nil
	}
	read, _ := b.release.ReadSubscription(left)
	read.ID = sub.ID
	filters, _ = t.CompileFilters(read.Filters)
	return left, read, filters, []fhir.Issue{{Severity: "warning", Code: fhir.CodeNotSupported, Tell: true, Expression: []string{b.release.FilterElement()},
		Diagnostics: "the server does not filter by " + strings.Join(dropped, ", ") + ": the subscription was stored without these filters, and its notifications are more than were asked for"}}
}

// subscriptionActivated makes a subscription active whose time as a requested one is over.
func (r *Room) subscriptionActivated(id string) {
	r.write.Lock()
	defer r.write.Unlock()
	b, err := r.baseOf(id)
	if err != nil {
		return // deleted meanwhile
	}
	state, ok := r.subscriptions.State(id)
	res, err := b.store.Read("Subscription", id)
	// It may have been changed while the timer fired.
	if !ok || err != nil || state.Status != fhir.StatusRequested || state.Activation.Due == 0 || state.Activation.Due > r.clock.Elapsed() {
		return
	}
	b.putStatusLocked(res, &state, fhir.StatusActive)
}

// putStatusLocked gives a subscription and its resource the status active or off. Its topic
// is not checked.
func (b *Base) putStatusLocked(res *fhir.Resource, state *subscription.State, status string) {
	sub, _ := b.release.ReadSubscription(res.Object)
	sub.ID, sub.Status = res.ID, status
	b.setStatusLocked(res, status, "")
	var t *topic.Topic
	var filters *topic.Filters // of one that is off, they explain why it gets no event
	if b.classic.find(res.ID) == nil {
		t, filters, _ = b.resolve(b.topics, sub)
	}
	b.room.subscriptions.Put(b.spec(sub, state.Base, t, filters))
}

// bindIn binds a socket to a subscription. A bind that makes it active is one step for
// writes, so that no event comes between its handshake and that.
func (r *Room) bindIn(speech subscription.Speech, id string, s subscription.Socket, tokenKey string, expires time.Time) error {
	if state, _ := r.subscriptions.State(id); !state.Activation.AtBind || state.Status != fhir.StatusRequested {
		return r.subscriptions.BindIn(speech, id, s, tokenKey, expires)
	}
	r.write.Lock()
	defer r.write.Unlock()
	activated, err := r.subscriptions.BindFirst(speech, id, s, tokenKey, expires)
	if err != nil || !activated {
		return err
	}
	if b, err := r.baseOf(id); err == nil {
		if res, err := b.store.Read("Subscription", id); err == nil {
			b.setStatusLocked(res, fhir.StatusActive, "")
		}
	}
	return nil
}
