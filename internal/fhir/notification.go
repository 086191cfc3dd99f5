package fhir

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Occurrence is one thing that happened: the resource it is about, the resources
// the topic's notificationShape adds, and when. All subscriptions it concerns
// share one Occurrence and its encoded entries; only the small status entry in
// front is encoded per subscription.
//
// An Occurrence must not be copied or modified once it is in use. Its methods
// are safe for concurrent use.
type Occurrence struct {
	Timestamp time.Time // when the interaction happened (NB-6)
	Focus     *Entry    // nil if the event names no resource
	Context   []Entry

	holders int32 // see Hold

	mu      sync.Mutex           // guards encoded
	encoded []*encodedOccurrence // one for each release and base it was sent under: usually one
}

// NewOccurrence returns an occurrence at a time. focus may be nil, context empty.
func NewOccurrence(at time.Time, focus *Entry, context []Entry) *Occurrence {
	return &Occurrence{Timestamp: at, Focus: focus, Context: context}
}

// Hold counts one more holder of the occurrence. It reports whether it is the first.
// Unlike other methods, Hold and [Occurrence.Release] must not run concurrently.
func (o *Occurrence) Hold() (first bool) {
	o.holders++
	return o.holders == 1
}

// Release counts one holder less. It reports whether that was the last.
func (o *Occurrence) Release() (last bool) {
	o.holders--
	return o.holders == 0
}

// Size returns about how many bytes the occurrence holds. It does not change.
func (o *Occurrence) Size() int64 {
	n := int64(0)
	add := func(e *Entry) {
		n += entryOverhead
		if e.Resource != nil {
			n += int64(len(e.Resource.JSON))
		}
	}
	if o.Focus != nil {
		add(o.Focus)
	}
	for i := range o.Context {
		add(&o.Context[i])
	}
	return n
}

// EncodedSize returns about how many bytes the occurrence adds to a bundle of a payload
// level, at most.
func (o *Occurrence) EncodedSize(content Content) int64 {
	switch content {
	case FullResource:
		return o.Size()
	case Empty:
		return 128
	}
	return entryOverhead * int64(1+len(o.Context))
}

// entryOverhead is about what an entry of an occurrence costs besides the resource,
// with its parts once they are encoded.
const entryOverhead = 1 << 10

// encodedOccurrence is an occurrence encoded for one release under one base. It
// serves every payload level: the levels differ in which parts are written, not
// in the parts themselves.
type encodedOccurrence struct {
	release Release
	base    string

	references []byte     // focus and additionalContext, each with a leading comma
	fragments  []fragment // the entries besides the status, focus first
	distinct   bool       // no two fragments have the same fullUrl
}

// fragment is a Bundle.entry in three parts, so that the resource's own bytes
// are shared with the store and left out at id-only.
type fragment struct {
	fullURL, version string
	focus            bool
	head             []byte // {"fullUrl":"…"
	resource         []byte // nil if it was deleted or is not known
	tail             []byte // ,"request":{…}}
}

// encodedFor returns the encoded parts for a release and base; the first call
// makes them.
func (o *Occurrence) encodedFor(r Release, base string) *encodedOccurrence {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.encoded {
		if e.release == r && e.base == base {
			return e
		}
	}
	e := &encodedOccurrence{release: r, base: base, distinct: true, fragments: make([]fragment, 0, 1+len(o.Context))}
	add := func(entry *Entry, focus bool) {
		f := r.fragment(base, entry, focus)
		e.distinct = e.distinct && !slices.ContainsFunc(e.fragments, func(other fragment) bool { return other.fullURL == f.fullURL })
		e.fragments = append(e.fragments, f)
	}
	e.references = make([]byte, 0, (1+len(o.Context))*(len(base)+96))
	e.references = r.codec().appendReferences(e.references, base, o.Focus, o.Context)
	if o.Focus != nil {
		add(o.Focus, true)
	}
	for i := range o.Context {
		add(&o.Context[i], false)
	}
	o.encoded = append(o.encoded, e)
	return e
}

// fragment encodes an entry. Every entry has the request that led to it, even
// context at full-resource: an entry without resource needs one (bdl-5,
// NB-R5-3), and one rule for all levels lets them share it. The profile forbids
// response (NB-R5-2).
func (r Release) fragment(base string, e *Entry, focus bool) fragment {
	f := fragment{fullURL: base + "/" + e.Reference(), focus: focus}
	text := make([]byte, 0, 2*len(f.fullURL)+64) // for both parts
	text = appendString(append(text, `{"fullUrl":`...), f.fullURL)
	head := len(text)
	text = appendRequest(append(text, ','), e)
	if r.codec().responses {
		text = appendEntryResponse(text, e)
	}
	text = append(text, '}')
	f.head, f.tail = text[:head:head], text[head:]
	if e.Resource != nil && len(e.Resource.JSON) > 0 && e.Method != http.MethodDelete { // NB-29, NB-30
		f.resource, f.version = e.Resource.JSON, e.Resource.VersionID
	}
	return f
}

