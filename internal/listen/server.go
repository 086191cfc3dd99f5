package listen

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// server sends the HTTP requests of the flow.
type server struct {
	base   string
	client *http.Client
	token  string // bearer token sent with every request; "": none
}

// statusError is a response with a status other than success.
type statusError struct {
	status int
	text   string
	after  time.Duration // that the server wants the client to wait (Retry-After); 0: it does not say
}

func (e *statusError) Error() string { return e.text }

// gone reports whether the resource does not exist, or no longer exists.
func gone(err error) bool {
	var e *statusError
	return errors.As(err, &e) && (e.status == http.StatusNotFound || e.status == http.StatusGone)
}

// unreachable wraps the error of a connection. One that no further attempt can mend becomes
// a [statusError], which ends the run.
func unreachable(what string, err error) error {
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return &statusError{status: http.StatusBadRequest, text: fmt.Sprintf("%s: %v; --tls-ca FILE trusts the certificates of a file, and -k any", what, err)}
	case errors.Is(err, http.ErrSchemeMismatch):
		return &statusError{status: http.StatusBadRequest, text: what + ": the server speaks http; give --server an address with http"}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// longestPause bounds what a client lets a server make it wait.
const longestPause = 5 * time.Minute

// retryAfter reads the header Retry-After: seconds, or a time. It returns 0 if there is none.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestPause)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), longestPause)
}

// wait returns how long the server wants the client to wait; 0: it does not say.
func wait(err error) time.Duration {
	var e *statusError
	if errors.As(err, &e) {
		return e.after
	}
	return 0
}

// refused reports whether the server refused and would refuse again.
func refused(err error) bool {
	var e *statusError
	return errors.As(err, &e) && e.status >= 400 && e.status < 500 && e.status != http.StatusTooManyRequests
}

