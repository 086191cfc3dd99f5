package fhir

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// This file changes notifications that are encoded already, for servers that misbehave on
// purpose. It reads every form that a notification has on the wire.

// status finds the parts of a notification that say what it is.
type statusParts struct {
	bundle, entry, status *Object
}

var errNoNotification = errors.New("it is not a notification bundle, so it has no such part")

func partsOf(frame []byte) (statusParts, error) {
	bundle, err := Parse(frame)
	if err != nil || bundle.Text("resourceType") != "Bundle" {
		return statusParts{}, errNoNotification
	}
	entries := objects(bundle, "entry")
	if len(entries) == 0 {
		return statusParts{}, errNoNotification
	}
	p := statusParts{bundle, entries[0], entries[0].Object("resource")}
	if kind := p.status.Text("resourceType"); kind != "SubscriptionStatus" && kind != "Parameters" {
		return statusParts{}, errNoNotification
	}
	return p, nil
}

// parameter returns the parameter, or part, of a name.
func parameter(list []*Object, name string) *Object {
	for _, p := range list {
		if p.Text("name") == name {
			return p
		}
	}
	return nil
}

// Renumber returns a notification with other numbers: of its events, and of the events since
// the start of the subscription.
func Renumber(frame []byte, number func(int64) int64) ([]byte, error) {
	p, err := partsOf(frame)
	if err != nil {
		return nil, err
	}
	change := func(o *Object, member string) {
		text, isText := o.Get(member).(string)
		if n, isNumber := o.Get(member).(json.Number); isNumber {
			text = n.String()
		}
		old, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
		case isText:
			o.Set(member, strconv.FormatInt(number(old), 10))
		default:
			o.Set(member, json.Number(strconv.FormatInt(number(old), 10)))
		}
	}
	if p.status.Text("resourceType") == "SubscriptionStatus" {
		change(p.status, "eventsSinceSubscriptionStart")
		for _, e := range objects(p.status, "notificationEvent") {
			change(e, "eventNumber")
		}
		return p.bundle.AppendJSON(nil), nil
	}
	for _, parameter := range objects(p.status, "parameter") {
		switch parameter.Text("name") {
		case "events-since-subscription-start":
			change(parameter, "valueString")
		case "notification-event":
			for _, part := range objects(parameter, "part") {
				if part.Text("name") == "event-number" {
					change(part, "valueString")
				}
			}
		}
	}
	return p.bundle.AppendJSON(nil), nil
}

// AsHeartbeat returns a handshake as a heartbeat, with other ids.
func AsHeartbeat(handshake []byte, id, statusID string) ([]byte, error) {
	p, err := partsOf(handshake)
	if err != nil {
		return nil, err
	}
	p.bundle.Set("id", id)
	p.entry.Set("fullUrl", "urn:uuid:"+statusID)
	p.status.Set("id", statusID)
	if p.status.Text("resourceType") == "SubscriptionStatus" {
		p.status.Set("type", string(Heartbeat))
	} else if kind := parameter(objects(p.status, "parameter"), "type"); kind != nil {
		kind.Set("valueCode", string(Heartbeat))
	}
	return p.bundle.AppendJSON(nil), nil
}

// WithoutStatus returns a notification without the entry that has its status.
func WithoutStatus(frame []byte) ([]byte, error) {
	p, err := partsOf(frame)
	if err != nil {
		return nil, err
	}
	if rest := p.bundle.Array("entry")[1:]; len(rest) > 0 {
		p.bundle.Set("entry", rest)
	} else {
		p.bundle.Delete("entry") // an array is not empty
	}
	return p.bundle.AppendJSON(nil), nil
}

// WithBundleType returns a notification with another Bundle.type.
func WithBundleType(frame []byte, kind string) ([]byte, error) {
	p, err := partsOf(frame)
	if err != nil {
		return nil, err
	}
	p.bundle.Set("type", kind)
	return p.bundle.AppendJSON(nil), nil
}

// The functions below change what EncodeBindingToken has written.

// tamperParameters returns a Parameters with other parameters.
func tamperParameters(encoded []byte, change func(list []any) []any) []byte {
	o, err := Parse(encoded)
	if err != nil {
		return encoded // it is not one of ours
	}
	o.Set("parameter", change(o.Array("parameter")))
	return o.AppendJSON(nil)
}

func isNamed(v any, name string) bool {
	o, _ := v.(*Object)
	return o.Text("name") == name
}

// WithoutExpiration returns a binding token that does not say when it expires.
func WithoutExpiration(encoded []byte) []byte {
	return tamperParameters(encoded, func(list []any) []any {
		return slices.DeleteFunc(list, func(v any) bool { return isNamed(v, "expiration") })
	})
}

// WithTextExpiration returns a binding token whose expiration is a string, not a dateTime.
func WithTextExpiration(encoded []byte) []byte {
	return tamperParameters(encoded, func(list []any) []any {
		for i, v := range list {
			if isNamed(v, "expiration") {
				list[i] = NewObject("name", "expiration", "valueString", v.(*Object).Text("valueDateTime"))
			}
		}
		return list
	})
}

// WithDraftNames returns a binding token as drafts before 1.0 had it, and Argonaut's server
// still does: all subscriptions in one parameter, and the address as a string.
func WithDraftNames(encoded []byte) []byte {
	return tamperParameters(encoded, func(list []any) []any {
		var drafted []any
		var ids []string
		for _, v := range list {
			o, _ := v.(*Object)
			switch {
			case isNamed(v, "subscription"):
				ids = append(ids, o.Text("valueString"))
				if len(ids) == 1 {
					drafted = append(drafted, NewObject("name", "subscriptions"))
				}
			case isNamed(v, "websocket-url"):
				drafted = append(drafted, NewObject("name", "websocket-url", "valueString", o.Text("valueUrl")))
			default:
				drafted = append(drafted, v)
			}
		}
		for _, v := range drafted {
			if isNamed(v, "subscriptions") {
				v.(*Object).Set("valueString", strings.Join(ids, ","))
			}
		}
		return drafted
	})
}
