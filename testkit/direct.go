package testkit

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Socket is an open socket of a client.
type Socket struct {
	ID       string    `json:"id"`
	Remote   string    `json:"remote"` // address of the client
	Opened   time.Time `json:"opened"`
	Dialect  string    `json:"dialect"`  // how the client speaks; "" until it has spoken
	Bindings []string  `json:"bindings"` // ids of subscriptions
	Queued   int       `json:"queued"`   // frames that wait for it
}

// Sockets returns the open sockets.
func (s *Server) Sockets() []Socket {
	s.t.Helper()
	var out struct{ Sockets []Socket }
	s.control(http.MethodGet, "sockets", nil, &out)
	return out.Sockets
}

// CloseSocket closes a socket with a code that a close frame may have, and a reason of at
// most 123 bytes. The close frame follows what waits for the socket.
func (s *Server) CloseSocket(id string, code int, reason string) {
	s.t.Helper()
	query := url.Values{"code": {strconv.Itoa(code)}, "reason": {reason}}
	s.control(http.MethodDelete, "sockets/"+url.PathEscape(id)+"?"+query.Encode(), nil, nil)
}

// CutSocket ends the connection of a socket without a close frame. Frames that wait for it
// are lost; $events has their events.
func (s *Server) CutSocket(id string) {
	s.t.Helper()
	s.control(http.MethodDelete, "sockets/"+url.PathEscape(id)+"?cut=true", nil, nil)
}

// SendFrame sends text frames to a socket as they are. They need not be JSON.
func (s *Server) SendFrame(id string, texts ...string) {
	s.t.Helper()
	s.control(http.MethodPost, "sockets/"+url.PathEscape(id)+"/frames", map[string]any{"texts": texts}, nil)
}

// Notification is what [Server.Notify] sends: a type or a bundle.
type Notification struct {
	Type   string          `json:"type,omitempty"`   // handshake or heartbeat
	Bundle json.RawMessage `json:"bundle,omitempty"` // sent as it is; nothing is checked but that it is JSON
	Socket string          `json:"socket,omitempty"` // only to this one; "": to every socket that is bound
}

// Notified says where a notification went.
type Notified struct {
	Sockets []string `json:"sockets"` // ids of the sockets it is queued for
	Why     string   `json:"why"`     // why it went to no socket, or not to all
}

// Notify sends a notification of a subscription now.
func (s *Server) Notify(subscription string, n Notification) Notified {
	s.t.Helper()
	var out Notified
	s.control(http.MethodPost, "subscriptions/"+url.PathEscape(subscription)+"/notifications", n, &out)
	return out
}

// SubscriptionPatch is what [Server.PatchSubscription] changes: what is not zero.
type SubscriptionPatch struct {
	Status  string             `json:"status,omitempty"`  // active, error or off
	Error   *SubscriptionError `json:"error,omitempty"`   // why the status is error
	Counter *int64             `json:"counter,omitempty"` // number of the last event; going back empties the log of events
	Replay  any                `json:"replay,omitempty"`  // see [Settings]; RoomsReplay: that of the room
}

// RoomsReplay as the Replay of a [SubscriptionPatch] takes a policy of its own from a
// subscription.
const RoomsReplay = roomsReplay(0)

type roomsReplay int

// MarshalJSON returns null.
func (roomsReplay) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// SubscriptionError is why a subscription is in status error.
type SubscriptionError struct {
	Code string `json:"code,omitempty"` // such as no-response
	Text string `json:"text,omitempty"`
}

// Subscription is the state of a subscription that is not in its resource.
type Subscription struct {
	ID        string     `json:"id"`
	Release   Release    `json:"release"`
	Status    string     `json:"status"`
	Topic     string     `json:"topic"`
	Content   string     `json:"content"`
	Heartbeat int        `json:"heartbeatPeriod"` // seconds; 0: none
	Events    int64      `json:"events"`          // number of the last event
	FirstKept int64      `json:"firstKept"`       // number of the oldest event that $events returns; 0: none
	Replay    string     `json:"replay"`          // policy of its own; "": that of the room
	Sockets   []string   `json:"sockets"`
	LastFrame *time.Time `json:"lastFrame"` // when a frame was last sent; nil: never
	Errors    []string   `json:"errors"`
}

