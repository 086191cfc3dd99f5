package fault

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/random"
)

// Rule is a fault at work. It is safe for concurrent use.
type Rule struct {
	Fault  // checked; never modified
	random *random.Source
	gone   atomic.Bool   // removed from its set
	left   chan struct{} // closed then

	mu      sync.Mutex // guards all below; a leaf
	matched int64
	applied int64
}

// Gone reports whether the fault was removed. What it holds is released then, and nothing
// more may be held for it: check this under the lock under which it would be held.
func (r *Rule) Gone() bool { return r.gone.Load() }

// Applies reports whether the fault acts on something, and counts.
func (r *Rule) Applies(to About) bool {
	if r.Gone() || !r.isAbout(&to) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.matched++
	switch {
	case r.matched < valueOf(r.Nth, 1):
		return false
	case r.Times != nil && r.applied >= *r.Times:
		return false
	case r.Probability != nil && r.random.Float64() >= *r.Probability:
		return false
	}
	r.applied++
	return true
}

// Undo takes back that the fault has acted, because it could not.
func (r *Rule) Undo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied--
}

// Counts reports whether a frame is one of those after which a fault on a socket acts.
func (r *Rule) Counts(frame About) bool { return r.isAbout(&frame) }

func (r *Rule) isAbout(a *About) bool {
	is := func(wanted, is string) bool { return wanted == "" || wanted == is }
	return (is(r.Subscription, a.Subscription) || slices.Contains(a.Also, r.Subscription)) && is(r.Socket, a.Socket) && is(r.Dialect, a.Dialect) &&
		is(r.Release, a.Release) && is(r.Method, a.Method) && is(r.Operation, a.Operation) && is(r.Type, a.Type) &&
		r.Number.has(a.First, a.Last) && (r.Path == "" || glob(r.Path, inRoom(a.Path)))
}

// has reports whether one of the numbers from first to last is among n.
func (n *Numbers) has(first, last int64) bool {
	return n == nil || first > 0 && last >= n.From && (n.To == nil || first <= *n.To)
}

// inRoom returns a path without that of its room.
func inRoom(path string) string {
	rest, is := strings.CutPrefix(path, "/rooms/")
	if at := strings.IndexByte(rest, '/'); is && at >= 0 {
		return rest[at:]
	}
	return path
}

// glob reports whether a text matches a pattern, in which a star stands for any characters.
func glob(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	text, begins := strings.CutPrefix(text, first)
	if !star || !begins {
		return begins && text == ""
	}
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		at := strings.Index(text, part)
		if at < 0 {
			return false
		}
		text = text[at+len(part):]
	}
	return strings.HasSuffix(text, last)
}

// Wait returns how long the fault delays something this time.
func (r *Rule) Wait() time.Duration {
	wait := duration(r.By)
	if jitter := duration(r.Jitter); jitter > 0 {
		wait += time.Duration(r.random.Float64() * float64(jitter))
	}
	return wait
}

// Address returns the address of another server.
func (r *Rule) Address() string {
	if r.URL != "" {
		return r.URL
	}
	return defaultURL
}

// CutAfter returns how many bytes of a body are sent before the connection is cut: half of it
// unless the fault says.
func (r *Rule) CutAfter(size int) int { return int(valueOf(r.Bytes, int64(size/2))) }

// Copies returns how often a frame is sent in addition.
func (r *Rule) Copies() int { return int(valueOf(r.Count, defaultCount)) }

// Lasts returns how long a socket stays as the fault makes it; 0 means as long as there is
// the fault.
func (r *Rule) Lasts() time.Duration { return duration(r.For) }

// OpenFor returns how long a socket must be open, or false if that does not matter.
func (r *Rule) OpenFor() (time.Duration, bool) { return duration(r.After), r.After != "" }

// AfterFrames returns how many frames a socket must have sent; 0: that does not matter.
func (r *Rule) AfterFrames() int64 { return valueOf(r.Frames, 0) }

// CloseCode returns the code of the close frame.
func (r *Rule) CloseCode() int { return int(valueOf(r.Code, defaultCloseCode)) }

