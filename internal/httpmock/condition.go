package httpmock

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/suggest"
)

// awaitBody is the body of an await: one condition, and from when on it counts.
type awaitBody struct {
	Journal *struct {
		Kind         string `json:"kind"`
		Subscription string `json:"subscription"`
		Socket       string `json:"socket"`
		Type         string `json:"type"`
		Resource     string `json:"resource"`
		Code         int    `json:"code"`
		Text         string `json:"text"`
		Count        int    `json:"count"`
	} `json:"journal"`
	Connected *struct {
		Count *int `json:"count"`
	} `json:"connected"`
	Bound *struct {
		Subscription string `json:"subscription"`
		Count        *int   `json:"count"`
	} `json:"bound"`
	Unbound      *onSubscription `json:"unbound"`
	Renewed      *onSubscription `json:"renewed"`
	BoundAgain   *onSubscription `json:"boundAgain"`
	CaughtUp     *onSubscription `json:"caughtUp"`
	TokenTaken   *onSubscription `json:"tokenTaken"`
	EventsCalled *struct {
		Subscription string `json:"subscription"`
		Since        *int64 `json:"eventsSinceNumber"`
		Until        *int64 `json:"eventsUntilNumber"`
		Count        int    `json:"count"`
	} `json:"eventsCalled"`
	Sent *struct {
		Subscription string `json:"subscription"`
		Type         string `json:"type"`
		Number       int64  `json:"number"`
		Count        int    `json:"count"`
	} `json:"sent"`
	ClosedByClient *struct {
		Code  int `json:"code"`
		Count int `json:"count"`
	} `json:"closedByClient"`
	Quiet *struct {
		For          string   `json:"for"`
		Kinds        []string `json:"kinds"`
		Subscription string   `json:"subscription"`
		Socket       string   `json:"socket"`
	} `json:"quiet"`

	Since   *uint64 `json:"since"`
	Timeout string  `json:"timeout"`
}

// onSubscription is a condition about so many entries for a subscription.
type onSubscription struct {
	Subscription string `json:"subscription"`
	Count        int    `json:"count"`
}

// condition is what an await waits for: a number of entries of the journal, a state of the
// room, or quiet. If the request says since when to count, a state is an entry that brings it
// about.
type condition struct {
	member       string // that names it
	what         string // in words
	subscription string // that it is about; "" for none
	socket       string // that has to be known; "" for none
	tallied      bool   // the response has the tally

	want int // how many entries
	// selects returns a function that says which entries count. It is to be called with one
	// entry after the other.
	selects func() func(*journal.Entry) bool
	near    func(*journal.Entry) bool // what is similar, to say in a refusal
	// progress says how far a condition is that does not count entries, as the last function
	// of selects has seen it; nil if it counts them.
	progress func() string
	// exchanges are among the entries, which are in their place only when they are over.
	exchanges bool
	remembers bool // whether an entry counts depends on those before, since does not hide them

	state  func(journal.Tally) bool  // nil if it is no state
	begins func(*journal.Entry) bool // a state may hold since such an entry
	latest bool                      // the last of them; otherwise the first

	quiet time.Duration // how long nothing is to be selected; 0 if it is not about quiet
}

// each is a selects without a memory.
func each(f func(*journal.Entry) bool) func() func(*journal.Entry) bool {
	return func() func(*journal.Entry) bool { return f }
}

// ofKind returns a near for entries of a kind.
func ofKind(kinds ...string) func(*journal.Entry) bool {
	return func(e *journal.Entry) bool { return slices.Contains(kinds, e.Kind) }
}

// quantity returns a number of things in words, such as "2 journal entries".
func quantity(n int, one string) string {
	switch stem, ends := strings.CutSuffix(one, "y"); {
	case n == 1:
		return "1 " + one
	case ends:
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// member is a member of an await that is a condition.
type member struct {
	name  string
	given bool
	read  func() (*condition, error)
}

// members returns the members that are conditions, in the order in which refusals list them.
func (in *awaitBody) members(timeout time.Duration) []member {
	return []member{
		{"connected", in.Connected != nil, in.connected},
		{"bound", in.Bound != nil, in.bound},
		{"unbound", in.Unbound != nil, in.unbound},
		{"boundAgain", in.BoundAgain != nil, in.boundAgain},
		{"tokenTaken", in.TokenTaken != nil, in.tokenTaken},
		{"renewed", in.Renewed != nil, in.renewed},
		{"sent", in.Sent != nil, in.sent},
		{"eventsCalled", in.EventsCalled != nil, in.eventsCalled},
		{"caughtUp", in.CaughtUp != nil, in.caughtUp},
		{"closedByClient", in.ClosedByClient != nil, in.closedByClient},
		{"quiet", in.Quiet != nil, func() (*condition, error) { return in.stillness(timeout) }},
		{"journal", in.Journal != nil, in.entries},
	}
}

// condition reads the one condition of the body.
func (in *awaitBody) condition(timeout time.Duration) (*condition, error) {
	if in.Since != nil && *in.Since > maxSeq {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected the seq of an earlier response, at most %d", *in.Since, maxSeq).At("since")
	}
	var names, given []string
	var read func() (*condition, error)
	for _, m := range in.members(timeout) {
		names = append(names, m.name)
		if m.given {
			given, read = append(given, m.name), m.read
		}
	}
	switch {
	case len(given) > 1:
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "an await has one condition, got %s; send a request for each", strings.Join(given, " and "))
	case len(given) == 0:
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "name one condition: %s", strings.Join(names, ", "))
	}
	made, err := read()
	if err != nil {
		return nil, err
	}
	made.member = given[0]
	if made.want == 0 {
		made.want = 1
	}
	if in.Since != nil {
		made.what += fmt.Sprintf(" after entry %d", *in.Since)
	}
	return made, nil
}

