package manners

import "slices"

// Server is a real server and what is different with it.
type Server struct {
	Name     string  `json:"name"`
	About    string  `json:"about"`
	Version  string  `json:"version"` // that the switches were checked against
	Switches Manners `json:"switches"`
}

// Servers returns the servers that can be named, in order.
func Servers() []Server { return slices.Clone(servers) }

var servers = []Server{
	{"medplum", "Medplum: an R4 server whose sockets speak JSON", "source of about 5.2, packages/server/src/subscriptions/websockets.ts",
		Manners{EventNumber: Zero, NoTotal: true, NoTopic: true, RelativeReferences: true, NativeStatus: true, SharedHeartbeat: true, JSONMessages: true}},
	{"hapi", "HAPI FHIR JPA server: bind ID and ping ID of R4 only", "source of 2022, SubscriptionWebsocketHandler.java; the missing operation as reported in its issue 2825 (5.5)",
		Manners{LegacyMessages: true, NoTokenOperation: true}},
	{"helios", "Helios FHIR server: a token works once, and a socket is bound once", "source and README of crates/subscriptions, April 2026",
		Manners{RelativeReferences: true, SingleUseToken: true, OneBind: true, IntegerNumbers: true, Heartbeat: None}},
	{"argonaut", "Argonaut's reference implementation: parameter names of drafts, and no handshake", "source of argonaut-subscription-server-proxy, archived",
		Manners{DraftNames: true, NoHandshake: true, Heartbeat: Keepalive}},
}

// Switch describes one switch.
type Switch struct {
	Name    string   `json:"name"`
	Values  []any    `json:"values"` // that it can have; the first is the specification
	Does    string   `json:"does"`
	Servers []string `json:"servers"` // that do so
}

var switches = []struct {
	name, does string
	values     []string // of a text; nil: false and true
}{
	{"eventNumber", "zero: every event has the number 0 in notifications", []string{Counted, Zero}},
	{"integerNumbers", "eventNumber and eventsSinceSubscriptionStart are JSON numbers, not strings, in a SubscriptionStatus", nil},
	{"noTotal", "notifications have no eventsSinceSubscriptionStart", nil},
	{"noTopic", "notifications have no topic", nil},
	{"relativeReferences", "references in the status are relative, Subscription/a and Encounter/1", nil},
	{"nativeStatus", "on R4 too the status of a notification is a SubscriptionStatus, not Parameters", nil},
	{"noHandshake", "a bind is not answered; its socket gets events all the same", nil},
	{"heartbeat", `keepalive: the text "keepalive TIME" in place of a notification, one for the whole socket; none: no heartbeats`, []string{Notification, Keepalive, None}},
	{"sharedHeartbeat", "one heartbeat for all subscriptions of a socket, with an entry for each", nil},
	{"jsonMessages", "a message that is not JSON, or is JSON that says nothing known, has no effect and no answer", nil},
	{"legacyMessages", `only "bind ID" of R4 is understood, once for each socket: a wrong one closes it with 1002, another message gets "Unexpected client message: …" once it is bound, and no answer before`, nil},
	{"oneBind", "a socket is bound by one message; another is refused", nil},
	{"singleUseToken", "a token works once; another bind with it is refused", nil},
	{"noTokenOperation", "$get-ws-binding-token is refused with 400 and not-supported", nil},
	{"draftNames", "$get-ws-binding-token reads ids, not id, and returns one parameter subscriptions, and websocket-url as valueString", nil},
}

// valuesOf returns the values of a switch that is a text.
func valuesOf(name string) []string {
	for _, s := range switches {
		if s.name == name {
			return s.values
		}
	}
	return nil
}

// Switches describes every switch, in order.
func Switches() []Switch {
	all := make([]Switch, len(switches))
	for i, s := range switches {
		one := Switch{Name: s.name, Does: s.does, Values: []any{false, true}, Servers: []string{}}
		if s.values != nil {
			one.Values = nil
			for _, v := range s.values {
				one.Values = append(one.Values, v)
			}
		}
		for _, server := range servers {
			if server.Switches.has(s.name) {
				one.Servers = append(one.Servers, server.Name)
			}
		}
		all[i] = one
	}
	return all
}