// CloseReason returns the reason in the close frame.
func (r *Rule) CloseReason() string {
	if r.Reason != "" {
		return r.Reason
	}
	return "fault " + r.Name
}

// Refusal returns the error that a refused message or request gets.
func (r *Rule) Refusal() *fhir.Error {
	text := r.Text
	if text == "" {
		text = "refused by fault " + r.Name
	}
	status := int(valueOf(r.Status, defaultStatus))
	return fhir.Refuse(status, codeOf(status), "%s", text)
}

// RetryIn returns the seconds after which a client may try again, or false if the fault
// does not say.
func (r *Rule) RetryIn() (seconds int64, says bool) {
	return valueOf(r.RetryAfter, 0), r.RetryAfter != nil
}

// codeOf returns the issue code that goes with a status.
func codeOf(status int) fhir.IssueCode {
	switch status {
	case 401:
		return fhir.CodeLogin
	case 403:
		return fhir.CodeForbidden
	case 404:
		return fhir.CodeNotFound
	case 408, 504:
		return fhir.CodeTimeout
	case 409, 412:
		return fhir.CodeConflict
	case 410:
		return fhir.CodeDeleted
	case 429:
		return fhir.CodeThrottled
	case 500:
		return fhir.CodeException
	case 502, 503:
		return fhir.CodeTransient
	}
	return fhir.CodeProcessing
}

// Shift returns by how much the fault shifts the numbers of the frames from here on; 0 if
// its action is another one.
func (r *Rule) Shift() int64 {
	switch r.Action {
	case SkipNumber:
		return 1
	case RepeatNumber:
		return -1
	}
	return 0
}

// The values of with.
const (
	withText      = "text"
	withNoJSON    = "not-json"
	withNoBundle  = "no-bundle"
	withNoStatus  = "no-status"
	withWrongType = "wrong-type"
)

// Change changes a frame and says in words what was done. It returns an error that says why
// if it cannot be done with such a frame.
func (r *Rule) Change(frame *fhir.Tampered) (did string, err error) {
	switch r.Action {
	case SetNumber:
		return "got the number " + asJSON(*r.Value), Renumber(frame, func(int64) int64 { return *r.Value })
	case Truncate:
		data := frame.Bytes()
		if int64(len(data)) <= *r.Bytes {
			return "", errors.New("it has only " + asJSON(len(data)) + " bytes")
		}
		// A text frame has whole characters; the client would refuse the frame itself.
		frame.Replace([]byte(strings.ToValidUTF8(string(data[:*r.Bytes]), "")))
		return "was cut after " + asJSON(*r.Bytes) + " bytes", nil
	case Replace:
		return "was replaced by " + inWords[r.With], r.replace(frame)
	}
	return "", errors.New("it has no action that changes frames")
}

var inWords = map[string]string{
	withText: "a text", withNoJSON: "what is not JSON", withNoBundle: "JSON that is no bundle",
	withNoStatus: "a bundle without status", withWrongType: "a bundle of another type",
}

func (r *Rule) replace(frame *fhir.Tampered) error {
	switch r.With {
	case withText:
		frame.Replace([]byte(r.Text))
	case withNoJSON:
		frame.Replace([]byte(`{"resourceType":"Bundle","type":`))
	case withNoBundle:
		frame.Replace([]byte(`{"resourceType":"Patient","id":"no-bundle"}`))
	case withNoStatus:
		return frame.DropStatus()
	default:
		return frame.SetBundleType("collection")
	}
	return nil
}

// Renumber gives a frame other numbers: of its events, and of the events since the start of
// its subscription. They stay whole numbers that JSON can have exactly.
func Renumber(frame *fhir.Tampered, number func(int64) int64) error {
	return frame.Renumber(func(n int64) int64 { return min(max(number(n), 0), maxNumber) })
}

// Heartbeat returns the heartbeat that comes before a handshake.
func (r *Rule) Heartbeat(handshake []byte) ([]byte, error) {
	beat := fhir.Tamper(handshake)
	if err := beat.AsHeartbeat(r.random.UUID(), r.random.UUID()); err != nil {
		return nil, err
	}
	return beat.Bytes(), nil
}