// stateCount reads the count of a state, which may be zero.
func stateCount(member string, count *int) (int, error) {
	if count == nil {
		return 1, nil
	}
	return *count, checkCount(member, *count)
}

// reached returns whether a state with a count holds: at least so many, or none.
func reached(n, want int) bool { return n >= want && (want > 0 || n == 0) }

func (in *awaitBody) bound() (*condition, error) {
	id := in.Bound.Subscription
	want, err := stateCount("bound.count", in.Bound.Count)
	more := func(e *journal.Entry) bool {
		return e.Subscription == id && (want > 0 && e.Kind == journal.Bound || want == 0 && e.Kind == journal.Unbound)
	}
	return &condition{
		what:         fmt.Sprintf("%s on Subscription/%s", quantity(want, "bound socket"), id),
		subscription: id,
		tallied:      true,
		state:        func(t journal.Tally) bool { return reached(t.Bound, want) },
		begins:       func(e *journal.Entry) bool { return more(e) && int(e.Count) == want },
		latest:       true,
		selects:      each(func(e *journal.Entry) bool { return more(e) && reached(int(e.Count), want) }),
		near:         ofKind(journal.Bound, journal.Unbound),
	}, requireSubscription("bound", id, err)
}

func (in *awaitBody) connected() (*condition, error) {
	want, err := stateCount("connected.count", in.Connected.Count)
	more := func(e *journal.Entry) bool {
		return want > 0 && e.Kind == journal.Opened || want == 0 && e.Kind == journal.Closed
	}
	return &condition{
		what:    quantity(want, "open socket"),
		state:   func(t journal.Tally) bool { return reached(t.Open, want) },
		begins:  func(e *journal.Entry) bool { return more(e) && int(e.Count) == want },
		latest:  true,
		selects: each(func(e *journal.Entry) bool { return more(e) && reached(int(e.Count), want) }),
		near:    ofKind(journal.Opened, journal.Closed),
	}, err
}

// awaited lists the types of notification that an await can wait for. The others are
// not sent to sockets.
var awaited = []fhir.NotificationType{fhir.Handshake, fhir.Heartbeat, fhir.EventNotification}

func (in *awaitBody) sent() (*condition, error) {
	id, kind, number := in.Sent.Subscription, in.Sent.Type, in.Sent.Number
	if kind == "" {
		kind = string(fhir.EventNotification)
	}
	if !slices.Contains(awaited, fhir.NotificationType(kind)) {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected handshake, heartbeat or event-notification", kind).At("sent.type")
	}
	if number != 0 && kind != string(fhir.EventNotification) {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "a %s has no event; leave out number, or await an event-notification", kind).At("sent.number")
	}
	if number < 0 || number > maxSeq {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected the number of an event, from 1 to %d", number, maxSeq).At("sent.number")
	}
	want := max(1, in.Sent.Count)
	of := func(e *journal.Entry) bool {
		return e.Kind == journal.Sent && e.Subscription == id && e.Type == kind && (number == 0 || e.First <= number && number <= e.Last)
	}
	made := &condition{
		what:         fmt.Sprintf("%s of type %s on Subscription/%s", quantity(want, "notification"), kind, id),
		subscription: id,
		tallied:      true,
		want:         want,
		selects:      each(of),
		near:         ofKind(journal.Sent, journal.NotSent),
	}
	if number == 0 {
		made.state = func(t journal.Tally) bool { return t.Sent[kind] >= want }
		made.begins = func(e *journal.Entry) bool { return of(e) && int(e.Count) >= want }
	} else {
		made.what += fmt.Sprintf(" with event %d", number)
	}
	return made, requireSubscription("sent", id, checkCount("sent.count", in.Sent.Count))
}

