package fhir

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The systems a websocket channelType may name (SUB-4).
const (
	channelSystem   = "http://terminology.hl7.org/CodeSystem/subscription-channel-type"
	channelSystemR4 = "http://hl7.org/fhir/subscription-channel-type"
)

const structureBase = "http://hl7.org/fhir/StructureDefinition/"

// ReadSubscription reads a Subscription that passed [Release.Validate] and checks
// the rules beyond its structure: SUB-2 (scr-1), SUB-4, an absolute topic, a
// channel and contentType this server can serve, and LC-6. Absent elements get
// the defaults of SUB-5, SUB-6, SUB-8 and SUB-9.
//
// The Subscription is complete even if there are issues. An endpoint with an
// unexpected scheme is a warning, which a strict caller makes an error. The
// caller must check what depends on the time or the present state: a status that
// only the server sets, an end in the past, an unknown topic.
func (r Release) ReadSubscription(o *Object) (*Subscription, []Issue) {
	c := &checks{}
	s := r.codec().readSubscription(r, c, o)
	s.Release, s.ID, s.Status = r, o.Text("id"), o.Text("status")
	if end := o.Text("end"); end != "" {
		var err error
		if s.End, err = time.Parse(time.RFC3339Nano, end); err != nil {
			c.issues = append(c.issues, Issue{Severity: "error", Code: CodeValue, Expression: []string{"Subscription.end"},
				Diagnostics: fmt.Sprintf("got %q, expected an instant such as 2030-01-01T00:00:00Z", end)})
		} else if s.End.IsZero() {
			s.End = s.End.Add(1) // the beginning of the year 1 is the zero time, which means no end
		}
	}
	return s, c.issues
}

// checkTopic refuses a value that cannot name a topic.
func checkTopic(c *checks, topic, at string) {
	if !absoluteCanonical(topic) {
		c.errorf(CodeValue, at, "got %q, expected the absolute canonical URL of a topic, such as http://example.org/SubscriptionTopic/admission", topic)
	}
}

func readFilter(c *checks, o *Object, at string) Filter {
	f := Filter{
		ResourceType: typeName(o.Text("resourceType")),
		Parameter:    o.Text("filterParameter"),
		Comparator:   o.Text("comparator"),
		Modifier:     o.Text("modifier"),
		Value:        o.Text("value"),
		Expression:   at,
	}
	if f.Comparator != "" && f.Modifier != "" {
		c.errorf(CodeInvariant, at+".comparator", "a filter has a comparator or a modifier, not both: got comparator %q and modifier %q (scr-1)", f.Comparator, f.Modifier)
	}
	return f
}

// readChannel reads the Coding of a channel.
func readChannel(c *checks, o *Object, at string) string {
	if o == nil {
		return ""
	}
	switch system := o.Text("system"); system {
	case "", channelSystem, channelSystemR4:
	default:
		c.errorf(CodeNotSupported, at+".system", "got %q, expected %s or none", system, channelSystem)
	}
	code := o.Text("code")
	checkChannel(c, code, at+".code")
	return code
}

func checkChannel(c *checks, channel, at string) {
	if channel != "websocket" {
		c.errorf(CodeNotSupported, at, `got %q, this server supports only the channel "websocket"`, channel)
	}
}

// checkEndpoint warns of an endpoint that does not fit a websocket. No endpoint is
// ever used: clients connect to the operation's websocket-url (LC-6).
func checkEndpoint(c *checks, endpoint, at string) {
	if endpoint == "" {
		return
	}
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		switch u.Scheme {
		case "ws", "wss", "http", "https":
			return
		}
	}
	c.warnf(CodeValue, at, "got %q, which is ignored: a websocket subscription needs no endpoint; if it has one, use a ws or wss URL", endpoint)
}

