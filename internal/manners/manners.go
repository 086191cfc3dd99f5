// Package manners has the ways in which real servers differ from the specification, as
// switches, and a list of them for each server that a client may meet.
//
// A switch is what a server was seen to do, in its source or on the wire; [Servers] says
// which version. Faults are what goes wrong with any server; manners are what is always so
// with one.
//
// The package decides nothing else: it changes encoded notifications, and whoever sends,
// binds or answers asks for the rest. Numbers in the log of events are always the true ones.
package manners

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"

	"signalfhir/internal/fhir"
)

// Manners are the switches that are on. The zero value is the specification. Manners in use
// are never modified.
type Manners struct {
	EventNumber        string `json:"eventNumber,omitempty"`        // Zero; "": the true one
	IntegerNumbers     bool   `json:"integerNumbers,omitempty"`     // numbers are JSON numbers
	NoTotal            bool   `json:"noTotal,omitempty"`            // no eventsSinceSubscriptionStart
	NoTopic            bool   `json:"noTopic,omitempty"`            // no topic
	RelativeReferences bool   `json:"relativeReferences,omitempty"` // "Subscription/a", not an absolute URL
	NativeStatus       bool   `json:"nativeStatus,omitempty"`       // a SubscriptionStatus on R4, too
	NoHandshake        bool   `json:"noHandshake,omitempty"`
	Heartbeat          string `json:"heartbeat,omitempty"`       // Keepalive or None; "": a notification
	SharedHeartbeat    bool   `json:"sharedHeartbeat,omitempty"` // one for all subscriptions of a socket
	JSONMessages       bool   `json:"jsonMessages,omitempty"`    // other messages have no effect
	LegacyMessages     bool   `json:"legacyMessages,omitempty"`  // "bind ID" of R4 and nothing else
	OneBind            bool   `json:"oneBind,omitempty"`         // of a socket
	SingleUseToken     bool   `json:"singleUseToken,omitempty"`
	NoTokenOperation   bool   `json:"noTokenOperation,omitempty"`
	DraftNames         bool   `json:"draftNames,omitempty"` // of the parameters of the operation
}

// Values of switches. The first of each is what the specification says; it is not kept.
const (
	Counted = "counted"
	Zero    = "zero"

	Notification = "notification"
	Keepalive    = "keepalive"
	None         = "none" // also the name of no manners
)

// Choice is what a client asks for: a name, switches that override those of the name, or
// both. Without anything it is the specification.
type Choice struct {
	Name               string  `json:"name,omitempty"`
	EventNumber        *string `json:"eventNumber,omitempty"`
	IntegerNumbers     *bool   `json:"integerNumbers,omitempty"`
	NoTotal            *bool   `json:"noTotal,omitempty"`
	NoTopic            *bool   `json:"noTopic,omitempty"`
	RelativeReferences *bool   `json:"relativeReferences,omitempty"`
	NativeStatus       *bool   `json:"nativeStatus,omitempty"`
	NoHandshake        *bool   `json:"noHandshake,omitempty"`
	Heartbeat          *string `json:"heartbeat,omitempty"`
	SharedHeartbeat    *bool   `json:"sharedHeartbeat,omitempty"`
	JSONMessages       *bool   `json:"jsonMessages,omitempty"`
	LegacyMessages     *bool   `json:"legacyMessages,omitempty"`
	OneBind            *bool   `json:"oneBind,omitempty"`
	SingleUseToken     *bool   `json:"singleUseToken,omitempty"`
	NoTokenOperation   *bool   `json:"noTokenOperation,omitempty"`
	DraftNames         *bool   `json:"draftNames,omitempty"`
}

