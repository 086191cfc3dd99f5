// Package listen is a reference client: it subscribes to a server, binds a socket and
// prints every notification. It survives what clients must survive: tokens that
// expire, sockets that break, servers that restart.
//
// It is written for reading. listen.go is the flow from subscription to socket and
// back to the start when something breaks, server.go has the HTTP requests of the
// flow, tracker.go finds missed events, print.go prints. It uses none of the server's
// own packages, because clients elsewhere cannot either.
package listen

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Options select what to listen to.
type Options struct {
	Server       string        // root of the server or its FHIR base
	AuthToken    string        // bearer token sent with every request; "": none
	TLS          *tls.Config   // whom to trust; nil: the authorities of the system
	Subscription string        // id of a subscription to listen to
	Topic        string        // or canonical URL of a topic to subscribe to
	Content      string        // payload level of a created subscription; "": id-only
	Heartbeat    int           // heartbeat period of a created subscription in seconds; 0: none
	Filters      []string      // filters of a created subscription, as parameter=value
	JSON         bool          // print frames as received
	Count        int           // end after this many events; 0: never
	Timeout      time.Duration // give up after this time; 0: never
}

// base returns the FHIR base of the server.
func (o *Options) base() (string, error) {
	u, err := url.Parse(strings.TrimRight(o.Server, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", fmt.Errorf("--server %s: expected an http or https URL such as http://127.0.0.1:8080", o.Server)
	}
	if !strings.Contains(u.Path, "/fhir") {
		u.Path += "/fhir/R5"
	}
	return u.String(), nil
}

// resource returns the subscription to create.
func (o *Options) resource() (map[string]any, error) {
	content := o.Content
	if content == "" {
		content = "id-only"
	}
	sub := map[string]any{
		"resourceType": "Subscription",
		"status":       "requested",
		"topic":        o.Topic,
		"reason":       "signalfhir listen",
		"channelType":  map[string]any{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
		"contentType":  "application/fhir+json",
		"content":      content,
	}
	if o.Heartbeat > 0 {
		sub["heartbeatPeriod"] = o.Heartbeat
	}
	var filters []any
	for _, filter := range o.Filters {
		name, value, ok := strings.Cut(filter, "=")
		if !ok {
			return nil, fmt.Errorf("--filter %s: expected PARAM=VALUE such as patient=Patient/1", filter)
		}
		filters = append(filters, map[string]any{"filterParameter": name, "value": value})
	}
	if filters != nil {
		sub["filterBy"] = filters
	}
	base, _ := o.base() // checked before
	if base = strings.ToUpper(base); strings.HasSuffix(base, "/R4") || strings.HasSuffix(base, "/R4B") {
		return backport(sub, o.Filters), nil
	}
	return sub, nil
}

// backport converts a subscription to R4 and R4B, following the backport guide.
func backport(r5 map[string]any, filters []string) map[string]any {
	const guide = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"
	extension := func(name, member string, value any) []any {
		return []any{map[string]any{"url": guide + name, member: value}}
	}
	channel := map[string]any{
		"type":     "websocket",
		"payload":  r5["contentType"],
		"_payload": map[string]any{"extension": extension("payload-content", "valueCode", r5["content"])},
	}
	if period, ok := r5["heartbeatPeriod"]; ok {
		channel["extension"] = extension("heartbeat-period", "valueUnsignedInt", period)
	}
	sub := map[string]any{
		"resourceType": "Subscription", "status": r5["status"], "reason": r5["reason"],
		"criteria": r5["topic"], "channel": channel,
	}
	var criteria []any
	for _, filter := range filters {
		criteria = append(criteria, extension("filter-criteria", "valueString", filter)...)
	}
	if criteria != nil {
		sub["_criteria"] = map[string]any{"extension": criteria}
	}
	return sub
}
