package fhir

import (
	"fmt"
	"time"
)

// r5 is FHIR 5.0.0, which has topic-based subscriptions natively.
func r5() codec {
	return codec{
		version:                 "5.0.0",
		bundleType:              "subscription-notification",
		idOnlyEntries:           true,
		eventsRequired:          true,
		eventNumbersAreIntegers: true,
		appendReferences:        appendFocusMembers,
		readSubscription:        readSubscriptionR5,
		withStatus: func(o *Object, status, _ string) *Object {
			o.Set("status", status)
			return o
		},
		operations: func(r Release) []operation { return append(subscriptionOperations(r), resend(r)) },
		capability: func(s *capabilityStatement, _ *Capability) {
			for i := range s.Rest[0].Resource {
				s.Rest[0].Resource[i].ConditionalPatch = true // earlier releases have no such element
			}
		},
		topicOf: isSubscriptionTopic,
		adapt:   func(o *Object) *Object { return o },
	}
}

// readSubscriptionR5 reads the elements of 1.1.1.
func readSubscriptionR5(r Release, c *checks, o *Object) *Subscription {
	s := &Subscription{
		Topic:           o.Text("topic"),
		Endpoint:        o.Text("endpoint"),
		HeartbeatPeriod: time.Duration(whole(o.Get("heartbeatPeriod"))) * time.Second,
		Timeout:         time.Duration(whole(o.Get("timeout"))) * time.Second,
		ContentType:     o.Text("contentType"),
		Content:         Content(o.Text("content")),
		MaxCount:        int(whole(o.Get("maxCount"))),
	}
	checkTopic(c, s.Topic, "Subscription.topic")
	for i, f := range objects(o, "filterBy") {
		s.Filters = append(s.Filters, readFilter(c, f, fmt.Sprintf("Subscription.filterBy[%d]", i)))
	}
	s.Channel = readChannel(c, o.Object("channelType"), "Subscription.channelType")
	checkEndpoint(c, s.Endpoint, "Subscription.endpoint")
	// SUB-5: a client that names neither contentType nor content wants to know
	// that something happened; one that names a contentType wants content.
	if s.Content == "" {
		s.Content = Empty
		if s.ContentType != "" {
			s.Content = IDOnly
		}
	}
	if s.ContentType == "" {
		s.ContentType = "application/fhir+json" // SUB-6
	}
	r.checkContentType(c, s.ContentType, "Subscription.contentType")
	return s
}