// Subscriptions returns the state of every subscription.
func (s *Server) Subscriptions() []Subscription {
	s.t.Helper()
	var out struct{ Subscriptions []Subscription }
	s.control(http.MethodGet, "subscriptions", nil, &out)
	return out.Subscriptions
}

// PatchSubscription changes a subscription, and its resource with it, and returns its new
// state.
func (s *Server) PatchSubscription(id string, p SubscriptionPatch) Subscription {
	s.t.Helper()
	var out Subscription
	s.control(http.MethodPatch, "subscriptions/"+url.PathEscape(id), p, &out)
	return out
}

// Settings are how a room treats its subscriptions. What is empty is the default.
type Settings struct {
	// Replay is what a bind sends again after its handshake: none (the default), missed
	// (what no socket got), last:n, or all (what is kept).
	Replay string `json:"replay,omitempty"`
	// Activation is what becomes of a subscription that is requested; nil: it is active at
	// once. The first of Activations that fits decides instead.
	Activation  *Activation      `json:"activation,omitempty"`
	Activations []ActivationRule `json:"activations,omitempty"`
}

// Activation is what becomes of a subscription that is requested. Make it with one of the
// functions below.
type Activation struct{ value any }

// ActivateAtOnce makes subscriptions active at once.
func ActivateAtOnce() *Activation { return &Activation{"at-once"} }

// ActivateAtBind makes a subscription active by its first bind, after the handshake.
func ActivateAtBind() *Activation { return &Activation{"at-bind"} }

// ActivateNever leaves subscriptions in status requested.
func ActivateNever() *Activation { return &Activation{"never"} }

// ActivateAfter makes a subscription active after a time on the clock of the room.
func ActivateAfter(d time.Duration) *Activation {
	return &Activation{map[string]any{"after": d.String()}}
}

// ActivateWithError puts subscriptions into status error, for a reason that is not empty.
func ActivateWithError(why string) *Activation { return &Activation{map[string]any{"error": why}} }

// RefuseToActivate refuses subscriptions with 422, for a reason that is not empty.
func RefuseToActivate(why string) *Activation { return &Activation{map[string]any{"refuse": why}} }

// ActivateWithoutFilters stores subscriptions without their filters by some parameters.
func ActivateWithoutFilters(parameters ...string) *Activation {
	return &Activation{map[string]any{"drop-filters": parameters}}
}

// MarshalJSON returns the activation as the control API takes it.
func (a Activation) MarshalJSON() ([]byte, error) { return json.Marshal(a.value) }

// UnmarshalJSON reads what the control API returns.
func (a *Activation) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &a.value) }

// ActivationRule is an activation for some subscriptions: those whose id and topic fit.
type ActivationRule struct {
	Subscription string      `json:"subscription,omitempty"` // id, in which * stands for any characters
	Topic        string      `json:"topic,omitempty"`        // canonical URL without a version
	Activation   *Activation `json:"activation"`
}

// SetSettings replaces the settings of the room. Subscriptions that there are keep their
// status. A reset takes the settings back to how the room began.
func (s *Server) SetSettings(settings Settings) {
	s.t.Helper()
	s.control(http.MethodPut, "settings", settings, nil)
}

// ExpireToken ends a token, given as itself or by its fingerprint, as if its time had come.
func (s *Server) ExpireToken(token string) {
	s.t.Helper()
	s.control(http.MethodPost, "tokens/"+url.PathEscape(token)+"/expire", nil, nil)
}

// User is somebody who signs in.
type User struct {
	ClientID string `json:"clientId"`       // client_id of the sign-in
	Profile  string `json:"profile"`        // "Practitioner/a"
	Name     string `json:"name,omitempty"` // the profile by default
}

// SetUsers says who signs in with which client id. Every other client is Practitioner/dev.
func (s *Server) SetUsers(users ...User) {
	s.t.Helper()
	if users == nil {
		users = []User{}
	}
	s.control(http.MethodPut, "users", map[string]any{"users": users}, nil)
}

type settingsOption Settings

// WithSettings opens the room with settings. A reset takes the room back to them. The seed
// does not depend on them.
func WithSettings(s Settings) Option { return settingsOption(s) }

func (o settingsOption) room(settings map[string]any) error {
	settings["settings"] = Settings(o)
	return nil
}