// appendRequest appends the member request as a client would have sent it: a POST
// goes to the type, everything else to the resource.
func appendRequest(dst []byte, e *Entry) []byte {
	method, url := e.Method, e.Reference()
	switch method {
	case "":
		method = http.MethodGet
	case http.MethodPost:
		url = e.Type
	case http.MethodPatch: // a notification's request cannot be a PATCH: a patch is a PUT (2.2)
		method = http.MethodPut
	}
	dst = appendString(append(dst, `"request":{"method":`...), method)
	dst = appendString(append(dst, `,"url":`...), url)
	return append(dst, '}')
}

// appendEntryResponse appends the member response that matches a request (NB-R4B-3).
func appendEntryResponse(dst []byte, e *Entry) []byte {
	status := "200"
	switch e.Method {
	case http.MethodPost:
		status = "201"
	case http.MethodDelete:
		status = "204"
	}
	return append(append(append(dst, `,"response":{"status":"`...), status...), `"}`...)
}

// EncodeNotification writes the bundle that a socket receives or $events returns
// (spec.md 2.2 to 2.4). Elements follow the notification's type and payload level:
//
//   - empty carries numbers and times only (NB-7, NB-8) and, in an event
//     notification, no topic;
//   - id-only adds focus, additionalContext and, in R5, an entry without
//     resource for each resource, once per bundle (NB-9, bdl-7);
//   - full-resource has an entry for each version of each resource (NB-10,
//     NB-15), without resource if it was deleted (NB-29).
//
// In R5 a query-event without events is written as query-status: sst-1 allows no
// other response with a single status (OPE-5).
func (r Release) EncodeNotification(n *Notification) []byte { return r.encode(n, "") }

// encode writes a notification. reference is the reference to its subscription;
// "" means the absolute URL (SST-6).
func (r Release) encode(n *Notification, reference string) []byte {
	codec := r.codec()
	// Most notifications carry one event; they need no slice on the heap.
	var one [1]*encodedOccurrence
	events := one[:0]
	size := 512 + 2*len(n.Base) + len(n.Topic)
	for i := range n.Events {
		e := n.Events[i].encodedFor(r, n.Base)
		events = append(events, e)
		size += 96
		if n.Content == Empty {
			continue
		}
		size += len(e.references)
		for f := range e.fragments {
			size += len(e.fragments[f].head) + len(e.fragments[f].tail) + 1
			if n.Content == FullResource {
				size += len(e.fragments[f].resource) + len(`,"resource":`)
			}
		}
	}
	dst := make([]byte, 0, size)
	dst = appendString(append(dst, `{"resourceType":"Bundle","id":`...), n.ID)
	if codec.profile != "" {
		dst = append(append(append(dst, `,"meta":{"profile":["`...), codec.profile...), `"]}`...)
	}
	dst = append(append(append(dst, `,"type":"`...), codec.bundleType...), `","timestamp":`...)
	dst = appendInstant(dst, n.Timestamp)
	dst = append(dst, `,"entry":[`...)
	dst = r.appendStatusEntry(dst, n, reference, events)
	if codec.responses { // NB-R4B-1, NB-R4B-2
		dst = appendURL(append(dst, `,"request":{"method":"GET","url":`...), n.Base, "Subscription", n.Subscription+"/$status")
		dst = append(dst, `},"response":{"status":"200"}`...)
	}
	dst = append(dst, '}')
	if n.Content == FullResource || n.Content == IDOnly && codec.idOnlyEntries {
		dst = appendFragments(dst, n.Content, events)
	}
	return append(dst, "]}"...)
}

// appendStatusEntry appends the entry with the status, without its closing brace:
// a searchset puts its search.mode there. events are the encoded parts of
// n.Events, in the same order.
func (r Release) appendStatusEntry(dst []byte, n *Notification, reference string, events []*encodedOccurrence) []byte {
	kind := n.Type
	if kind == QueryEvent && len(n.Events) == 0 && r.codec().eventsRequired {
		kind = QueryStatus // OPE-5
	}
	dst = append(append(dst, `{"fullUrl":"urn:uuid:`...), n.StatusID...)
	dst = append(dst, `","resource":`...)
	// Not a function of the codec: the events would escape to the heap.
	if r.codec().statusIsParameters {
		return appendStatusParameters(dst, n, kind, reference, events)
	}
	return appendSubscriptionStatus(dst, n, kind, reference, events)
}

