package testkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects entries of the journal. The zero Filter selects all.
type Filter struct {
	Kinds        []string // sent, not-sent, bound …; all by default
	Subscription string
	Socket       string
	Text         string // that the entry contains, frames and bodies included
	Since        uint64 // only entries after the one with this number
	Limit        int    // only this many, the newest
	Bodies       bool   // with frames, headers and bodies
}

func (f Filter) query() string {
	q := url.Values{}
	for name, value := range map[string]string{"kind": strings.Join(f.Kinds, ","), "subscription": f.Subscription, "socket": f.Socket, "text": f.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Since > 0 {
		q.Set("since", strconv.FormatUint(f.Since, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	if f.Bodies {
		q.Set("bodies", "true")
	}
	return "journal?" + q.Encode()
}

// Entry is an entry of the journal. Which fields are set depends on the kind;
// docs/mock.md lists the kinds.
type Entry struct {
	Seq          uint64    `json:"seq"`
	Time         time.Time `json:"time"`
	Kind         string    `json:"kind"`
	Subscription string    `json:"subscription"`
	Socket       string    `json:"socket"`
	Topic        string    `json:"topic"`    // canonical URL
	Resource     string    `json:"resource"` // "Encounter/1"
	Release      string    `json:"release"`  // of Resource
	Version      string    `json:"version"`  // of Resource after a change
	Interaction  string    `json:"interaction"`
	Type         string    `json:"type"` // of a notification, or of a token's change
	Dialect      string    `json:"dialect"`
	Token        string    `json:"token"` // fingerprint
	Code         int       `json:"code"`  // of a close
	First        int64     `json:"first"` // numbers of the events it carries
	Last         int64     `json:"last"`
	Text         string    `json:"text"`
	Size         int       `json:"size"`    // bytes of Frame, or of both bodies
	Dropped      bool      `json:"dropped"` // Frame, or headers and bodies, are no longer kept
	Frame        string    `json:"frame"`
	HTTP         *Exchange `json:"http"`
}

// Exchange is a request and its response.
type Exchange struct {
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Status          int               `json:"status"`
	Took            float64           `json:"took"` // milliseconds
	RequestHeaders  map[string]string `json:"requestHeaders"`
	RequestBody     string            `json:"requestBody"`
	ResponseHeaders map[string]string `json:"responseHeaders"`
	ResponseBody    string            `json:"responseBody"`
	Truncated       bool              `json:"truncated"` // a body was longer than what is kept
}

// String returns the entry as a line, without frame and bodies.
func (e Entry) String() string {
	line := fmt.Sprintf("%4d %s %-9s", e.Seq, e.Time.Format("15:04:05.000"), e.Kind)
	add := func(format string, value any, there bool) {
		if there {
			line += " " + fmt.Sprintf(format, value)
		}
	}
	if x := e.HTTP; x != nil {
		line += fmt.Sprintf(" %s %s %d", x.Method, x.Path, x.Status)
	}
	add("Subscription/%s", e.Subscription, e.Subscription != "")
	add("%s", e.Socket, e.Socket != "")
	add("%s", e.Interaction, e.Interaction != "")
	add("%s", e.Resource, e.Resource != "")
	add("version %s", e.Version, e.Version != "")
	add("%s", e.Topic, e.Topic != "")
	add("%s", e.Type, e.Type != "")
	add("%s", e.Dialect, e.Dialect != "")
	add("token %s", e.Token, e.Token != "")
	add("code %d", e.Code, e.Code != 0)
	add("event %d", e.First, e.First != 0)
	add("to %d", e.Last, e.Last > e.First)
	add("(%s)", e.Text, e.Text != "")
	return line
}

// Journal returns what happened, oldest first.
func (s *Server) Journal(f Filter) []Entry {
	s.t.Helper()
	var out struct{ Entries []Entry }
	s.control(http.MethodGet, f.query(), nil, &out)
	return out.Entries
}

// journalTail returns the end of the journal for people. It fails no test.
func (s *Server) journalTail() string {
	const most = 150
	if s.life.stopped {
		return s.life.tail
	}
	status, body, err := s.send(http.MethodGet, s.URL+"/mock/"+Filter{Limit: most}.query(), "", nil)
	if err != nil || status != http.StatusOK {
		return fmt.Sprintf("no journal: %d %s %v", status, body, err)
	}
	var out struct{ Entries []Entry }
	if err := json.Unmarshal(body, &out); err != nil {
		return fmt.Sprintf("no journal: %v in %s", err, body)
	}
	entries := out.Entries
	if len(entries) > 0 && entries[0].Seq == 1 {
		// The journal begins with the seed, which is not what the test did.
		if i := slices.IndexFunc(entries, func(e Entry) bool { return e.Kind == "reset" }); i >= 0 {
			entries = entries[i+1:]
		}
	}
	var lines strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&lines, e)
	}
	return lines.String()
}