// checkContentType accepts the JSON media types with this release's version.
func (r Release) checkContentType(c *checks, contentType, at string) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		c.errorf(CodeNotSupported, at, "got %q, expected application/fhir+json", contentType)
		return
	}
	switch media {
	case "application/fhir+json", "application/json", "json":
	default:
		c.errorf(CodeNotSupported, at, "got %q, this server writes only application/fhir+json", contentType)
	}
	version, full := params["fhirversion"], r.Version() // ParseMediaType lower-cases the names
	if version != "" && version != full && version != full[:strings.LastIndexByte(full, '.')] {
		c.errorf(CodeNotSupported, at, "got fhirVersion %q, this base serves FHIR %s", version, full)
	}
}

// WithStatus returns a copy of a Subscription with a status set by the server. why
// is the error to show with it if the release has an element for that; "" removes
// an old one.
func (r Release) WithStatus(o *Object, status, why string) *Object {
	return r.codec().withStatus(o.Clone(), status, why)
}

// TopicOf returns the topic that a resource of the release defines, in the form
// that [Release.ReadTopic] reads, or false if it defines none.
func (r Release) TopicOf(o *Object) (*Object, bool) { return r.codec().topicOf(o) }

func isSubscriptionTopic(o *Object) (*Object, bool) {
	return o, o.Text("resourceType") == "SubscriptionTopic"
}

// ReadTopic reads a SubscriptionTopic that passed [Release.Validate], or one that
// [Release.TopicOf] made of extensions, whose form it checks itself. Types are
// reduced to their names and must be types of the release; "Resource" and
// "DomainResource" mean any (1.3.1). The Topic is complete even if there are
// issues.
//
// A topic without resourceTrigger is accepted with a warning: only /mock can fire
// it (TOP-17, TOP-19). So is one whose url no subscription could name.
func (r Release) ReadTopic(o *Object) (*Topic, []Issue) {
	c := &checks{}
	if !r.IsResourceType("SubscriptionTopic") {
		c.issues = formOfTopic(o) // the release's own validation does not look into extensions
	}
	t := &Topic{URL: o.Text("url"), Version: o.Text("version"), Title: o.Text("title"), Status: o.Text("status")}
	if !absoluteCanonical(t.URL) || strings.Contains(t.URL, "|") {
		c.warnf(CodeValue, "SubscriptionTopic.url", "got %q; a subscription can name a topic only by an absolute URL without |", t.URL)
	}
	for i, trigger := range objects(o, "resourceTrigger") {
		at := fmt.Sprintf("SubscriptionTopic.resourceTrigger[%d]", i)
		read := Trigger{
			Resource:     r.readType(c, trigger, at+".resource"),
			Interactions: texts(trigger, "supportedInteraction"),
			FHIRPath:     trigger.Text("fhirPathCriteria"),
			Expression:   at,
		}
		if q := trigger.Object("queryCriteria"); q != nil {
			both, _ := q.Get("requireBoth").(bool)
			read.Query = &QueryCriteria{
				Previous: q.Text("previous"), Current: q.Text("current"),
				ResultForCreate: q.Text("resultForCreate"), ResultForDelete: q.Text("resultForDelete"),
				RequireBoth: both,
			}
		}
		t.Triggers = append(t.Triggers, read)
	}
	for i, trigger := range objects(o, "eventTrigger") {
		typ := r.readType(c, trigger, fmt.Sprintf("SubscriptionTopic.eventTrigger[%d].resource", i))
		event := trigger.Object("event")
		codings := objects(event, "coding")
		for _, coding := range codings {
			t.EventTriggers = append(t.EventTriggers, EventTrigger{Code: coding.Text("code"), System: coding.Text("system"), Resource: typ})
		}
		if len(codings) == 0 {
			t.EventTriggers = append(t.EventTriggers, EventTrigger{Code: event.Text("text"), Resource: typ})
		}
	}
	for i, can := range objects(o, "canFilterBy") {
		at := fmt.Sprintf("SubscriptionTopic.canFilterBy[%d]", i)
		t.CanFilterBy = append(t.CanFilterBy, CanFilterBy{
			Resource:    r.readType(c, can, at+".resource"),
			Parameter:   can.Text("filterParameter"),
			Definition:  can.Text("filterDefinition"),
			Comparators: append(texts(can, "comparator"), comparators(can)...),
			Modifiers:   slices.DeleteFunc(texts(can, "modifier"), isComparator),
			Expression:  at,
		})
	}
	for i, shape := range objects(o, "notificationShape") {
		at := fmt.Sprintf("SubscriptionTopic.notificationShape[%d]", i)
		t.Shapes = append(t.Shapes, Shape{
			Expression: at,
			Resource:   r.readType(c, shape, at+".resource"),
			Include:    texts(shape, "include"),
			RevInclude: texts(shape, "revInclude"),
		})
	}
	if len(t.Triggers) == 0 {
		c.warnf(CodeBusinessRule, "SubscriptionTopic.resourceTrigger", "the topic has no resourceTrigger, so no interaction fires it; only the control API can (TOP-19)")
	}
	return t, c.issues
}

