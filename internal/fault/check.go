package fault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
)

// Limits of faults.
const (
	MaxFaults    = 100
	maxText      = 64 << 10 // bytes of a text that is sent
	maxShort     = 200      // bytes of an id, a path or the like
	maxReason    = 123      // bytes of a reason: a control frame has no room for more
	maxTime      = 30 * 24 * time.Hour
	maxNumber    = 1<<53 - 1
	maxCopies    = 100
	maxFrameSize = 1 << 30
	maxRetry     = 24 * 60 * 60 // seconds
)

// place is where faults act: what they can be narrowed by there, and what they can do.
type place struct {
	on      string
	narrow  []string
	types   []string // values of type
	actions []action
}

// action is what a fault can do, and the members it takes for that. Those with an
// exclamation mark it needs.
type action struct {
	name  string
	takes []string
	only  string // it acts on this type only
}

var (
	frameTypes   = []string{"handshake", "heartbeat", "event-notification", "outcome", "pong", "custom"}
	messageTypes = []string{"bind", "unbind", "ping", "unknown"}
)

// TokenOperation is the operation on which faults act.
const TokenOperation = "get-ws-binding-token"

const event = string(fhir.EventNotification)

// places is the table of what is possible.
var places = []place{
	{OnFrame, []string{"subscription", "socket", "dialect", "release", "type", "number"}, frameTypes, []action{
		{Drop, nil, ""},
		{Delay, []string{"by!", "jitter", "overtake"}, ""},
		{Duplicate, []string{"count"}, ""},
		{Swap, nil, ""},
		{SkipNumber, nil, ""},
		{RepeatNumber, nil, ""},
		{SetNumber, []string{"value!"}, ""},
		{Truncate, []string{"bytes!"}, ""},
		{Replace, []string{"with!", "text"}, ""},
		{HeartbeatFirst, nil, string(fhir.Handshake)},
		{NoHandshake, nil, string(fhir.Handshake)},
		{NoHeartbeat, nil, string(fhir.Heartbeat)},
	}},
	{OnMessage, []string{"socket", "dialect", "type"}, messageTypes, []action{
		{Ignore, nil, ""},
		{Delay, []string{"by!", "jitter"}, ""},
		{Refuse, []string{"text"}, ""},
	}},
	{OnSocket, []string{"subscription", "socket", "dialect", "release", "type", "path", "frames", "after"}, frameTypes, []action{
		{Refuse, []string{"status", "retryAfter", "text"}, ""},
		{Close, []string{"code", "reason"}, ""},
		{Cut, nil, ""},
		{HalfOpen, []string{"for"}, ""},
		{Stall, []string{"for"}, ""},
	}},
	{OnOperation, []string{"operation", "subscription", "release", "method"}, nil, []action{
		{Status, []string{"status", "retryAfter", "text"}, ""},
		{Delay, []string{"by!", "jitter"}, ""},
		{RefusedToken, nil, ""},
		{ExpiredToken, nil, ""},
		{NoExpiration, nil, ""},
		{TextExpiration, nil, ""},
		{OtherURL, []string{"url"}, ""},
		{OldNames, nil, ""},
	}},
	{OnRequest, []string{"subscription", "release", "method", "path"}, nil, []action{
		{Status, []string{"status", "retryAfter", "text"}, ""},
		{Delay, []string{"by!", "jitter"}, ""},
		{Cut, []string{"bytes"}, ""},
		{WrongType, []string{"contentType!"}, ""},
		{Empty, nil, ""},
	}},
}

// always are the members that every fault may have.
var always = []string{"name", "on", "action", "nth", "times", "probability"}

// numbering are the actions on the numbers of a frame. Unless they name another type they
// are about event notifications: a client sees a gap only between those.
var numbering = []string{SkipNumber, RepeatNumber, SetNumber}

// replacements are the values of with.
var replacements = []string{withText, withNoJSON, withNoBundle, withNoStatus, withWrongType}

var releases = []string{string(fhir.R5), string(fhir.R4B), string(fhir.R4)}

// Places returns where faults can act.
func Places() []string { return names(places, func(p place) string { return p.on }) }

// Actions returns every action, each once.
func Actions() (all []string) {
	for _, p := range places {
		for _, a := range p.actions {
			if !slices.Contains(all, a.name) {
				all = append(all, a.name)
			}
		}
	}
	return all
}

func names[T any](list []T, name func(T) string) (all []string) {
	for _, one := range list {
		all = append(all, name(one))
	}
	return all
}

// members lists the members of a fault that are set, in the order of the struct.
func (f *Fault) members() (set []string) {
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			set = append(set, name)
		}
	}
	return set
}

// checking collects what is wrong with a fault.
type checking struct {
	at     string // where the fault is, "faults[0]."; "" for the body itself
	issues []fhir.Issue
}