// call sends a request and reads a resource into out, which may be nil.
func (s *server) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+"/"+path, body)
	if err != nil {
		return err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	req.Header.Set("Accept", "application/fhir+json")
	if in != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	res, err := s.client.Do(req)
	if err != nil {
		return unreachable("no response from the server", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("the response to %s %s broke off: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		text := fmt.Sprintf("%s %s returned %s%s", method, path, res.Status, outcomeText(data))
		switch {
		case res.StatusCode == http.StatusUnauthorized:
			text += "; listen sends the token of --auth-token or SIGNALFHIR_AUTH_TOKEN"
		case res.StatusCode == http.StatusBadRequest && bytes.Contains(data, []byte("HTTP request to an HTTPS server")):
			text += "; the server speaks https: give --server an address with https"
		}
		return &statusError{res.StatusCode, text, retryAfter(res.Header.Get("Retry-After"), time.Now())}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the response to %s %s is not JSON: %w", method, path, err)
	}
	return nil
}

// outcomeText returns the text of an OperationOutcome, to be appended to a status.
func outcomeText(data []byte) string {
	var outcome outcome
	if json.Unmarshal(data, &outcome) != nil || outcome.ResourceType != "OperationOutcome" || len(outcome.Issue) == 0 {
		return ""
	}
	return ": " + outcome.text()
}

type outcome struct {
	ResourceType string `json:"resourceType"`
	Issue        []struct {
		Code        string `json:"code"`
		Diagnostics string `json:"diagnostics"`
	} `json:"issue"`
}

func (o outcome) text() string {
	var texts []string
	for _, issue := range o.Issue {
		texts = append(texts, cmp.Or(issue.Diagnostics, issue.Code))
	}
	return strings.Join(texts, "; ")
}

// subscribe creates a subscription and returns its id.
func (s *server) subscribe(ctx context.Context, resource any) (string, error) {
	var created struct {
		ID string `json:"id"`
	}
	if err := s.call(ctx, http.MethodPost, "Subscription", resource, &created); err != nil {
		return "", err
	}
	return created.ID, nil
}

// binding is the result of $get-ws-binding-token.
type binding struct {
	token      string
	expiration time.Time
	url        string
}

// bindingToken gets a token for a subscription.
func (s *server) bindingToken(ctx context.Context, id string) (binding, error) {
	var out struct {
		Parameter []struct {
			Name          string `json:"name"`
			ValueString   string `json:"valueString"`
			ValueDateTime string `json:"valueDateTime"`
			ValueURL      string `json:"valueUrl"`
		} `json:"parameter"`
	}
	if err := s.call(ctx, http.MethodPost, "Subscription/"+url.PathEscape(id)+"/$get-ws-binding-token", nil, &out); err != nil {
		return binding{}, err
	}
	var b binding
	for _, p := range out.Parameter {
		switch p.Name {
		case "token":
			b.token = p.ValueString
		case "expiration":
			b.expiration, _ = time.Parse(time.RFC3339, p.ValueDateTime)
		case "websocket-url":
			b.url = cmp.Or(p.ValueURL, p.ValueString) // a string in drafts
		}
	}
	if b.token == "" || b.url == "" {
		return binding{}, errors.New("$get-ws-binding-token returned no token or no websocket-url")
	}
	return b, nil
}

// upgrade returns the headers with which a socket is opened, and a note if that is not what
// the user expects. The token goes to no other host than the user named, and not in the
// clear where the user asked for TLS.
func (s *server) upgrade(address string) (header http.Header, note string) {
	if s.token == "" {
		return nil, ""
	}
	base, _ := url.Parse(s.base) // checked before
	if at, err := url.Parse(address); err != nil || at.Host != base.Host || base.Scheme == "https" && at.Scheme != "wss" {
		return nil, fmt.Sprintf("the server names %s for its socket, which is not at %s, so the token is not sent there", address, s.base)
	}
	return http.Header{"Authorization": {"Bearer " + s.token}}, ""
}

// heartbeat returns how often a subscription sends heartbeats; 0: never.
func (s *server) heartbeat(ctx context.Context, id string) (time.Duration, error) {
	var sub struct {
		Period  int `json:"heartbeatPeriod"` // seconds
		Channel struct {
			Extension []struct {
				URL   string `json:"url"`
				Value int    `json:"valueUnsignedInt"`
			} `json:"extension"`
		} `json:"channel"` // R4 and R4B
	}
	if err := s.call(ctx, http.MethodGet, "Subscription/"+url.PathEscape(id), nil, &sub); err != nil {
		return 0, err
	}
	for _, e := range sub.Channel.Extension {
		if strings.HasSuffix(e.URL, "/backport-heartbeat-period") {
			sub.Period = e.Value
		}
	}
	return time.Duration(sub.Period) * time.Second, nil
}

// events fetches past events, as the bundle that $events returns.
func (s *server) events(ctx context.Context, id string, missed span) (json.RawMessage, error) {
	var raw json.RawMessage
	query := url.Values{"eventsSinceNumber": {strconv.FormatInt(missed.from, 10)}}
	if missed.to != open {
		query.Set("eventsUntilNumber", strconv.FormatInt(missed.to, 10))
	}
	err := s.call(ctx, http.MethodGet, "Subscription/"+url.PathEscape(id)+"/$events?"+query.Encode(), nil, &raw)
	return raw, err
}

// delete removes a subscription.
func (s *server) delete(ctx context.Context, id string) error {
	return s.call(ctx, http.MethodDelete, "Subscription/"+url.PathEscape(id), nil, nil)
}

// offer returns the topics and subscriptions to listen to, for a user who named neither.
func (s *server) offer(ctx context.Context) (topics, subscriptions []string, err error) {
	var bundle struct {
		Entry []struct {
			Resource struct {
				ResourceType, ID, URL, Topic string
			} `json:"resource"`
		} `json:"entry"`
	}
	if err := s.call(ctx, http.MethodGet, "SubscriptionTopic", nil, &bundle); err != nil {
		return nil, nil, err
	}
	for _, e := range bundle.Entry {
		topics = append(topics, e.Resource.URL)
	}
	bundle.Entry = nil
	if err := s.call(ctx, http.MethodGet, "Subscription", nil, &bundle); err != nil {
		return nil, nil, err
	}
	for _, e := range bundle.Entry {
		subscriptions = append(subscriptions, e.Resource.ID)
	}
	return topics, subscriptions, nil
}
