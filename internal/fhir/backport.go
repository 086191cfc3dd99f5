package fhir

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// This file is the common part of R4 and R4B: topic-based subscriptions in the form that
// the Subscriptions R5 Backport Implementation Guide defines.

const (
	backport           = "http://hl7.org/fhir/uv/subscriptions-backport/"
	backportStructure  = backport + "StructureDefinition/"
	backportOperations = backport + "OperationDefinition/backport-subscription-"
	backportProfile    = backportStructure + "backport-subscription"
)

// readBackport reads a Subscription of R4 or R4B: either on a topic (SUB4-*), or a
// classic one whose criteria is a search (5.3).
func readBackport(r Release, c *checks, o *Object) *Subscription {
	channel := o.Object("channel")
	s := &Subscription{Endpoint: channel.Text("endpoint"), Channel: channel.Text("type"), ContentType: channel.Text("payload")}
	if !onTopic(o) {
		return readClassic(c, o, s)
	}
	s.Topic = o.Text("criteria")
	checkTopic(c, s.Topic, "Subscription.criteria")
	for i, e := range extensions(o.Object("_criteria"), "backport-filter-criteria") {
		s.Filters = append(s.Filters, r.readFilterCriteria(c, e.Text("valueString"), fmt.Sprintf("Subscription.criteria.extension[%d].value", i))...)
	}
	// SUB4-4: the extension has the channel type, but the element is mandatory too.
	if own := extensions(channel.Object("_type"), "backport-channel-type"); len(own) > 0 {
		s.Channel = readChannel(c, own[0].Object("valueCoding"), "Subscription.channel.type.extension[0].value")
	} else {
		checkChannel(c, s.Channel, "Subscription.channel.type")
	}
	checkEndpoint(c, s.Endpoint, "Subscription.channel.endpoint")
	s.HeartbeatPeriod = time.Duration(extensionNumber(channel, "backport-heartbeat-period")) * time.Second
	s.Timeout = time.Duration(extensionNumber(channel, "backport-timeout")) * time.Second
	s.MaxCount = int(extensionNumber(channel, "backport-max-count"))
	if s.ContentType == "" { // SUB4-2
		c.warnf(CodeRequired, "Subscription.channel.payload", "the profile requires a payload; using application/fhir+json")
		s.ContentType = "application/fhir+json"
	}
	r.checkContentType(c, s.ContentType, "Subscription.channel.payload")
	const level = "Subscription.channel.payload.extension[0].value"
	switch content := extensions(channel.Object("_payload"), "backport-payload-content"); {
	case len(content) == 0:
		c.warnf(CodeRequired, "Subscription.channel.payload", "the profile requires the extension backport-payload-content; using id-only")
		s.Content = IDOnly
	default:
		s.Content = Content(content[0].Text("valueCode"))
		if s.Content != Empty && s.Content != IDOnly && s.Content != FullResource {
			c.errorf(CodeNotSupported, level, "got %q, expected empty, id-only or full-resource", s.Content)
		}
	}
	return s
}

// onTopic reports whether a Subscription is on a topic rather than classic (SUB4-7).
func onTopic(o *Object) bool {
	for _, profile := range texts(o.Object("meta"), "profile") {
		if profile == backportProfile || strings.HasPrefix(profile, backportProfile+"|") {
			return true
		}
	}
	criteria := o.Text("criteria")
	for _, scheme := range []string{"http://", "https://", "urn:"} {
		if strings.HasPrefix(criteria, scheme) {
			return true
		}
	}
	channel := o.Object("channel")
	for _, part := range []*Object{o.Object("_criteria"), channel, channel.Object("_type"), channel.Object("_payload")} {
		for _, e := range objects(part, "extension") {
			if strings.HasPrefix(e.Text("url"), backportStructure) {
				return true
			}
		}
	}
	return false
}

// readClassic reads a Subscription whose criteria is a search. It has no payload level:
// its dialects send either the whole resource or nothing.
func readClassic(c *checks, o *Object, s *Subscription) *Subscription {
	s.Criteria, s.Content = strings.TrimPrefix(o.Text("criteria"), "/"), FullResource
	checkChannel(c, s.Channel, "Subscription.channel.type")
	if typ, _, _ := strings.Cut(s.Criteria, "?"); typ == "" {
		c.errorf(CodeValue, "Subscription.criteria", "got %q, expected a search such as Observation?code=1234, or the canonical URL of a topic", o.Text("criteria"))
	}
	if s.ContentType == "" {
		s.ContentType = "application/fhir+json"
	}
	return s
}

// extensions returns the extensions of the guide that have this id.
func extensions(o *Object, id string) []*Object {
	var found []*Object
	for _, e := range objects(o, "extension") {
		if e.Text("url") == backportStructure+id {
			found = append(found, e)
		}
	}
	return found
}

// extensionNumber returns the whole number of an extension, in any of the types that
// clients use, or 0 if there is none (SUB4-6).
func extensionNumber(o *Object, id string) int64 {
	for _, e := range extensions(o, id) {
		for _, name := range []string{"valueUnsignedInt", "valuePositiveInt", "valueInteger"} {
			if n, ok := e.Get(name).(json.Number); ok {
				return max(whole(n), 0)
			}
		}
	}
	return 0
}