func (c *checking) wrong(code fhir.IssueCode, member, format string, args ...any) {
	c.issues = append(c.issues, fhir.Issue{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...), Expression: []string{c.at + member}})
}

func (c *checking) oneOf(member, got string, of []string) bool {
	if slices.Contains(of, got) {
		return true
	}
	code := fhir.CodeCodeInvalid
	if got == "" {
		code = fhir.CodeRequired
	}
	c.wrong(code, member, "got %q, expected one of %s", shorten(got), strings.Join(of, ", "))
	return false
}

func (c *checking) whole(member string, n *int64, least, most int64) {
	if n != nil && (*n < least || *n > most) {
		c.wrong(fhir.CodeValue, member, "got %d, expected a whole number from %d to %d", *n, least, most)
	}
}

func (c *checking) text(member, text string, longest int) {
	if len(text) > longest {
		c.wrong(fhir.CodeTooLong, member, "got %d bytes, expected at most %d", len(text), longest)
	}
}

// time checks a time, which is "" if there is none.
func (c *checking) time(member, text string, least time.Duration) {
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > maxTime {
		c.wrong(fhir.CodeValue, member, "got %q, expected a time such as 250ms or 5s, from %s to %dh", shorten(text), least, int(maxTime.Hours()))
	}
}

var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,159}$`)

// check returns what is wrong with a fault, and fills in what its action implies.
func (f *Fault) check(at string) []fhir.Issue {
	c := &checking{at: at}
	if f.Name != "" && !named.MatchString(f.Name) {
		c.wrong(fhir.CodeValue, "name", "got %q, expected 1 to 160 letters, digits, dots, hyphens, underscores or colons, a letter or digit first", shorten(f.Name))
	}
	if !c.oneOf("on", f.On, Places()) {
		return c.issues
	}
	p := places[slices.IndexFunc(places, func(p place) bool { return p.on == f.On })]
	i := slices.IndexFunc(p.actions, func(a action) bool { return a.name == f.Action })
	if i < 0 {
		c.wrong(fhir.CodeCodeInvalid, "action", "got %q, expected what is possible on %s: %s", shorten(f.Action), f.On, strings.Join(names(p.actions, func(a action) string { return a.name }), ", "))
		return c.issues
	}
	c.combination(f, p, p.actions[i])
	c.narrowing(f, p)
	c.parameters(f)
	if len(c.issues) > 0 {
		return c.issues
	}
	f.imply(p.actions[i])
	return nil
}

// combination checks that the members fit the place and the action.
func (c *checking) combination(f *Fault, p place, a action) {
	set := f.members()
	var takes []string
	for _, member := range a.takes {
		member, needed := strings.CutSuffix(member, "!")
		takes = append(takes, member)
		if needed && !slices.Contains(set, member) {
			c.wrong(fhir.CodeRequired, member, "the action %s needs it", a.name)
		}
	}
	for _, member := range set {
		if slices.Contains(always, member) || slices.Contains(p.narrow, member) || slices.Contains(takes, member) {
			continue
		}
		can := "nothing"
		if len(takes) > 0 {
			can = strings.Join(takes, ", ")
		}
		c.wrong(fhir.CodeNotSupported, member, "a fault on %[1]s with the action %[2]s has no such member: the action takes %[3]s, and a fault on %[1]s is narrowed by %[4]s, nth, times and probability", f.On, a.name, can, strings.Join(p.narrow, ", "))
	}
	if a.only != "" && f.Type != "" && f.Type != a.only {
		c.wrong(fhir.CodeInvariant, "type", "got %q, but the action %s acts on a %s only", f.Type, a.name, a.only)
	}
	if f.On != OnSocket {
		return
	}
	if f.Frames != nil && f.After != "" {
		c.wrong(fhir.CodeInvariant, "after", "a socket misbehaves after some frames or after some time; name one of frames and after")
	}
	if f.Action == Refuse && (f.Frames != nil || f.After != "") {
		c.wrong(fhir.CodeInvariant, "action", "the upgrade is refused before there is a frame; to end a socket later, use close or cut")
	}
	for _, member := range []string{"subscription", "dialect", "release", "type"} {
		if f.Frames == nil && slices.Contains(set, member) {
			c.wrong(fhir.CodeInvariant, member, "it says which frames are counted, so frames is needed: a socket has no %s when it opens", member)
		}
	}
}

// narrowing checks what the fault is about.
func (c *checking) narrowing(f *Fault, p place) {
	c.text("subscription", f.Subscription, maxShort)
	c.text("socket", f.Socket, maxShort)
	c.text("path", f.Path, maxShort)
	if f.Dialect != "" {
		c.oneOf("dialect", f.Dialect, []string{dialect.IG, dialect.IGColon, dialect.Medplum, dialect.Legacy, dialect.URL})
	}
	if f.Release != "" {
		c.oneOf("release", f.Release, releases)
	}
	if f.Operation != "" {
		c.oneOf("operation", f.Operation, []string{TokenOperation})
	}
	if f.Method != "" {
		c.oneOf("method", f.Method, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
	}
	if f.Type != "" && len(p.types) > 0 {
		c.oneOf("type", f.Type, p.types)
	}
	if f.Path != "" && !strings.HasPrefix(f.Path, "/") && !strings.HasPrefix(f.Path, "*") {
		c.wrong(fhir.CodeValue, "path", "got %q, expected a path in the room such as /ws or /fhir/R5/*, where a star stands for any characters", shorten(f.Path))
	}
	if n := f.Number; n != nil {
		c.whole("number.from", &n.From, 0, maxNumber)
		c.whole("number.to", n.To, 1, maxNumber)
		if n.To != nil && *n.To > 0 && *n.To < n.From {
			c.wrong(fhir.CodeInvariant, "number", "from is %d and to is %d; expected from not above to", n.From, *n.To)
		}
		if f.Type != "" && f.Type != event {
			c.wrong(fhir.CodeInvariant, "number", "a %s carries no events; leave out type, or use %s", f.Type, event)
		}
	}
	c.whole("nth", f.Nth, 1, maxNumber)
	c.whole("times", f.Times, 1, maxNumber)
	if q := f.Probability; q != nil && !(*q > 0 && *q <= 1) {
		c.wrong(fhir.CodeValue, "probability", "got %s, expected a number above 0 and at most 1", asJSON(*q))
	}
	c.whole("frames", f.Frames, 1, maxNumber)
	c.time("after", f.After, 0)
}

// parameters checks what the action takes.
func (c *checking) parameters(f *Fault) {
	c.time("by", f.By, time.Millisecond)
	c.time("jitter", f.Jitter, 0)
	c.time("for", f.For, time.Millisecond)
	c.whole("count", f.Count, 1, maxCopies)
	c.whole("value", f.Value, 0, maxNumber)
	c.whole("bytes", f.Bytes, 1, maxFrameSize)
	c.whole("status", f.Status, 400, 599)
	c.whole("retryAfter", f.RetryAfter, 0, maxRetry)
	c.text("text", f.Text, maxText)
	c.text("reason", f.Reason, maxReason)
	if f.With != "" {
		c.oneOf("with", f.With, replacements)
	}
	if f.Action == Replace && (f.With == withText) != (f.Text != "") {
		c.wrong(fhir.CodeInvariant, "text", `it is what is sent instead with "with": %q, and only then`, withText)
	}
	if f.Code != nil && !MayClose(int(*f.Code)) {
		c.wrong(fhir.CodeValue, "code", "got %d, expected a code that a close frame may have: 1000 to 1003, 1007 to 1014, or 3000 to 4999", *f.Code)
	}
	if u, err := url.Parse(f.URL); f.URL != "" && (err != nil || u.Scheme != "ws" && u.Scheme != "wss" || len(f.URL) > maxShort) {
		c.wrong(fhir.CodeValue, "url", "got %q, expected an address of a socket such as ws://127.0.0.1:9/ws", shorten(f.URL))
	}
	c.text("contentType", f.ContentType, maxShort)
	if strings.ContainsFunc(f.ContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.wrong(fhir.CodeValue, "contentType", "got %q, expected a media type such as text/html", shorten(f.ContentType))
	}
}

// MayClose reports whether a close frame may have a code (RFC 6455, 7.4). 1005, 1006 and
// 1015 only stand for what happened to a connection; 1004 and 1016 to 2999 are reserved.
func MayClose(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// imply fills in what an action implies.
func (f *Fault) imply(a action) {
	switch {
	case a.only != "":
		f.Type = a.only
	case slices.Contains(numbering, a.name) && f.Type == "":
		f.Type = event
	}
}

func shorten(text string) string {
	const most = 60
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func asJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "none"
	}
	return string(data)
}

// checkAll checks a list of faults. With in, it is the value of that member.
func checkAll(faults []Fault, in string) error {
	var issues []fhir.Issue
	for i := range faults {
		at := ""
		if in != "" {
			at = fmt.Sprintf("%s[%d].", in, i)
		}
		issues = append(issues, faults[i].check(at)...)
	}
	if len(issues) > maxIssues {
		issues = issues[:maxIssues]
	}
	if len(issues) > 0 {
		return &fhir.Error{Status: http.StatusBadRequest, Issues: issues}
	}
	return nil
}

// maxIssues bounds the mistakes that one refusal reports.
const maxIssues = 20
