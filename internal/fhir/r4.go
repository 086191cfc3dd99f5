package fhir

import (
	"slices"
	"strconv"
	"strings"
)

// r4 is FHIR 4.0.1: subscriptions by the backport guide. It has neither
// SubscriptionStatus, for which a Parameters stands in, nor SubscriptionTopic,
// for which a Basic may.
func r4() codec {
	return codec{
		version:            "4.0.1",
		bundleType:         "history",
		profile:            backportStructure + "backport-subscription-notification-r4",
		answered:           true,
		statusIsParameters: true,
		appendReferences:   appendFocusParts,
		readSubscription:   readBackport,
		withStatus:         withBackportStatus,
		operations:         backportOperation,
		capability:         backportCapability("backport-subscription-server-r4"),
		topicOf:            topicOfBasic,
		adapt:              adaptToR4,
	}
}

// appendStatusParameters appends the status as the profile of a Parameters
// (1.4.2, SST-9).
func appendStatusParameters(dst []byte, n *Notification, kind NotificationType, reference string, events []*occurring) []byte {
	dst = appendString(append(dst, `{"resourceType":"Parameters","id":`...), n.StatusID)
	dst = append(dst, `,"meta":{"profile":["`+backportStructure+`backport-subscription-status-r4"]},"parameter":[{"name":"subscription","valueReference":`...)
	dst = append(appendSubscription(dst, n, reference), '}')
	if n.saysTopic(kind) {
		dst = append(appendString(append(dst, `,{"name":"topic","valueCanonical":`...), n.Topic), '}')
	}
	dst = append(appendString(append(dst, `,{"name":"status","valueCode":`...), n.Status), '}')
	dst = append(appendString(append(dst, `,{"name":"type","valueCode":`...), string(kind)), '}')
	dst = strconv.AppendInt(append(dst, `,{"name":"events-since-subscription-start","valueString":"`...), n.EventsSinceStart, 10)
	dst = append(dst, `"}`...)
	for i := range events {
		dst = strconv.AppendInt(append(dst, `,{"name":"notification-event","part":[{"name":"event-number","valueString":"`...), n.Events[i].Number, 10)
		dst = append(appendInstant(append(dst, `"},{"name":"timestamp","valueInstant":`...), n.Events[i].Timestamp), '}')
		if n.Content != Empty {
			dst = append(dst, events[i].references...)
		}
		dst = append(dst, "]}"...)
	}
	for _, e := range n.Errors {
		if said := appendErrors(nil, []SubscriptionError{e}); said != nil {
			// ,"error":[{…}] of a SubscriptionStatus, without what stands around it
			said = said[len(`,"error":[`) : len(said)-1]
			dst = append(append(append(dst, `,{"name":"error","valueCodeableConcept":`...), said...), '}')
		}
	}
	return append(dst, "]}"...)
}

// appendFocusParts appends focus and additional-context as parts.
func appendFocusParts(dst []byte, base string, focus *Entry, context []Entry) []byte {
	part := func(name string, e *Entry) {
		dst = append(append(append(dst, `,{"name":"`...), name...), `","valueReference":`...)
		dst = append(appendReference(dst, base, e.Type, e.ID), '}')
	}
	if focus != nil {
		part("focus", focus)
	}
	for i := range context {
		part("additional-context", &context[i])
	}
	return dst
}

// topicOfBasic reads a topic that is written as a Basic with cross-version
// extensions, of the prefix of 4.3 or 5.0 (TOP-2).
func topicOfBasic(o *Object) (*Object, bool) {
	if o.Text("resourceType") != "Basic" {
		return nil, false
	}
	for _, coding := range objects(o.Object("code"), "coding") {
		if coding.Text("code") == "SubscriptionTopic" {
			topic := NewObject("resourceType", "SubscriptionTopic")
			crossVersion(topic, o, "SubscriptionTopic")
			return topic, true
		}
	}
	return nil, false
}

// formOfTopic checks those elements of a topic of extensions that the server acts
// on, by the rules of R5. The modifiers of a filter are left alone: those of the
// prefix 4.3 have codes of R4B.
func formOfTopic(topic *Object) []Issue {
	read := NewObject("resourceType", "SubscriptionTopic")
	for _, name := range []string{"url", "version", "status", "resourceTrigger", "eventTrigger", "canFilterBy", "notificationShape"} {
		if topic.Has(name) {
			read.Set(name, topic.Get(name))
		}
	}
	return slices.DeleteFunc(R5.Validate(read), func(i Issue) bool {
		return slices.ContainsFunc(i.Expression, func(at string) bool { return strings.Contains(at, ".modifier[") })
	})
}

// repeating are the elements of a topic that occur more than once.
var repeating = map[string]bool{
	"resourceTrigger": true, "eventTrigger": true, "canFilterBy": true, "notificationShape": true,
	"supportedInteraction": true, "comparator": true, "modifier": true, "include": true, "revInclude": true,
}

// crossVersion puts the elements that extensions of from stand for into a part of
// a topic. The extension of a part is named by its path, those inside it by the
// element alone or, too, by the path.
func crossVersion(into, from *Object, path string) {
	for _, list := range []string{"extension", "modifierExtension"} {
		for _, e := range objects(from, list) {
			name := e.Text("url")
			if i := strings.Index(name, "/extension-"+path+"."); i >= 0 {
				name = name[i+len("/extension-"+path+"."):]
			}
			if strings.ContainsAny(name, "/.") || name == "" {
				continue
			}
			var value any
			for _, member := range e.Names() {
				if strings.HasPrefix(member, "value") {
					value = e.Get(member)
				}
			}
			if value == nil {
				part := NewObject()
				crossVersion(part, e, path+"."+name)
				value = part
			}
			if repeating[name] {
				value = append(into.Array(name), value)
			}
			into.Set(name, value)
		}
	}
}
