package room

import (
	"net/http"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/store"
	"signalfhir/internal/subscription"
	"signalfhir/internal/topic"
)

// acceptSubscription checks a Subscription (LC-5). It returns the resource to
// store, with the status that the server sets, and a function to call once it is
// stored. topics are the topics after the write; id is "" if the store will choose one.
func (b *Base) acceptSubscription(topics *topic.Catalogue, id string, o *fhir.Object, q Request) (*fhir.Object, func(*store.Change), []fhir.Issue, error) {
	sub, issues := b.release.ReadSubscription(o)
	before, exists := b.room.subscriptions.State(id)
	if exists && before.Release != b.release {
		return nil, nil, nil, fhir.Refuse(http.StatusConflict, fhir.CodeDuplicate,
			"Subscription/%s already exists in FHIR %s; subscription ids are unique across releases, choose another", id, before.Release).At("Subscription.id")
	}

	switch sub.Status {
	case fhir.StatusError:
		issues = append(issues, rule(fhir.CodeBusinessRule, "Subscription.status",
			`only the server sets the status "error"; send "requested" to (re)activate or "off" to stop (LC-1)`))
	case fhir.StatusEnteredInError:
		if !exists {
			issues = append(issues, rule(fhir.CodeBusinessRule, "Subscription.status",
				`a new subscription cannot be "entered-in-error"; send "requested" or "off"`))
		}
	}
	if !sub.End.IsZero() && !sub.End.After(b.room.clock.Now()) && !dormant(sub.Status) {
		issues = append(issues, rule(fhir.CodeBusinessRule, "Subscription.end",
			"the end "+sub.End.UTC().Format(time.RFC3339)+" has passed, it is now "+b.room.clock.Now().UTC().Format(time.RFC3339)+"; leave end out or set a later time"))
	}
	var t *topic.Topic
	var filters *topic.Filters
	var search *Criteria
	var more []fhir.Issue
	if sub.Criteria != "" {
		search, more = b.readCriteria(sub.Criteria)
	} else {
		t, filters, more = b.resolve(topics, sub)
	}
	issues = append(issues, more...)
	if q.Strict {
		escalate(issues)
	}
	// A subscription can always be turned off, even if its topic or filters are no
	// longer valid (life-cycle table: minimal validation).
	if exists && dormant(sub.Status) {
		issues = downgrade(issues)
	}
	if err := fhir.RefuseAll(issues); err != nil {
		return nil, nil, nil, err
	}
	var becomes activation
	if !dormant(sub.Status) {
		// LC-2, LC-4: a websocket subscription has no endpoint for a handshake, so it
		// is active at once, unless the settings of the room say otherwise.
		how := &Activation{}
		if !q.Seeded {
			how = b.room.activationOf(id, sub.Topic)
		}
		was := &before
		if !exists {
			was = nil
		}
		var err error
		if becomes, err = b.activate(how, was); err != nil {
			return nil, nil, nil, err
		}
		o, sub, filters, more = b.adjust(how, o, sub, t, filters)
		issues = append(issues, more...)
		sub.Status = becomes.status
		o = b.release.WithStatus(o, becomes.status, becomes.why)
	}
	return o, func(c *store.Change) {
		sub.ID = c.Current.ID
		if search == nil {
			b.classic.remove(sub.ID)
		} else {
			before := b.classic.find(sub.ID)
			search.Subscription = sub.ID
			search.serverID = c.Method == http.MethodPost || before != nil && before.serverID
			b.classic.put(search)
		}
		if c.Interaction == store.Create {
			b.room.generations.Store(sub.ID, c.Current.VersionID)
		}
		spec := b.spec(sub, q.Base, t, filters)
		spec.Activation = becomes.waits
		b.room.subscriptions.Put(spec)
		if becomes.status == fhir.StatusError {
			b.room.subscriptions.SetError(sub.ID, "", becomes.why)
		}
	}, issues, nil
}

// resolve returns the topic of a subscription and compiles its filters.
func (b *Base) resolve(topics *topic.Catalogue, sub *fhir.Subscription) (*topic.Topic, *topic.Filters, []fhir.Issue) {
	t, ok := topics.Resolve(sub.Topic)
	if !ok {
		text := "this server has no topic " + sub.Topic
		if known := topics.URLs(); len(known) > 0 {
			text += "; it has " + strings.Join(known, ", ")
		} else {
			text += "; it has no topics yet, create a SubscriptionTopic first"
		}
		return nil, nil, []fhir.Issue{rule(fhir.CodeNotSupported, b.release.TopicElement(), text)}
	}
	if t.Status() == "retired" {
		return t, nil, []fhir.Issue{rule(fhir.CodeBusinessRule, b.release.TopicElement(), "the topic "+sub.Topic+" is retired; subscribe to an active one (TOP-20)")}
	}
	filters, issues := t.CompileFilters(sub.Filters)
	return t, filters, issues
}

func (b *Base) spec(sub *fhir.Subscription, base string, t *topic.Topic, filters *topic.Filters) subscription.Spec {
	s := subscription.Spec{Subscription: sub, Base: base}
	if t != nil {
		s.TopicKey = b.topicKey(t)
	}
	if filters != nil {
		s.Filter = filters
	}
	return s
}

// dormant reports whether a subscription with this status gets no events.
func dormant(status string) bool {
	return status == fhir.StatusOff || status == fhir.StatusEnteredInError
}

