package room

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
	"signalfhir/internal/token"
)

// What a test does to a room by the control API, besides resources.

// controlled records in the journal what the control API changed.
func (r *Room) controlled(what, subscription, format string, args ...any) {
	r.journal.Record(journal.Entry{Kind: journal.Control, Type: what, Subscription: subscription, Text: fmt.Sprintf(format, args...)})
}

// Notified says where a notification went that the control API asked for.
type Notified struct {
	Sockets []string `json:"sockets"`       // ids of the sockets it is queued for
	Why     string   `json:"why,omitempty"` // it went to no socket, or not to all
}

// Notify sends a handshake or a heartbeat to the sockets that are bound to a subscription,
// or only to the one with the id socket if that is not "". It refuses an unknown
// subscription, another type, and a socket that is not bound.
func (r *Room) Notify(id, kind, socket string) (Notified, error) {
	if _, err := r.Subscription(id); err != nil {
		return Notified{}, err
	}
	if k := fhir.NotificationType(kind); k != fhir.Handshake && k != fhir.Heartbeat {
		return Notified{}, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected handshake or heartbeat; events are made by a write or by POST /mock/trigger", kind).At("type")
	}
	sockets, why, err := r.subscriptions.Notify(id, fhir.NotificationType(kind), socket)
	return Notified{sockets, why}, err
}

// SendText is [Room.Notify] for a text, which is sent as it is. Nothing is checked.
func (r *Room) SendText(id string, text []byte, socket string) (Notified, error) {
	if _, err := r.Subscription(id); err != nil {
		return Notified{}, err
	}
	sockets, why, err := r.subscriptions.SendText(id, text, socket)
	return Notified{sockets, why}, err
}

// SubscriptionChange is what the control API changes of a subscription. The zero value
// changes nothing.
type SubscriptionChange struct {
	Status  string                  // active, error or off; "": as it is
	Error   *fhir.SubscriptionError // why the status is error; nil: the server does not say
	Counter *int64                  // number of the last event; nil: as it is
	Replay  **subscription.Replay   // policy of replays, or nil for that of the room; nil: as it is
}

// MaxCounter is the largest number that the control API gives to an event. The numbers that
// follow have to stay below 2 to the power of 53, from where JSON numbers are not exact: they
// last for more than 7e12 events.
const MaxCounter = 9_000_000_000_000_000

// errorCode is the form of a FHIR code.
var errorCode = regexp.MustCompile(`^[^\s]+( [^\s]+)*$`)

// isText reports whether a FHIR string may have this text.
func isText(text string) bool {
	return strings.TrimSpace(text) != "" && !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' })
}

func (c *SubscriptionChange) check() error {
	switch c.Status {
	case "", fhir.StatusActive, fhir.StatusError, fhir.StatusOff:
	default:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected active, error or off", c.Status).At("status")
	}
	if c.Error != nil {
		switch {
		case c.Status != fhir.StatusError:
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, `an error goes with "status": "error" only`).At("error")
		case c.Error.Code == "" && c.Error.Text == "":
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "give the error a code, a text or both, or leave it out").At("error")
		case c.Error.Text != "" && !isText(c.Error.Text):
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a text with something to read", c.Error.Text).At("error.text")
		case c.Error.Code != "" && !errorCode.MatchString(c.Error.Code):
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a code without spaces around it, such as no-response", c.Error.Code).At("error.code")
		}
	}
	if c.Counter != nil && (*c.Counter < 0 || *c.Counter > MaxCounter) {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected a whole number from 0 to %d, so that the numbers of later events stay exact in JSON", *c.Counter, int64(MaxCounter)).At("counter")
	}
	return nil
}

// ChangeSubscription changes a subscription in one step for writes and returns its new
// state. The status of the stored resource, a new version of it, is that of the
// subscription. A change that is refused changes nothing.
func (r *Room) ChangeSubscription(id string, c SubscriptionChange) (SubscriptionState, error) {
	r.write.Lock()
	defer r.write.Unlock()
	b, err := r.baseOf(id)
	if err != nil {
		return SubscriptionState{}, err
	}
	res, err := b.store.Read("Subscription", id)
	if err != nil {
		return SubscriptionState{}, err
	}
	if err := c.check(); err != nil {
		return SubscriptionState{}, err
	}
	state, _ := r.subscriptions.State(id)
	switch {
	case c.Status == fhir.StatusError && dormant(state.Status):
		err = fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, `Subscription/%s is %s, and an error is of one that works; set its status to "active" first`, id, state.Status).At("status")
	case c.Status == fhir.StatusActive:
		err = b.mayBeActive(res)
	}
	if err != nil {
		return SubscriptionState{}, err
	}
	if c.Counter != nil {
		before, err := r.subscriptions.SetCounter(id, *c.Counter)
		if err != nil {
			return SubscriptionState{}, err
		}
		lost := ""
		if *c.Counter < before {
			lost = "; its events are gone"
		}
		r.controlled("counter", id, "the number of the last event was %d and is %d%s", before, *c.Counter, lost)
	}
	switch c.Status {
	case fhir.StatusError:
		var why fhir.SubscriptionError
		if c.Error != nil {
			why = *c.Error
		}
		b.storeStatusLocked(res, c.Status, why.Text)
		r.subscriptions.SetError(id, why.Code, why.Text)
	case fhir.StatusActive, fhir.StatusOff:
		b.putStatusLocked(res, &state, c.Status)
	}
	if c.Replay != nil {
		own, said := (*subscription.Replay)(nil), "the room's"
		if *c.Replay != nil {
			own, said = *c.Replay, (*c.Replay).String()
		}
		if err := r.subscriptions.SetReplayOf(id, own); err != nil {
			return SubscriptionState{}, err
		}
		r.controlled("replay", id, "the policy of replays is %s", said)
	}
	if state, ok := r.subscriptions.State(id); ok {
		return shown(&state), nil
	}
	return SubscriptionState{}, fhir.Refuse(http.StatusGone, fhir.CodeDeleted, "the room was closed")
}