// appendSubscriptionStatus appends a SubscriptionStatus, which is the same in R5
// and R4B: numbers are strings in both (SST-3).
func appendSubscriptionStatus(dst []byte, n *Notification, kind NotificationType, reference string, events []*encodedOccurrence) []byte {
	dst = appendString(append(dst, `{"resourceType":"SubscriptionStatus","id":`...), n.StatusID)
	dst = appendString(append(dst, `,"status":`...), n.Status)
	dst = appendString(append(dst, `,"type":`...), string(kind))
	dst = strconv.AppendInt(append(dst, `,"eventsSinceSubscriptionStart":"`...), n.EventsSinceStart, 10)
	dst = append(dst, '"')
	for i := range events {
		if i == 0 {
			dst = append(dst, `,"notificationEvent":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"eventNumber":"`...), n.Events[i].Number, 10)
		dst = appendInstant(append(dst, `","timestamp":`...), n.Events[i].Timestamp)
		if n.Content != Empty {
			dst = append(dst, events[i].references...)
		}
		dst = append(dst, '}')
	}
	if len(events) > 0 {
		dst = append(dst, ']')
	}
	dst = appendSubscription(append(dst, `,"subscription":`...), n, reference)
	if n.includesTopic(kind) {
		dst = appendString(append(dst, `,"topic":`...), n.Topic)
	}
	dst = appendErrors(dst, n.Errors)
	return append(dst, '}')
}

// appendFocusMembers appends focus and additionalContext as members.
func appendFocusMembers(dst []byte, base string, focus *Entry, context []Entry) []byte {
	if focus != nil {
		dst = appendReference(append(dst, `,"focus":`...), base, focus.Type, focus.ID)
	}
	for i := range context {
		if i == 0 {
			dst = append(dst, `,"additionalContext":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendReference(dst, base, context[i].Type, context[i].ID)
	}
	if len(context) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

// includesTopic reports whether the status has the topic (2.1.1): an event
// notification at level empty does not (NB-7).
func (n *Notification) includesTopic(kind NotificationType) bool {
	return n.Topic != "" && (n.Content != Empty || kind != EventNotification)
}

// appendSubscription appends the Reference to the subscription.
func appendSubscription(dst []byte, n *Notification, reference string) []byte {
	if reference != "" {
		return append(appendString(append(dst, `{"reference":`...), reference), '}')
	}
	return appendReference(dst, n.Base, "Subscription", n.Subscription)
}

// appendErrors appends the member error (NB-26), or nothing if there are none.
func appendErrors(dst []byte, errors []SubscriptionError) []byte {
	opened := false
	for _, e := range errors {
		if e.Code == "" && e.Text == "" {
			continue // an object without members is not FHIR
		}
		if opened {
			dst = append(dst, ",{"...)
		} else {
			dst = append(dst, `,"error":[{`...)
			opened = true
		}
		if e.Code != "" {
			dst = append(dst, `"coding":[{"system":"http://terminology.hl7.org/CodeSystem/subscription-error","code":`...)
			dst = append(appendString(dst, e.Code), "}]"...)
			if e.Text != "" {
				dst = append(dst, ',')
			}
		}
		if e.Text != "" {
			dst = appendString(append(dst, `"text":`...), e.Text)
		}
		dst = append(dst, '}')
	}
	if opened {
		dst = append(dst, ']')
	}
	return dst
}

// appendFragments appends the entries after the status, each with a leading
// comma. Duplicates are listed at their first position: once per resource at
// id-only, once per version at full-resource (bdl-7, NB-14, NB-15). Such an entry
// has the request of the last change, because that is the resource's state now.
func appendFragments(dst []byte, content Content, events []*encodedOccurrence) []byte {
	if len(events) == 1 && events[0].distinct {
		for i := range events[0].fragments {
			dst = events[0].fragments[i].append(dst, content)
		}
		return dst
	}
	type key struct{ fullURL, version string }
	at := make(map[key]int)
	var listed []*fragment
	for _, e := range events {
		for i := range e.fragments {
			f := &e.fragments[i]
			k := key{fullURL: f.fullURL}
			if content == FullResource {
				k.version = f.version
			}
			if place, seen := at[k]; !seen {
				at[k] = len(listed)
				listed = append(listed, f)
			} else if f.focus {
				listed[place] = f
			}
		}
	}
	for _, f := range listed {
		dst = f.append(dst, content)
	}
	return dst
}

func (f *fragment) append(dst []byte, content Content) []byte {
	dst = append(append(dst, ','), f.head...)
	if content == FullResource && f.resource != nil {
		dst = append(append(dst, `,"resource":`...), f.resource...)
	}
	return append(dst, f.tail...)
}

// appendReference appends a Reference with an absolute URL: a relative one cannot
// be resolved in an entry whose fullUrl is a urn:uuid (SST-6).
func appendReference(dst []byte, base, typ, id string) []byte {
	dst = appendURL(append(dst, `{"reference":`...), base, typ, id)
	return append(dst, '}')
}

// appendURL appends the URL of a resource as a JSON string. It joins the parts in
// place, because it runs for every subscription of every event.
func appendURL(dst []byte, base, typ, id string) []byte {
	dst = appendString(dst, base)
	dst = append(append(dst[:len(dst)-1], '/'), typ...) // over the closing quote
	dst = append(append(dst, '/'), id...)               // neither a type nor an id needs an escape
	return append(dst, '"')
}

// appendInstant appends an instant in UTC with milliseconds as a JSON string.
func appendInstant(dst []byte, at time.Time) []byte {
	return at.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
}