// requireSubscription refuses a condition that names no subscription, unless it was refused
// already.
func requireSubscription(member, id string, err error) error {
	if err == nil && id == "" {
		err = fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "name the subscription, by its id").At(member + ".subscription")
	}
	return err
}

// about returns a condition of so many entries about a subscription. one is what one of them
// is, and then the words that follow and end before the subscription.
func (on *onSubscription) about(member, one, then string, kinds []string, f func(*journal.Entry) bool) (*condition, error) {
	return &condition{
		what:         fmt.Sprintf("%s %s Subscription/%s", quantity(max(1, on.Count), one), then, on.Subscription),
		subscription: on.Subscription,
		want:         on.Count,
		selects:      each(f),
		near:         ofKind(kinds...),
	}, requireSubscription(member, on.Subscription, checkCount(member+".count", on.Count))
}

func (in *awaitBody) unbound() (*condition, error) {
	id := in.Unbound.Subscription
	return in.Unbound.about("unbound", "end", "of a binding to", []string{journal.Bound, journal.Unbound}, func(e *journal.Entry) bool {
		return e.Kind == journal.Unbound && e.Subscription == id
	})
}

func (in *awaitBody) renewed() (*condition, error) {
	id := in.Renewed.Subscription
	return in.Renewed.about("renewed", "new token", "for a binding to", []string{journal.Token, journal.Bound}, func(e *journal.Entry) bool {
		return e.Kind == journal.Token && e.Type == "renewed" && e.Subscription == id
	})
}

// boundAgain counts bindings that replace one of a socket that has closed. That socket is
// known by its binding, or by the end of it, which the journal keeps longer.
func (in *awaitBody) boundAgain() (*condition, error) {
	id := in.BoundAgain.Subscription
	made, err := in.BoundAgain.about("boundAgain", "binding", "after a bound socket closed, to", []string{journal.Bound, journal.Closed}, nil)
	made.remembers = true
	made.selects = func() func(*journal.Entry) bool {
		had, lost := map[string]bool{}, 0
		return func(e *journal.Entry) bool {
			switch {
			case e.Kind == journal.Unbound && e.Subscription == id:
				had[e.Socket] = true
			case e.Kind == journal.Closed && had[e.Socket]:
				delete(had, e.Socket)
				lost++
			case e.Kind == journal.Bound && e.Subscription == id:
				again := lost > 0 && !had[e.Socket]
				if again {
					lost--
				}
				had[e.Socket] = true
				return again
			}
			return false
		}
	}
	return made, err
}

// tokenTaken counts tokens that were issued, for a subscription or for any.
func (in *awaitBody) tokenTaken() (*condition, error) {
	id := in.TokenTaken.Subscription
	made, err := in.TokenTaken.about("tokenTaken", "binding token", "for", []string{journal.Token}, func(e *journal.Entry) bool {
		return e.Kind == journal.Token && e.Type == "issued" && (id == "" || covers(e.Text, id))
	})
	if id == "" {
		made.what = quantity(max(1, in.TokenTaken.Count), "binding token")
		err = checkCount("tokenTaken.count", in.TokenTaken.Count)
	}
	return made, err
}

// covers reports whether the text of an entry about a token names a subscription: "for a, b
// until 2026-01-01T08:00:00Z". An id has no space.
func covers(text, id string) bool {
	ids, _, _ := strings.Cut(strings.TrimPrefix(text, "for "), " until ")
	return slices.Contains(strings.Split(ids, ", "), id)
}

func (in *awaitBody) eventsCalled() (*condition, error) {
	q := in.EventsCalled
	for _, bound := range []struct {
		member string
		value  *int64
	}{{"eventsCalled.eventsSinceNumber", q.Since}, {"eventsCalled.eventsUntilNumber", q.Until}} {
		if v := bound.value; v != nil && (*v < 0 || *v > maxSeq) {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected the number of an event, from 0 to %d", *v, maxSeq).At(bound.member)
		}
	}
	what, id := "of $events", q.Subscription
	if q.Since != nil {
		what += fmt.Sprintf(" with eventsSinceNumber=%d", *q.Since)
	}
	if q.Until != nil {
		what += fmt.Sprintf(" with eventsUntilNumber=%d", *q.Until)
	}
	what += " of"
	on := onSubscription{id, q.Count}
	return on.about("eventsCalled", "call", what, []string{journal.Events}, func(e *journal.Entry) bool {
		return e.Kind == journal.Events && e.Subscription == id && (q.Since == nil || e.First == *q.Since) && (q.Until == nil || e.Last == *q.Until)
	})
}