// readFilterCriteria reads filter criteria, either in the form that the guide describes,
// Type.parameter:modifier=value, or in the form of its examples, Type?parameter=value&…
// (FLT-18 to FLT-20).
func (r Release) readFilterCriteria(c *checks, text, at string) []Filter {
	rest := strings.TrimPrefix(strings.TrimSpace(text), "/")
	all := ""
	if typ, query, ok := strings.Cut(rest, "?"); ok && !strings.Contains(typ, "=") {
		all, rest = typ, query
		if !r.IsResourceType(typ) {
			c.errorf(CodeNotSupported, at, "got %q: %q is not a resource type of FHIR %s", text, typ, r)
			return nil
		}
	}
	var filters []Filter
	for condition := range strings.SplitSeq(rest, "&") {
		name, value, ok := strings.Cut(condition, "=")
		if !ok || name == "" || value == "" { // FLT-24
			c.malformedf(CodeValue, at, "got %q, expected parameter=value such as patient=Patient/123 or Encounter?patient=Patient/123", text)
			return nil
		}
		f := Filter{ResourceType: all, Expression: at, OneText: true}
		if typ, parameter, dotted := strings.Cut(name, "."); dotted && typ != "" && unicode.IsUpper(rune(typ[0])) && r.IsResourceType(typ) {
			f.ResourceType, name = typ, parameter
		}
		f.Parameter, f.Modifier = cutModifier(name)
		if decoded, err := url.QueryUnescape(strings.ReplaceAll(value, "+", "%2B")); err == nil {
			value = decoded
		}
		f.Value = value
		filters = append(filters, f)
	}
	return filters
}

// cutModifier splits "patient:in" into parameter and modifier. A parameter may be a URL,
// whose ":" does not start a modifier (FLT-5).
func cutModifier(name string) (parameter, modifier string) {
	scheme := ""
	if i := strings.Index(name, "://"); i >= 0 {
		scheme, name = name[:i+3], name[i+3:]
	}
	parameter, modifier, _ = strings.Cut(name, ":")
	return scheme + parameter, modifier
}

// withBackportStatus sets the status of a Subscription and the reason in its
// element error.
func withBackportStatus(o *Object, status, why string) *Object {
	if status == StatusEnteredInError { // not a code of R4
		status = StatusOff
	}
	o.Set("status", status)
	if why == "" {
		o.Delete("error")
	} else {
		o.Set("error", why)
	}
	return o
}

// backportOperation returns the operations in the form of the guide: numbers are strings,
// and parameters have no bindings to value sets.
func backportOperation(r Release) []operation {
	all := append(subscriptionOperations(r), resend(r))
	for i := range all {
		op := &all[i]
		op.id = "backport-subscription-" + op.code
		op.url = backportOperations + op.code
		op.affectsState = op.code == "resend"
		for p := range op.parameters {
			op.parameters[p].Binding = nil
			op.parameters[p].Scope = nil // an element of R5
			if op.parameters[p].Type == "integer64" {
				op.parameters[p].Type = "string"
			}
		}
	}
	return all
}

// resend returns an operation from the next edition of the guide. It is available on
// every release (3.6).
func resend(r Release) operation {
	bound := func(name, typ, documentation string) operationParameter {
		return operationParameter{Name: name, Use: "in", Min: 0, Max: "1", Type: typ, Documentation: documentation}
	}
	number := "string"
	if r.codec().eventNumbersAreIntegers {
		number = "integer64"
	}
	return operation{
		id: "Subscription-resend", url: backportOperations + "resend", code: "resend",
		name: "Resend", title: "Send events again",
		description:  "Sends events a subscription already had again, under their numbers, on the sockets that are bound to it.",
		affectsState: true,
		parameters: []operationParameter{
			bound("eventsSinceNumber", number, "The first event wanted."),
			bound("eventsUntilNumber", number, "The last event wanted."),
			bound("eventsSinceInstant", "instant", "From when on events are wanted."),
			bound("eventsUntilInstant", "instant", "Until when events are wanted."),
			{Name: "return", Use: "out", Min: 1, Max: "1", Type: "OperationOutcome", Documentation: "How many events were sent to how many sockets."},
		},
	}
}

// backportCapability returns a function that adds what the guide requires of a
// CapabilityStatement (CF-4 to CF-6, CF-9).
func backportCapability(server string) func(*capabilityStatement, *Capability) {
	return func(s *capabilityStatement, c *Capability) {
		s.Instantiates = []string{backport + "CapabilityStatement/" + server}
		s.ImplementationGuide = []string{backport + "ImplementationGuide/hl7.fhir.uv.subscriptions-backport"}
		for i := range s.Rest[0].Resource {
			res := &s.Rest[0].Resource[i]
			if res.Type != "Subscription" {
				continue
			}
			res.SupportedProfile = []string{backportProfile}
			for _, topic := range c.Topics {
				res.Extension = append(res.Extension, canonicalExtension{backportStructure + "capabilitystatement-subscriptiontopic-canonical", topic})
			}
		}
	}
}
