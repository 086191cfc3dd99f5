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

// Tampered is a frame that is changed. Its bytes are parsed and encoded once, however many
// changes there are. Its methods return an error, and change nothing, if the frame is not a
// notification bundle.
type Tampered struct {
	data    []byte
	parts   *statusParts // nil: not parsed yet
	changed bool         // parts are no longer what data is
}

// Tamper begins to change a frame, whose bytes are left as they are.
func Tamper(frame []byte) *Tampered { return &Tampered{data: frame} }

// Bytes returns the frame with the changes.
func (t *Tampered) Bytes() []byte {
	if t.changed {
		t.data, t.changed = t.parts.bundle.AppendJSON(nil), false
	}
	return t.data
}

// Replace puts other bytes in the place of the frame.
func (t *Tampered) Replace(frame []byte) { *t = Tampered{data: frame} }

// read returns the parts of the frame.
func (t *Tampered) read() (*statusParts, error) {
	if t.parts == nil {
		bundle, err := Parse(t.data)
		if err != nil {
			bundle = nil
		}
		t.parts = partsOf(bundle)
	}
	if t.parts.status == nil {
		return nil, errNoNotification
	}
	return t.parts, nil
}

// statusParts finds the parts of a notification that say what it is.
type statusParts struct {
	bundle, entry *Object
	status        *Object // nil: it is not a notification
}

var errNoNotification = errors.New("it is not a notification bundle, so it has no such part")

func partsOf(bundle *Object) *statusParts {
	p := &statusParts{bundle: bundle}
	entries := objects(bundle, "entry")
	if bundle.Text("resourceType") != "Bundle" || len(entries) == 0 {
		return p
	}
	p.entry = entries[0]
	status := p.entry.Object("resource")
	if kind := status.Text("resourceType"); kind == "SubscriptionStatus" || kind == "Parameters" {
		p.status = status
	}
	return p
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

// Renumber changes the numbers: of its events, and of the events since the start of the
// subscription.
func (t *Tampered) Renumber(number func(int64) int64) error {
	p, err := t.read()
	if err != nil {
		return err
	}
	t.changed = true
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
		return nil
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
	return nil
}

// AsHeartbeat makes a heartbeat of a handshake, with other ids.
func (t *Tampered) AsHeartbeat(id, statusID string) error {
	p, err := t.read()
	if err != nil {
		return err
	}
	t.changed = true
	p.bundle.Set("id", id)
	p.entry.Set("fullUrl", "urn:uuid:"+statusID)
	p.status.Set("id", statusID)
	if p.status.Text("resourceType") == "SubscriptionStatus" {
		p.status.Set("type", string(Heartbeat))
	} else if kind := parameter(objects(p.status, "parameter"), "type"); kind != nil {
		kind.Set("valueCode", string(Heartbeat))
	}
	return nil
}

// DropStatus removes the entry that has the status.
func (t *Tampered) DropStatus() error {
	p, err := t.read()
	if err != nil {
		return err
	}
	if rest := p.bundle.Array("entry")[1:]; len(rest) > 0 {
		p.bundle.Set("entry", rest)
	} else {
		p.bundle.Delete("entry") // an array is not empty
	}
	t.parts, t.changed = partsOf(p.bundle), true
	return nil
}

// SetBundleType sets Bundle.type.
func (t *Tampered) SetBundleType(kind string) error {
	p, err := t.read()
	if err != nil {
		return err
	}
	p.bundle.Set("type", kind)
	t.changed = true
	return nil
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
			case isNamed(v, "websocket-url") && o.Text("valueUrl") != "":
				drafted = append(drafted, NewObject("name", "websocket-url", "valueString", o.Text("valueUrl")))
			default:
				drafted = append(drafted, v)
			}
		}
		for _, v := range drafted {
			if isNamed(v, "subscriptions") && len(ids) > 0 {
				v.(*Object).Set("valueString", strings.Join(ids, ","))
			}
		}
		return drafted
	})
}