func (in *awaitBody) closedByClient() (*condition, error) {
	code := in.ClosedByClient.Code
	if code != 0 && (code < 1000 || code > 4999) {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected a close code, from 1000 to 4999, or none for any", code).At("closedByClient.code")
	}
	what := "any code"
	if code != 0 {
		what = fmt.Sprintf("code %d", code)
	}
	return &condition{
		what: fmt.Sprintf("%s closed by the client with %s", quantity(max(1, in.ClosedByClient.Count), "socket"), what),
		want: in.ClosedByClient.Count,
		selects: each(func(e *journal.Entry) bool {
			return e.Kind == journal.Closed && strings.HasSuffix(e.Text, " (by client)") && (code == 0 || e.Code == code)
		}),
		near: ofKind(journal.Closed),
	}, checkCount("closedByClient.count", in.ClosedByClient.Count)
}

// checkKinds refuses what is not a kind of entry.
func checkKinds(member string, kinds []string) error {
	for _, kind := range kinds {
		if slices.Contains(journal.Kinds(), kind) {
			continue
		}
		hint := "expected one of " + strings.Join(journal.Kinds(), ", ")
		if nearest := suggest.Nearest(kind, journal.Kinds()); nearest != "" {
			hint = fmt.Sprintf("did you mean %q?", nearest)
		}
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, which is no kind of journal entry; %s", kind, hint).At(member)
	}
	return nil
}

func (in *awaitBody) entries() (*condition, error) {
	q := in.Journal
	if q.Count == 0 && q.Kind == "" && q.Subscription == "" && q.Socket == "" && q.Type == "" && q.Resource == "" && q.Code == 0 && q.Text == "" {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "say what to wait for: a kind, subscription, socket, type, resource, code or text").At("journal")
	}
	if q.Code < 0 || q.Code > 65535 {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected a close code, such as 1000, or none for any", q.Code).At("journal.code")
	}
	f := journal.Filter{Subscription: q.Subscription, Socket: q.Socket, Text: q.Text}
	if q.Kind != "" {
		f.Kinds = strings.Split(q.Kind, ",")
	}
	if err := checkKinds("journal.kind", f.Kinds); err != nil {
		return nil, err
	}
	var words []string
	for _, w := range []struct{ name, value string }{{"kind", q.Kind}, {"subscription", q.Subscription}, {"socket", q.Socket}, {"type", q.Type}, {"resource", q.Resource}, {"text", q.Text}} {
		if w.value != "" {
			words = append(words, fmt.Sprintf("%s %q", w.name, w.value))
		}
	}
	if q.Code != 0 {
		words = append(words, fmt.Sprintf("code %d", q.Code))
	}
	of := func(e *journal.Entry) bool {
		return f.Selects(e) && (q.Type == "" || e.Type == q.Type) && (q.Resource == "" || e.Resource == q.Resource) && (q.Code == 0 || e.Code == q.Code)
	}
	made := &condition{
		what:         fmt.Sprintf("%s with %s", quantity(max(1, q.Count), "journal entry"), strings.Join(words, ", ")),
		subscription: q.Subscription,
		want:         q.Count,
		selects:      each(of),
		exchanges:    len(f.Kinds) == 0 || slices.Contains(f.Kinds, journal.HTTP),
		near: func(e *journal.Entry) bool {
			if len(f.Kinds) > 0 {
				return slices.Contains(f.Kinds, e.Kind)
			}
			return q.Subscription != "" && e.Subscription == q.Subscription || q.Socket != "" && e.Socket == q.Socket || q.Type != "" && e.Type == q.Type || q.Resource != "" && e.Resource == q.Resource
		},
	}
	return made, checkCount("journal.count", q.Count)
}

func (in *awaitBody) stillness(timeout time.Duration) (*condition, error) {
	q := in.Quiet
	if q.For == "" {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "say for how long, such as 200ms").At("quiet.for")
	}
	d, err := awaitTime("quiet.for", q.For, 0)
	if err != nil {
		return nil, err
	}
	if d >= timeout {
		return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected less than the timeout, which is %s", q.For, timeout).At("quiet.for")
	}
	f := journal.Filter{Kinds: q.Kinds, Subscription: q.Subscription, Socket: q.Socket}
	what := fmt.Sprintf("%s without a journal entry", d)
	if len(q.Kinds) > 0 {
		what += " of kind " + strings.Join(q.Kinds, " or ")
	}
	return &condition{
		what:         what,
		subscription: q.Subscription,
		socket:       q.Socket,
		quiet:        d,
		selects:      each(f.Selects),
		near:         ofKind(),
	}, checkKinds("quiet.kinds", q.Kinds)
}