// acceptTopic compiles the topic that a resource defines. Another resource in
// topics must not define the same topic. reference is that of the resource; it ends in
// / if the store will choose the id.
func (b *Base) acceptTopic(topics *topic.Catalogue, reference string, o *fhir.Object, q Request) (*topic.Topic, []fhir.Issue, error) {
	read, issues := b.release.ReadTopic(o)
	compiled, more := b.compile(read)
	issues = append(issues, more...)
	if other, taken := topics.DefinedBy(read.URL, read.Version); taken && other != reference {
		issues = append(issues, rule(fhir.CodeDuplicate, "SubscriptionTopic.url",
			other+" already defines this version of "+read.URL+"; update that resource, or use another version"))
	}
	if q.Strict {
		escalate(issues)
	}
	if err := fhir.RefuseAll(issues); err != nil {
		return nil, nil, err
	}
	return compiled, issues, nil
}

// DeleteTopic deletes the topic that a subscription is on, with the resource that defines it.
// A topic that a seed has given to R4 has none. It refuses a subscription without a topic, and
// one whose topic is gone.
func (r *Room) DeleteTopic(id string) error {
	b, err := r.baseOf(id)
	if err != nil {
		return err
	}
	state, _ := r.subscriptions.State(id)
	if state.Topic == "" {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "Subscription/%s is on no topic: its criteria are a search", id)
	}
	t, is := b.topics.Resolve(state.Topic)
	if !is {
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "the topic %s of Subscription/%s is gone already", state.Topic, id)
	}
	reference, _ := b.topics.DefinedBy(t.URL(), t.Version())
	typ, name, _ := strings.Cut(reference, "/")
	if _, err := b.store.Read(typ, name); err == nil {
		_, err := b.Write(Operation{Method: http.MethodDelete, Type: typ, ID: name}, Request{Base: b.url()})
		return err
	}
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.checkOpen(); err != nil {
		return err
	}
	r.controlled("topic", id, "the topic %s was deleted", state.Topic)
	b.dropTopicLocked(reference)
	b.resolveAllLocked()
	return nil
}

// resolveAllLocked resolves every subscription again after the topics changed (TOP-21,
// TOP-22). If the topic of a subscription is gone, or no longer offers its filters, the
// status of the subscription becomes error, and the resource says why.
func (b *Base) resolveAllLocked() {
	for _, res := range b.store.List("Subscription") {
		state, ok := b.room.subscriptions.State(res.ID)
		if !ok || dormant(state.Status) || b.classic.find(res.ID) != nil {
			continue
		}
		sub, _ := b.release.ReadSubscription(res.Object)
		sub.ID = res.ID
		t, filters, issues := b.resolve(b.topics, sub)
		if err := fhir.RefuseAll(issues); err != nil {
			// It may quote the beginning of a token, and notifications of this resource show it.
			why := string(b.room.Redact([]byte(err.Error())))
			b.room.subscriptions.SetError(res.ID, "", why)
			b.setStatusLocked(res, fhir.StatusError, why)
			continue
		}
		if state.Status == fhir.StatusError {
			continue // it stays in error until the client requests it again (LC-9)
		}
		spec := b.spec(sub, state.Base, t, filters)
		spec.Activation = state.Activation
		b.room.subscriptions.Put(spec)
	}
}

// setStatusLocked stores a new version of a subscription with a status that the server
// set. The version is a normal one, but it fires no topic (LC-15).
func (b *Base) setStatusLocked(res *fhir.Resource, status, why string) {
	if res.Object.Text("status") == status {
		return
	}
	// The update cannot be refused: the resource exists and there is no If-Match.
	_, _ = b.store.Update(res.Type, res.ID, b.release.WithStatus(res.Object, status, why), "")
}

// subscriptionEnded turns off a subscription that has reached its end (LC-11).
func (r *Room) subscriptionEnded(id string) {
	r.write.Lock()
	defer r.write.Unlock()
	b, err := r.baseOf(id)
	if err != nil {
		return // deleted meanwhile
	}
	res, err := b.store.Read("Subscription", id)
	if err != nil {
		return
	}
	sub, _ := b.release.ReadSubscription(res.Object)
	// A client may have moved the end while the timer fired.
	if sub.End.IsZero() || sub.End.After(r.clock.Now()) || dormant(sub.Status) {
		return
	}
	state, ok := r.subscriptions.State(id)
	if !ok {
		return
	}
	b.putStatusLocked(res, &state, fhir.StatusOff)
}

// dropTopicLocked removes the topic that a resource defined, and reports whether there
// was one.
func (b *Base) dropTopicLocked(reference string) bool {
	_, ok := b.topics.ByKey(reference)
	b.topics.Remove(reference)
	return ok
}

// rule returns an issue for a broken business rule, which is refused with 422.
func rule(code fhir.IssueCode, expression, text string) fhir.Issue {
	return fhir.Issue{Severity: "error", Code: code, Diagnostics: text, Expression: []string{expression}, Rule: true}
}

// escalate turns warnings into errors, for strict handling.
func escalate(issues []fhir.Issue) {
	for i := range issues {
		if issues[i].Severity == "warning" {
			issues[i].Severity = "error"
		}
	}
}

// downgrade turns errors into warnings.
func downgrade(issues []fhir.Issue) []fhir.Issue {
	for i := range issues {
		if issues[i].Severity == "error" {
			issues[i].Severity = "warning"
		}
	}
	return issues
}
