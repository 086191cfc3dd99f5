package listen

import (
	"bytes"
	"cmp"
	"context"
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
	header http.Header // of every request
}

// statusError is a response with a status other than success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// gone reports whether the resource does not exist, or no longer exists.
func gone(err error) bool {
	var e *statusError
	return errors.As(err, &e) && (e.status == http.StatusNotFound || e.status == http.StatusGone)
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
	req.Header = s.header.Clone()
	req.Header.Set("Accept", "application/fhir+json")
	if in != nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	res, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("no response from the server: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("the response to %s %s broke off: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		return &statusError{res.StatusCode, fmt.Sprintf("%s %s returned %s%s", method, path, res.Status, outcomeText(data))}
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
			b.url = p.ValueURL
		}
	}
	if b.token == "" || b.url == "" {
		return binding{}, errors.New("$get-ws-binding-token returned no token or no websocket-url")
	}
	return b, nil
}

// events fetches past events, as the bundle that $events returns.
func (s *server) events(ctx context.Context, id string, missed span) (json.RawMessage, error) {
	var raw json.RawMessage
	query := url.Values{"eventsSinceNumber": {strconv.FormatInt(missed.from, 10)}, "eventsUntilNumber": {strconv.FormatInt(missed.to, 10)}}
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