// mayBeActive refuses a subscription whose end has passed, or whose topic is gone or no
// longer offers its filters.
func (b *Base) mayBeActive(res *fhir.Resource) error {
	sub, _ := b.release.ReadSubscription(res.Object)
	if !sub.End.IsZero() && !sub.End.After(b.room.clock.Now()) {
		return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeBusinessRule, "the end of Subscription/%s, %s, has passed; set a later one in the resource", res.ID, sub.End.UTC().Format(time.RFC3339)).At("status")
	}
	if b.classic.find(res.ID) != nil {
		return nil
	}
	_, _, issues := b.resolve(b.topics, sub)
	return fhir.RefuseAll(issues)
}

// storeStatusLocked is setStatusLocked for a status whose reason may be new.
func (b *Base) storeStatusLocked(res *fhir.Resource, status, why string) {
	changed := b.release.WithStatus(res.Object, status, why)
	if changed.Text("status") != res.Object.Text("status") || changed.Text("error") != res.Object.Text("error") {
		_, _ = b.store.Update(res.Type, res.ID, changed, "") // it exists, and there is no If-Match
	}
}

// ExpireToken ends a valid token as if its time had come, and with it what it holds. name
// is the token or its fingerprint.
func (r *Room) ExpireToken(name string) error {
	secret, err := r.tokenNamed(name)
	if err != nil {
		return err
	}
	ended, ok := r.tokens.Expire(secret, 0)
	if !ok {
		return noToken()
	}
	r.noteExpired(ended, ", by the control API")
	r.subscriptions.ExpireToken(secret)
	return nil
}

// tokenNamed returns a valid token by itself or by its fingerprint.
func (r *Room) tokenNamed(name string) (string, error) {
	if !token.IsFingerprint(name) {
		return name, nil
	}
	found := ""
	for _, t := range r.tokens.Valid() {
		if token.Fingerprint(t.Secret) != name {
			continue
		}
		if found != "" {
			return "", fhir.Refuse(http.StatusConflict, fhir.CodeMultipleMatches, "several tokens have the fingerprint %s; name the token itself, from GET /mock/tokens", name)
		}
		found = t.Secret
	}
	if found == "" {
		return "", noToken()
	}
	return found, nil
}

func noToken() error {
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no such token; GET /mock/tokens lists the valid ones")
}

// User is somebody who signs in: a client id and the profile it gets.
type User struct {
	ClientID string `json:"clientId"`
	Profile  string `json:"profile"`        // "Practitioner/a"
	Name     string `json:"name,omitempty"` // the profile by default
}

// maxUsers bounds the users of a room.
const maxUsers = 1000

// SetUsers replaces the users that can be told apart at the sign-in.
func (r *Room) SetUsers(users []User) error {
	if len(users) > maxUsers {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeTooCostly, "got %d users, a room has at most %d", len(users), maxUsers).At("users")
	}
	list := make([]User, len(users))
	seen := map[string]bool{}
	for i, u := range users {
		at := fmt.Sprintf("users[%d]", i)
		switch typ, id, _ := strings.Cut(u.Profile, "/"); {
		case u.ClientID == "":
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, "a user needs the client_id that it signs in with").At(at + ".clientId")
		case seen[u.ClientID]:
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeDuplicate, "the client id %q is listed twice", u.ClientID).At(at + ".clientId")
		case !r.bases[0].release.IsResourceType(typ) || !fhir.IsID(id):
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected Type/id such as Practitioner/a", u.Profile).At(at + ".profile")
		}
		seen[u.ClientID] = true
		if u.Name == "" {
			u.Name = u.Profile
		}
		list[i] = u
	}
	r.users.Store(&list)
	r.controlled("users", "", "%d users are told apart at the sign-in", len(list))
	return nil
}

// Users returns the users that SetUsers has set.
func (r *Room) Users() []User {
	if list := r.users.Load(); list != nil {
		return *list
	}
	return []User{}
}

// UserOf returns the user that a client id belongs to.
func (r *Room) UserOf(clientID string) (User, bool) {
	for _, u := range r.Users() {
		if u.ClientID == clientID {
			return u, true
		}
	}
	return User{}, false
}

// shown returns the state of a subscription as the control API shows it.
func shown(s *subscription.State) SubscriptionState {
	state := SubscriptionState{ID: s.ID, Release: string(s.Release), Status: s.Status, Topic: s.Topic, Content: string(s.Content), Heartbeat: int(s.Heartbeat / time.Second), Events: s.Counter, FirstKept: s.FirstKept, Sockets: s.Sockets}
	if s.Replay != nil {
		state.Replay = s.Replay.String()
	}
	if s.Sockets == nil {
		state.Sockets = []string{}
	}
	if !s.LastFrame.IsZero() {
		state.LastFrame = &s.LastFrame
	}
	for _, e := range s.Errors {
		if e.Text != "" {
			state.Errors = append(state.Errors, e.Text)
		} else if e.Code != "" {
			state.Errors = append(state.Errors, e.Code)
		}
	}
	return state
}
