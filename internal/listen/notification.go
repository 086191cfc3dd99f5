package listen

import (
	"encoding/json"
	"strconv"
	"strings"
)

// notification is what a frame says.
type notification struct {
	kind   string // type of the SubscriptionStatus
	status string
	total  int64
	events []event
	errors []string
}

// event is one notificationEvent with the request of its focus, where it is told.
type event struct {
	number  int64
	time    string
	focus   string // "Encounter/1", "" at level empty
	method  string
	context int // how many resources go along
}

// number reads an integer64, which is a string in JSON; some servers write a
// number.
type number int64

func (n *number) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*n = number(v)
	return err
}

// parseNotification reads a notification bundle.
func parseNotification(data []byte) (notification, bool) {
	var bundle struct {
		ResourceType string `json:"resourceType"`
		Entry        []struct {
			FullURL string `json:"fullUrl"`
			Request struct {
				Method string `json:"method"`
			} `json:"request"`
			Resource struct {
				ResourceType string `json:"resourceType"`
				Type         any    `json:"type"` // a code in the status, anything in others
				Status       any    `json:"status"`
				Total        number `json:"eventsSinceSubscriptionStart"`
				Event        []struct {
					Number    number `json:"eventNumber"`
					Timestamp string `json:"timestamp"`
					Focus     struct {
						Reference string `json:"reference"`
					} `json:"focus"`
					Context []any `json:"additionalContext"`
				} `json:"notificationEvent"`
				Error []struct {
					Text string `json:"text"`
				} `json:"error"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if json.Unmarshal(data, &bundle) != nil || bundle.ResourceType != "Bundle" || len(bundle.Entry) == 0 {
		return notification{}, false
	}
	status := bundle.Entry[0].Resource
	if status.ResourceType != "SubscriptionStatus" {
		return notification{}, false
	}
	methods := map[string]string{}
	for _, e := range bundle.Entry[1:] {
		methods[e.FullURL] = e.Request.Method
	}
	n := notification{total: int64(status.Total)}
	n.kind, _ = status.Type.(string)
	n.status, _ = status.Status.(string)
	for _, e := range status.Event {
		n.events = append(n.events, event{
			number:  int64(e.Number),
			time:    e.Timestamp,
			focus:   relative(e.Focus.Reference),
			method:  methods[e.Focus.Reference],
			context: len(e.Context),
		})
	}
	for _, e := range status.Error {
		n.errors = append(n.errors, e.Text)
	}
	return n, true
}

// relative is the type and the id of a reference, without base and version.
func relative(reference string) string {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	return strings.Join(parts[max(0, len(parts)-2):], "/")
}
