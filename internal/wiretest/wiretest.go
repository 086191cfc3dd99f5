// Package wiretest speaks to a server as its clients do, for tests: it sends requests,
// binds sockets and reads frames. A test with it reads as a transcript of the protocol,
// whether the server runs in the process of the test or in one of its own.
//
// Tests write resources in the words of R5 and read frames in them. [Server.On] chooses
// another release; then the package translates.
//
// It is imported by tests only.
package wiretest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/fhir"
)

// Patience is how long a test waits for what must come. Only a failure takes that long.
const Patience = 30 * time.Second

// Server is a server, or a room of one, as a test speaks to it. The methods fail the test
// if there is no response, so they must be called from its goroutine.
type Server struct {
	T       testing.TB
	URL     string       // of the room, without a slash at the end
	FHIR    string       // base of the release
	WS      string       // address of the sockets
	Release fhir.Release // "": R5
}

// New returns the server whose root, or the root of a room, is at an address.
func New(t testing.TB, url string) *Server {
	return &Server{T: t, URL: url, FHIR: url + "/fhir/R5", WS: "ws" + strings.TrimPrefix(url, "http") + "/ws"}
}

// On returns the same server, spoken to in another release.
func (s *Server) On(r fhir.Release) *Server {
	other := *s
	other.Release = r
	other.FHIR = s.URL + "/fhir/" + string(r)
	return &other
}

// In returns the same server for a subtest.
func (s *Server) In(t testing.TB) *Server {
	other := *s
	other.T = t
	return &other
}

// Path returns the path of the room, "/rooms/a"; of the default room, "".
func (s *Server) Path() string {
	s.T.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		s.T.Fatal(err)
	}
	return u.Path
}

// transport uses no proxy and follows no redirect. It keeps more connections than the
// default one, since many tests speak to one process.
var transport = &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}

// Response is the response to one request.
type Response struct {
	Status int
	Header http.Header
	Raw    []byte
	Body   map[string]any // Raw, if that is a JSON object
}

// Do sends a request. A path that begins with a slash is below the room, another one below
// the FHIR base. body may be nil, a string, bytes or a value to encode; headers are pairs,
// of which an empty value removes the header.
func (s *Server) Do(method, path string, body any, headers ...string) Response {
	s.T.Helper()
	a, err := s.send(method, path, body, headers...)
	if err != nil {
		s.T.Fatal(err)
	}
	return a
}

// Begin sends a request as Do does, while the test goes on. The response comes from the
// channel; it is the zero Response if there is none.
func (s *Server) Begin(method, path string, body any, headers ...string) <-chan Response {
	came := make(chan Response, 1)
	go func() {
		a, err := s.send(method, path, body, headers...)
		if err != nil {
			s.T.Error(err)
		}
		came <- a
	}()
	return came
}

func (s *Server) send(method, path string, body any, headers ...string) (a Response, err error) {
	if resource, ok := body.(map[string]any); ok {
		path, body = InRelease(s.Release, path, resource)
	}
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return a, err
		}
		reader = bytes.NewReader(data)
	}
	if strings.HasPrefix(path, "/") {
		path = s.URL + path
	} else if !strings.HasPrefix(path, "http") {
		path = s.FHIR + "/" + path
	}
	req, err := http.NewRequest(method, path, reader)
	if err != nil {
		return a, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a = Response{Status: res.StatusCode, Header: res.Header}
	if a.Status == http.StatusSwitchingProtocols {
		return a, nil // a socket, which has no end
	}
	if a.Raw, err = io.ReadAll(res.Body); err != nil {
		return a, err
	}
	_ = json.Unmarshal(a.Raw, &a.Body)
	return a, nil
}

// Must sends a request and fails the test unless the response has the status.
func (s *Server) Must(status int, method, path string, body any, headers ...string) Response {
	s.T.Helper()
	a := s.Do(method, path, body, headers...)
	if a.Status != status {
		s.T.Fatalf("%s %s: got %d, want %d\n%s", method, path, a.Status, status, a.Raw)
	}
	return a
}

// Issue returns the first issue of an OperationOutcome.
func (a Response) Issue() (code, diagnostics string, expression []string) {
	issues := AsList(a.Body["issue"])
	if a.Body["resourceType"] != "OperationOutcome" || len(issues) == 0 {
		return "", "", nil
	}
	first := issues[0].(map[string]any)
	for _, e := range AsList(first["expression"]) {
		expression = append(expression, e.(string))
	}
	return first["code"].(string), fmt.Sprint(first["diagnostics"]), expression
}

// Token returns a new binding token for the subscriptions.
func (s *Server) Token(ids ...string) string {
	s.T.Helper()
	path := "Subscription/$get-ws-binding-token?id=" + strings.Join(ids, "&id=")
	a := s.Must(200, "POST", path, nil)
	tokens := a.Parameters("token")
	if len(tokens) != 1 {
		s.T.Fatalf("got %s, want one token", a.Raw)
	}
	return tokens[0]
}

// Parameters returns the values of the parameters with a name, of a response that is a
// Parameters resource.
func (a Response) Parameters(name string) []string {
	var values []string
	for _, p := range AsList(a.Body["parameter"]) {
		if At(p, "name") == name {
			values = append(values, fmt.Sprint(valueOf(p.(map[string]any))))
		}
	}
	return values
}

// At returns a value inside of the body, as the function At does.
func (a Response) At(path ...any) any { return At(a.Body, path...) }

// At returns a value inside of another: a string of path names the member of an object, a
// number the element of an array. It returns nil if there is none.
func At(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := v.(map[string]any)
			v = object[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// Text returns the string at a place inside of a value. It panics if there is none, as a
// type assertion does.
func Text(v any, path ...any) string { return At(v, path...).(string) }

// AsList returns a JSON array, and nil if v is none.
func AsList(v any) []any {
	list, _ := v.([]any)
	return list
}

// Compact returns a value as JSON.
func Compact(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

// Entries returns the text of a bundle from its first entry on. The id of the bundle
// itself differs from one response to the next.
func Entries(bundle string) string {
	_, entries, _ := strings.Cut(bundle, `"entry"`)
	return entries
}
