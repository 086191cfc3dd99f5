package testkit

import "net/http"

// The names of [Manners]: servers whose ways a room can take on. docs/mock.md says what each
// does, and in which version.
const (
	Medplum  = "medplum"
	HAPI     = "hapi"
	Helios   = "helios"
	Argonaut = "argonaut"
)

// Manners make a room behave as a real server does where that differs from the
// specification: by a name, by switches that override those of the name, or both. The zero
// value is the specification. docs/mock.md explains the switches.
type Manners struct {
	Name               string `json:"name,omitempty"`        // such as Medplum; "": only the switches
	EventNumber        string `json:"eventNumber,omitempty"` // counted or zero; "": as the name says
	IntegerNumbers     *bool  `json:"integerNumbers,omitempty"`
	NoTotal            *bool  `json:"noTotal,omitempty"`
	NoTopic            *bool  `json:"noTopic,omitempty"`
	RelativeReferences *bool  `json:"relativeReferences,omitempty"`
	NativeStatus       *bool  `json:"nativeStatus,omitempty"`
	NoHandshake        *bool  `json:"noHandshake,omitempty"`
	Heartbeat          string `json:"heartbeat,omitempty"` // notification, keepalive or none; "": as the name says
	SharedHeartbeat    *bool  `json:"sharedHeartbeat,omitempty"`
	JSONMessages       *bool  `json:"jsonMessages,omitempty"`
	LegacyMessages     *bool  `json:"legacyMessages,omitempty"`
	OneBind            *bool  `json:"oneBind,omitempty"`
	SingleUseToken     *bool  `json:"singleUseToken,omitempty"`
	NoTokenOperation   *bool  `json:"noTokenOperation,omitempty"`
	DraftNames         *bool  `json:"draftNames,omitempty"`
}

// Switch returns the value of a switch of [Manners].
func Switch(on bool) *bool { return &on }

// SetManners makes the room behave as a real server does. A reset takes the manners back to
// how the room began.
func (s *Server) SetManners(m Manners) {
	s.t.Helper()
	s.control(http.MethodPut, "manners", m, nil)
}

// Manners returns the name that was chosen, "none" if it was none, and the switches that are
// on.
func (s *Server) Manners() (name string, on Manners) {
	s.t.Helper()
	var out struct {
		Name string
		On   Manners
	}
	s.control(http.MethodGet, "manners", nil, &out)
	return out.Name, out.On
}

type mannersOption Manners

// WithManners opens the room with manners. A reset takes the room back to them.
func WithManners(m Manners) Option { return mannersOption(m) }

func (o mannersOption) room(settings map[string]any) error {
	settings["manners"] = Manners(o)
	return nil
}