// Resolve returns the manners that a choice means. It refuses an unknown name, an unknown
// value, and switches that contradict each other.
func (c Choice) Resolve() (Manners, error) {
	var m Manners
	if c.Name != "" && c.Name != None {
		i := slices.IndexFunc(servers, func(s Server) bool { return s.Name == c.Name })
		if i < 0 {
			names := []string{None}
			for _, s := range servers {
				names = append(names, s.Name)
			}
			return m, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %.100q, expected one of %s", c.Name, strings.Join(names, ", ")).At("name")
		}
		m = servers[i].Switches
	}
	for _, given := range []struct {
		at   string
		text *string
	}{{"eventNumber", c.EventNumber}, {"heartbeat", c.Heartbeat}} {
		if values := valuesOf(given.at); given.text != nil && !slices.Contains(values, *given.text) {
			return m, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %.100q, expected one of %s", *given.text, strings.Join(values, ", ")).At(given.at)
		}
	}
	from, to := reflect.ValueOf(c), reflect.ValueOf(&m).Elem()
	for i := range to.NumField() {
		if v := from.FieldByName(to.Type().Field(i).Name); !v.IsNil() {
			to.Field(i).Set(v.Elem())
		}
	}
	if m.EventNumber == Counted {
		m.EventNumber = ""
	}
	if m.Heartbeat == Notification {
		m.Heartbeat = ""
	}
	switch {
	case m.SharedHeartbeat && m.Heartbeat != "":
		return m, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvariant, `a shared heartbeat is a notification, but heartbeat is %q; set one of the two back`, m.Heartbeat).At("sharedHeartbeat")
	case m.JSONMessages && m.LegacyMessages:
		return m, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvariant, "the messages of R4 are not JSON, so no message would have an effect; set one of jsonMessages and legacyMessages back").At("jsonMessages")
	}
	return m, nil
}

// Title returns the name that a choice goes by.
func (c Choice) Title() string { return cmp.Or(c.Name, None) }

// names returns the names of the switches that are on, with their values.
func (m *Manners) names() (on []string) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if v.Field(i).Kind() == reflect.String {
			name += " " + v.Field(i).String()
		}
		on = append(on, name)
	}
	return on
}

// String lists the switches that are on.
func (m Manners) String() string {
	if on := m.names(); len(on) > 0 {
		return strings.Join(on, ", ")
	}
	return "none"
}

// Current holds the manners of a room. The zero value has none. It is safe for concurrent
// use, and a nil Current has none.
type Current struct{ on atomic.Pointer[Manners] }

// Get returns the manners that are on; nil if none are, which costs one atomic load.
func (c *Current) Get() *Manners {
	if c == nil {
		return nil
	}
	return c.on.Load()
}

// Set replaces the manners.
func (c *Current) Set(m Manners) {
	if m == (Manners{}) {
		c.on.Store(nil)
		return
	}
	c.on.Store(&m)
}

// Format returns the format in which a server with these manners writes a notification, in
// place of the one of a dialect.
func (m *Manners) Format(of fhir.FrameFormat, r fhir.Release) fhir.FrameFormat {
	if m.NativeStatus && of == fhir.StandardFormat && r == fhir.R4 { // the others have a SubscriptionStatus
		return fhir.NativeFormat
	}
	return of
}

// Change returns a notification as a server with these manners writes it, and says what is
// different; "" if nothing is. format is the one that the notification has by [Manners.Format].
// Change leaves what is not a notification as it is.
func (m *Manners) Change(frame []byte, format fhir.FrameFormat) (changed []byte, what string) {
	var all []string
	if format == fhir.NativeFormat {
		all = append(all, "a SubscriptionStatus")
	}
	edit := fhir.StatusEdit{ZeroNumbers: m.EventNumber == Zero, Integers: m.IntegerNumbers, NoTotal: m.NoTotal, NoTopic: m.NoTopic, Relative: m.RelativeReferences}
	if edit != (fhir.StatusEdit{}) {
		if changed, did := edit.Apply(frame); len(did) > 0 {
			frame, all = changed, append(all, did...)
		}
	}
	for _, did := range all {
		what = AddNote(what, did)
	}
	return frame, what
}

// AddNote adds what manners did to a frame to what the journal says of it; "" is nothing yet.
func AddNote(says, did string) string {
	if says == "" {
		return "by manners: " + did
	}
	return says + ", " + did
}

// has reports whether a switch is on.
func (m *Manners) has(name string) bool {
	return slices.ContainsFunc(m.names(), func(on string) bool { on, _, _ = strings.Cut(on, " "); return on == name })
}
