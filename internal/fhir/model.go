package fhir

import "time"

// Content is the payload level of a subscription.
type Content string

// The payload levels (http://hl7.org/fhir/subscription-payload-content).
const (
	Empty        Content = "empty"
	IDOnly       Content = "id-only"
	FullResource Content = "full-resource"
)

// The states of a subscription (http://hl7.org/fhir/subscription-status).
const (
	StatusRequested      = "requested"
	StatusActive         = "active"
	StatusError          = "error"
	StatusOff            = "off"
	StatusEnteredInError = "entered-in-error"
)

// Subscription is the content of a Subscription resource, whatever its release.
type Subscription struct {
	Release         Release
	ID              string
	Status          string
	Topic           string // canonical, may end in |version
	Criteria        string // search string of a classic subscription, which has no topic (4.7)
	End             time.Time
	Filters         []Filter
	Channel         string // websocket, rest-hook, …
	Endpoint        string
	HeartbeatPeriod time.Duration // 0: no heartbeats (SUB-8)
	Timeout         time.Duration // 0: the server's default (SUB-9)
	ContentType     string        // application/fhir+json if absent (SUB-6)
	Content         Content       // resolved by SUB-5
	MaxCount        int           // 0: no limit
}

// Filter is one condition a subscription adds to its topic.
type Filter struct {
	ResourceType string // "" if absent; last segment of a StructureDefinition URL
	Parameter    string
	Comparator   string
	Modifier     string
	Value        string
	Expression   string // its place: "Subscription.filterBy[0]"
	OneText      bool   // all of it is one string, as before R5: "patient=Patient/123"
}

// At returns the place of a member of the filter.
func (f Filter) At(member string) string {
	if f.OneText {
		return f.Expression
	}
	return f.Expression + "." + member
}

// Topic is the content of a SubscriptionTopic resource, whatever its release.
type Topic struct {
	URL, Version, Title, Status string
	Triggers                    []Trigger
	EventTriggers               []EventTrigger
	CanFilterBy                 []CanFilterBy
	Shapes                      []Shape
}

// Trigger is one resourceTrigger.
type Trigger struct {
	Resource     string   // type name; "Resource" means any
	Interactions []string // create, update, delete; empty: all (TOP-3)
	Query        *QueryCriteria
	FHIRPath     string
	Expression   string // its place: "SubscriptionTopic.resourceTrigger[0]"
}

// QueryCriteria is a trigger's pair of search strings (1.3.5).
type QueryCriteria struct {
	Previous, Current                string
	ResultForCreate, ResultForDelete string // test-passes, test-fails or ""
	RequireBoth                      bool
}

// EventTrigger is one eventTrigger: stored, fired only through /mock (TOP-17).
type EventTrigger struct {
	Code, System, Resource string
}

// CanFilterBy is one filter a topic offers.
type CanFilterBy struct {
	Resource    string // "" if absent
	Parameter   string
	Definition  string // canonical of the SearchParameter behind Parameter
	Comparators []string
	Modifiers   []string
	Expression  string
}

// Shape is one notificationShape.
type Shape struct {
	Resource   string
	Include    []string
	RevInclude []string
	Expression string // its place: "SubscriptionTopic.notificationShape[0]"
}

// NotificationType says what a notification is for
// (http://hl7.org/fhir/subscription-notification-type).
type NotificationType string

// The types of notification.
const (
	Handshake         NotificationType = "handshake"
	Heartbeat         NotificationType = "heartbeat"
	EventNotification NotificationType = "event-notification"
	QueryStatus       NotificationType = "query-status"
	QueryEvent        NotificationType = "query-event"
)

// Entry is one resource an event is about.
type Entry struct {
	Type, ID string
	Method   string    // POST, PUT, DELETE for the focus; GET for context
	Resource *Resource // nil if it was deleted or its content is not known
}

// Reference returns the relative reference to the resource, "Encounter/2".
func (e *Entry) Reference() string { return e.Type + "/" + e.ID }

// Event is an [Occurrence] with the number it has in one subscription.
type Event struct {
	Number int64
	*Occurrence
}

// SubscriptionError is one SubscriptionStatus.error.
type SubscriptionError struct {
	Code string // of http://terminology.hl7.org/CodeSystem/subscription-error; may be ""
	Text string
}

// Notification is the content of a notification bundle, whatever its release.
type Notification struct {
	ID, StatusID     string // uuids of the bundle and of its status entry
	Type             NotificationType
	Timestamp        time.Time
	Base             string // absolute URL of the FHIR base, no trailing slash
	Subscription     string // id
	Status           string
	Topic            string
	EventsSinceStart int64
	Content          Content
	Events           []Event // ascending by number
	Errors           []SubscriptionError
}
