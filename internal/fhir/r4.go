package fhir

import (
	"slices"
	"strconv"
	"strings"
)

// r4 is FHIR 4.0.1 with subscriptions from the backport guide. A Parameters takes
// the place of SubscriptionStatus, and a Basic may take that of SubscriptionTopic.
func r4() codec {
	return codec{
		version:            "4.0.1",
		bundleType:         "history",
		profile:            backportStructure + "backport-subscription-notification-r4",
		responses:          true,
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

// appendStatusParameters appends the status as a Parameters, following its
// profile (1.4.2, SST-9).
func appendStatusParameters(dst []byte, n *Notification, kind NotificationType, reference string, events []*encodedOccurrence) []byte {
	dst = appendString(append(dst, `{"resourceType":"Parameters","id":`...), n.StatusID)
	dst = append(dst, `,"meta":{"profile":["`+backportStructure+`backport-subscription-status-r4"]},"parameter":[{"name":"subscription","valueReference":`...)
	dst = append(appendSubscription(dst, n, reference), '}')
	if n.includesTopic(kind) {
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
		if encoded := appendErrors(nil, []SubscriptionError{e}); encoded != nil {
			// Strip the ,"error":[ and ] around the value.
			encoded = encoded[len(`,"error":[`) : len(encoded)-1]
			dst = append(append(append(dst, `,{"name":"error","valueCodeableConcept":`...), encoded...), '}')
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
// extensions, with the prefix of 4.3 or 5.0 (TOP-2).
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

// formOfTopic checks the elements the server uses in a topic made of extensions,
// by the rules of R5. It ignores the modifiers of a filter: those with the prefix
// 4.3 have codes of R4B.
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

// repeating lists the elements of a topic that may repeat.
var repeating = map[string]bool{
	"resourceTrigger": true, "eventTrigger": true, "canFilterBy": true, "notificationShape": true,
	"supportedInteraction": true, "comparator": true, "modifier": true, "include": true, "revInclude": true,
}

// crossVersion adds the elements that the extensions of from represent to a part
// of a topic. The extension of a part is named by its path; those inside it by the
// element alone or also by the path.
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
