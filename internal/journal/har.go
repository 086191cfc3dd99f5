package journal

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HAR writes entries as an HTTP Archive 1.2, which the network panel of a
// browser can open. Exchanges become entries; every socket becomes one entry with
// its frames, seen from the client. root is the URL of the server without a
// trailing slash.
func HAR(entries []Entry, root, version string) []byte {
	var log harLog
	log.Version = "1.2"
	log.Creator = harCreator{"signalfhir", version}
	log.Entries = []*harEntry{}
	sockets := map[string]*harEntry{}
	for i := range entries {
		e := &entries[i]
		switch e.Kind {
		case HTTP:
			log.Entries = append(log.Entries, exchange(e, root))
		case Opened, Received, Sent, Closed:
			s := sockets[e.Socket]
			if s == nil {
				s = socketEntry(e, root)
				sockets[e.Socket] = s
				log.Entries = append(log.Entries, s)
			}
			s.Time = max(s.Time, milliseconds(e.Time.Sub(s.StartedDateTime)))
			s.Timings.Receive = s.Time // the parts must add up to the whole
			if e.Kind == Closed {
				s.Comment += ", closed with " + strconv.Itoa(e.Code)
			}
			if (e.Kind == Received || e.Kind == Sent) && !e.Shared {
				kind := map[string]string{Received: "send", Sent: "receive"}[e.Kind]
				data := string(e.Frame)
				if data == "" {
					data = e.Text
				}
				s.Messages = append(s.Messages, harMessage{kind, float64(e.Time.UnixMicro()) / 1e6, 1, data})
			}
		}
	}
	data, _ := json.Marshal(struct { // no value in it can fail to encode
		Log *harLog `json:"log"`
	}{&log})
	return data
}

type harLog struct {
	Version string      `json:"version"`
	Creator harCreator  `json:"creator"`
	Entries []*harEntry `json:"entries"`
}

type harCreator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type harEntry struct {
	StartedDateTime time.Time    `json:"startedDateTime"`
	Time            float64      `json:"time"` // milliseconds
	Request         harRequest   `json:"request"`
	Response        harResponse  `json:"response"`
	Cache           struct{}     `json:"cache"`
	Timings         harTimings   `json:"timings"`
	ResourceType    string       `json:"_resourceType,omitempty"`
	Messages        []harMessage `json:"_webSocketMessages,omitempty"`
	Comment         string       `json:"comment,omitempty"`
}

type harRequest struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	HTTPVersion string    `json:"httpVersion"`
	Cookies     []harPair `json:"cookies"`
	Headers     []harPair `json:"headers"`
	QueryString []harPair `json:"queryString"`
	PostData    *harPost  `json:"postData,omitempty"`
	HeadersSize int       `json:"headersSize"`
	BodySize    int       `json:"bodySize"`
}

type harResponse struct {
	Status      int        `json:"status"`
	StatusText  string     `json:"statusText"`
	HTTPVersion string     `json:"httpVersion"`
	Cookies     []harPair  `json:"cookies"`
	Headers     []harPair  `json:"headers"`
	Content     harContent `json:"content"`
	RedirectURL string     `json:"redirectURL"`
	HeadersSize int        `json:"headersSize"`
	BodySize    int        `json:"bodySize"`
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type harPost struct {
	MimeType string `json:"mimeType"`
	Text     string `json:"text"`
}

type harContent struct {
	Size     int    `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
}

type harTimings struct {
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
}

type harMessage struct {
	Type   string  `json:"type"`
	Time   float64 `json:"time"` // seconds since 1970
	Opcode int     `json:"opcode"`
	Data   string  `json:"data"`
}

func exchange(e *Entry, root string) *harEntry {
	x := e.Exchange
	entry := &harEntry{
		StartedDateTime: e.Time,
		Time:            milliseconds(x.Took),
		Request:         request(x.Method, root+x.Path, x.RequestHeaders),
		Response:        response(x.Status, x.ResponseHeaders),
		Timings:         harTimings{Wait: milliseconds(x.Took)},
	}
	entry.Request.BodySize = len(x.RequestBody)
	if len(x.RequestBody) > 0 {
		entry.Request.PostData = &harPost{x.RequestHeaders["Content-Type"], string(x.RequestBody)}
	}
	entry.Response.BodySize = len(x.ResponseBody)
	entry.Response.Content = harContent{len(x.ResponseBody), x.ResponseHeaders["Content-Type"], string(x.ResponseBody)}
	switch {
	case e.Dropped:
		entry.Request.BodySize, entry.Response.BodySize = -1, -1
		entry.Comment = "headers and bodies were dropped to bound memory"
	case x.Truncated:
		entry.Comment = "a body was truncated"
	}
	return entry
}

// socketEntry returns the entry of a socket, starting with the first event known
// of it.
func socketEntry(e *Entry, root string) *harEntry {
	path := "/ws"
	if e.Kind == Opened {
		path, _, _ = strings.Cut(e.Text, " ")
	}
	entry := &harEntry{
		StartedDateTime: e.Time,
		Request:         request(http.MethodGet, "ws"+strings.TrimPrefix(root, "http")+path, nil),
		Response:        response(http.StatusSwitchingProtocols, nil),
		ResourceType:    "websocket",
		Comment:         "socket " + e.Socket,
	}
	return entry
}

func request(method, address string, headers map[string]string) harRequest {
	r := harRequest{Method: method, URL: address, HTTPVersion: "HTTP/1.1", Cookies: []harPair{}, Headers: pairs(headers), QueryString: []harPair{}, HeadersSize: -1}
	if u, err := url.Parse(address); err == nil {
		for name, values := range u.Query() {
			for _, value := range values {
				r.QueryString = append(r.QueryString, harPair{name, value})
			}
		}
		slices.SortStableFunc(r.QueryString, func(a, b harPair) int { return strings.Compare(a.Name, b.Name) })
	}
	return r
}

func response(status int, headers map[string]string) harResponse {
	return harResponse{Status: status, StatusText: http.StatusText(status), HTTPVersion: "HTTP/1.1", Cookies: []harPair{}, Headers: pairs(headers), HeadersSize: -1, BodySize: -1, RedirectURL: headers["Location"]}
}

func pairs(headers map[string]string) []harPair {
	list := []harPair{}
	for name, value := range headers {
		list = append(list, harPair{name, value})
	}
	slices.SortFunc(list, func(a, b harPair) int { return strings.Compare(a.Name, b.Name) })
	return list
}
