package listen

import (
	"encoding/json"
	"strconv"
	"strings"
)

// notification is the content of a frame.
type notification struct {
	kind   string // type of the SubscriptionStatus
	status string
	total  int64
	untold bool   // it does not say the total
	time   string // by the clock of the server
	events []event
	errors []string
}

// event is one notificationEvent with the request of its focus, if the entry has one.
type event struct {
	number  int64
	time    string
	focus   string // "Encounter/1"; "" at level empty
	method  string
	context int // number of context resources
}

// number is an integer64, which is a string in JSON; some servers write a number.
type number int64

func (n *number) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*n = number(v)
	return err
}

// total is a number that may be missing.
type total struct {
	number
	told bool
}

func (t *total) UnmarshalJSON(data []byte) error {
	t.told = true
	return t.number.UnmarshalJSON(data)
}

// status is the first resource of a notification: a SubscriptionStatus, or in R4 the
// Parameters that takes its place.
type status struct {
	ResourceType string              `json:"resourceType"`
	Type         any                 `json:"type"` // a code in the status, anything in other resources
	Status       any                 `json:"status"`
	Total        total               `json:"eventsSinceSubscriptionStart"`
	Event        []notificationEvent `json:"notificationEvent"`
	Error        []concept           `json:"error"`
	Parameter    []parameter         `json:"parameter"`
}

type notificationEvent struct {
	Number    number    `json:"eventNumber"`
	Timestamp string    `json:"timestamp"`
	Focus     reference `json:"focus"`
	Context   []any     `json:"additionalContext"`
}

type reference struct {
	Reference string `json:"reference"`
}

type concept struct {
	Text string `json:"text"`
}

type parameter struct {
	Name      string      `json:"name"`
	Code      string      `json:"valueCode"`
	String    number      `json:"valueString"`
	Instant   string      `json:"valueInstant"`
	Reference reference   `json:"valueReference"`
	Concept   concept     `json:"valueCodeableConcept"`
	Part      []parameter `json:"part"`
}

// read fills the status from the parameters that represent it.
func (s *status) read(parameters []parameter) {
	for _, p := range parameters {
		switch p.Name {
		case "type":
			s.Type = p.Code
		case "status":
			s.Status = p.Code
		case "events-since-subscription-start":
			s.Total = total{p.String, true}
		case "error":
			s.Error = append(s.Error, p.Concept)
		case "notification-event":
			var e notificationEvent
			for _, part := range p.Part {
				switch part.Name {
				case "event-number":
					e.Number = part.String
				case "timestamp":
					e.Timestamp = part.Instant
				case "focus":
					e.Focus = part.Reference
				case "additional-context":
					e.Context = append(e.Context, part.Reference)
				}
			}
			s.Event = append(s.Event, e)
		}
	}
}

// parseNotification parses a notification bundle of any release.
func parseNotification(data []byte) (notification, bool) {
	var bundle struct {
		ResourceType string `json:"resourceType"`
		Timestamp    string `json:"timestamp"`
		Entry        []struct {
			FullURL string `json:"fullUrl"`
			Request struct {
				Method string `json:"method"`
			} `json:"request"`
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	if json.Unmarshal(data, &bundle) != nil || bundle.ResourceType != "Bundle" || len(bundle.Entry) == 0 {
		return notification{}, false
	}
	var first status
	if json.Unmarshal(bundle.Entry[0].Resource, &first) != nil {
		return notification{}, false
	}
	switch first.ResourceType {
	case "SubscriptionStatus":
	case "Parameters":
		first.read(first.Parameter)
		if first.Type == nil { // some other Parameters
			return notification{}, false
		}
	default:
		return notification{}, false
	}
	methods := map[string]string{}
	for _, e := range bundle.Entry[1:] {
		methods[relative(e.FullURL)] = e.Request.Method // some servers write relative references
	}
	n := notification{total: int64(first.Total.number), untold: !first.Total.told, time: bundle.Timestamp}
	n.kind, _ = first.Type.(string)
	n.status, _ = first.Status.(string)
	for _, e := range first.Event {
		n.events = append(n.events, event{
			number:  int64(e.Number),
			time:    e.Timestamp,
			focus:   relative(e.Focus.Reference),
			method:  methods[relative(e.Focus.Reference)],
			context: len(e.Context),
		})
	}
	for _, e := range first.Error {
		n.errors = append(n.errors, e.Text)
	}
	return n, true
}

// relative returns the type and id of a reference, without base and version.
func relative(reference string) string {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}