// comparators returns the comparators among the modifiers of a filter, where R4B
// puts them (FLT-22).
func comparators(can *Object) []string {
	var found []string
	for _, code := range texts(can, "modifier") {
		if isComparator(code) && code != "=" {
			found = append(found, code)
		}
	}
	return found
}

func isComparator(code string) bool {
	return slices.Contains([]string{"=", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}, code)
}

// readType reads the member resource of a part of a topic as a type name, or ""
// if it is absent.
func (r Release) readType(c *checks, o *Object, at string) string {
	given := o.Text("resource")
	name := typeName(given)
	switch {
	case name == "", name == "Resource", name == "DomainResource", r.IsResourceType(name):
	default:
		c.errorf(CodeNotSupported, at, "got %q, expected a resource type of FHIR %s such as Encounter or %sEncounter", given, r, structureBase)
	}
	return name
}

// typeName reduces the URL of a base StructureDefinition to the name of its type.
// Any other URL is returned unchanged: a profile named like a type is not that type.
func typeName(uri string) string {
	if name, ok := strings.CutPrefix(uri, structureBase); ok {
		name, _, _ = strings.Cut(name, "|")
		return name
	}
	return uri
}

// absoluteCanonical reports whether s is an absolute URI, with or without |version.
func absoluteCanonical(s string) bool {
	s, _, _ = strings.Cut(s, "|")
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
}

// checks collects the issues of reading a resource. They are about rules, because
// the form was validated before; only malformed strings are about form.
type checks struct{ issues []Issue }

func (c *checks) errorf(code IssueCode, at, format string, args ...any) {
	c.add("error", code, at, fmt.Sprintf(format, args...))
}

func (c *checks) warnf(code IssueCode, at, format string, args ...any) {
	c.add("warning", code, at, fmt.Sprintf(format, args...))
}

func (c *checks) malformedf(code IssueCode, at, format string, args ...any) {
	c.errorf(code, at, format, args...)
	c.issues[len(c.issues)-1].Rule = false
}

func (c *checks) add(severity string, code IssueCode, at, text string) {
	c.issues = append(c.issues, Issue{Severity: severity, Code: code, Diagnostics: text, Expression: []string{at}, Rule: true})
}

// objects returns the items of an array that are objects.
func objects(o *Object, name string) []*Object {
	var list []*Object
	for _, v := range o.Array(name) {
		if member, ok := v.(*Object); ok {
			list = append(list, member)
		}
	}
	return list
}

// texts returns the items of an array that are strings.
func texts(o *Object, name string) []string {
	var list []string
	for _, v := range o.Array(name) {
		if text, ok := v.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// whole returns a number that was validated as an integer, or 0 if it is absent.
func whole(v any) int64 {
	number, _ := v.(json.Number)
	n, err := number.Int64()
	if err != nil {
		return 0
	}
	return n
}
