package fhir

import (
	"encoding/json"
	"slices"
	"strings"
)

// StatusEdit says how the status of an encoded notification is written, for servers that
// differ from the specification on purpose.
type StatusEdit struct {
	ZeroNumbers bool // every event has the number 0
	Integers    bool // numbers are JSON numbers, in a SubscriptionStatus
	NoTotal     bool // without the number of events since the start
	NoTopic     bool
	Relative    bool // references without the base
}

// Apply returns a notification that is written so, and says what is different. It returns
// nothing if that is nothing, or if frame is not a notification. Every status of a heartbeat
// with several is changed.
func (e StatusEdit) Apply(frame []byte) (changed []byte, did []string) {
	bundle, err := Parse(frame)
	if err != nil || bundle.Text("resourceType") != "Bundle" {
		return nil, nil
	}
	note := func(what string) {
		if !slices.Contains(did, what) {
			did = append(did, what)
		}
	}
	for _, entry := range objects(bundle, "entry") {
		status := entry.Object("resource")
		switch {
		case status.Text("resourceType") == "SubscriptionStatus":
			e.status(status, note)
		case status.Text("resourceType") == "Parameters" && parameter(objects(status, "parameter"), "type") != nil:
			e.parameters(status, note)
		}
	}
	if len(did) == 0 {
		return nil, nil
	}
	return bundle.AppendJSON(nil), did
}

// What an edit did.
const (
	didZero     = "numbers are 0"
	didIntegers = "numbers are JSON numbers"
	didNoTotal  = "no total"
	didNoTopic  = "no topic"
	didRelative = "relative references"
)

func (e StatusEdit) status(o *Object, note func(string)) {
	const total = "eventsSinceSubscriptionStart"
	number := func(o *Object, member string) {
		text := o.Text(member)
		if e.Integers && text != "" {
			o.Set(member, json.Number(text))
			note(didIntegers)
		}
	}
	relative := func(o *Object, member string) {
		if r := o.Object(member); r != nil {
			e.relative(r, note)
		}
	}
	if e.NoTotal && o.Has(total) {
		o.Delete(total)
		note(didNoTotal)
	}
	if e.NoTopic && o.Has("topic") {
		o.Delete("topic")
		note(didNoTopic)
	}
	number(o, total)
	relative(o, "subscription")
	for _, event := range objects(o, "notificationEvent") {
		if e.ZeroNumbers {
			event.Set("eventNumber", "0")
			note(didZero)
		}
		number(event, "eventNumber")
		relative(event, "focus")
		for _, r := range objects(event, "additionalContext") {
			e.relative(r, note)
		}
	}
}

// relative takes the base from a reference.
func (e StatusEdit) relative(reference *Object, note func(string)) {
	url := reference.Text("reference")
	at := strings.LastIndex(url, "/")
	if !e.Relative || at < 0 {
		return
	}
	if at = strings.LastIndex(url[:at], "/"); at >= 0 {
		reference.Set("reference", url[at+1:])
		note(didRelative)
	}
}

func (e StatusEdit) parameters(o *Object, note func(string)) {
	list := slices.DeleteFunc(o.Array("parameter"), func(v any) bool {
		switch {
		case e.NoTotal && isNamed(v, "events-since-subscription-start"):
			note(didNoTotal)
		case e.NoTopic && isNamed(v, "topic"):
			note(didNoTopic)
		default:
			return false
		}
		return true
	})
	o.Set("parameter", list)
	for _, v := range list {
		p, _ := v.(*Object)
		if r := p.Object("valueReference"); r != nil {
			e.relative(r, note)
		}
		if p.Text("name") != "notification-event" {
			continue
		}
		for _, part := range objects(p, "part") {
			if r := part.Object("valueReference"); r != nil {
				e.relative(r, note)
			}
			if e.ZeroNumbers && part.Text("name") == "event-number" {
				part.Set("valueString", "0")
				note(didZero)
			}
		}
	}
}

// JoinNotifications returns one bundle with the entries of several, which are of one
// release.
func JoinNotifications(bundles [][]byte) []byte {
	var joined *Object
	var entries []any
	for _, b := range bundles {
		one, err := Parse(b)
		if err != nil {
			continue // it is not one of ours
		}
		if joined == nil {
			joined = one
		}
		entries = append(entries, one.Array("entry")...)
	}
	if joined == nil {
		return nil
	}
	joined.Set("entry", entries)
	return joined.AppendJSON(nil)
}
