package listen

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The server's response decides whether the client retries, creates its subscription
// again, or ends.
func TestServer_ErrorsAreGoneRefusedOrNeither(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct{ gone, refused bool }{
		400: {false, true}, 403: {false, true}, 404: {true, true}, 410: {true, true}, 422: {false, true},
		429: {false, false}, 500: {false, false}, 503: {false, false}, 304: {false, false},
	} {
		s := fakeServer(func(*http.Request) (int, string) { return status, "" }).server()
		err := fmt.Errorf("wrapped: %w", s.delete(context.Background(), "abc"))
		if gone(err) != want.gone || refused(err) != want.refused {
			t.Errorf("%d: gone %v, refused %v, want %+v", status, gone(err), refused(err), want)
		}
	}
	s := fakeServer(func(*http.Request) (int, string) { return 204, "" }).server()
	if err := s.delete(context.Background(), "abc"); err != nil || gone(err) || refused(err) {
		t.Errorf("204: got %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "1.5": 0, "0": 0, "2": 2 * time.Second, "86400": longestPause,
		"Thu, 01 Jan 2026 08:00:03 GMT": 3 * time.Second, "Thu, 01 Jan 2026 07:00:00 GMT": 0, "Fri, 02 Jan 2026 08:00:00 GMT": longestPause,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func TestServer_ErrorsSayWhatTheOutcomeSays(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"resourceType":"OperationOutcome","issue":[{"code":"value","diagnostics":"no such topic"}]}`: "POST Subscription returned 422 Unprocessable Entity: no such topic",
		`{"resourceType":"OperationOutcome","issue":[{"diagnostics":"one"},{"code":"two"}]}`:           "POST Subscription returned 422 Unprocessable Entity: one; two",
		`{"resourceType":"OperationOutcome"}`:                                                          "POST Subscription returned 422 Unprocessable Entity",
		`{"resourceType":"Bundle","issue":[{"diagnostics":"one"}]}`:                                    "POST Subscription returned 422 Unprocessable Entity",
		"Unprocessable": "POST Subscription returned 422 Unprocessable Entity",
	} {
		s := fakeServer(func(*http.Request) (int, string) { return 422, body }).server()
		if _, err := s.subscribe(context.Background(), map[string]any{}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", body, err, want)
		}
	}
}

func TestServer_BindingToken(t *testing.T) {
	t.Parallel()
	const (
		token      = `{"name":"token","valueString":"secret"}`
		expiration = `{"name":"expiration","valueDateTime":"2026-11-23T09:00:00.5Z"}`
		url        = `{"name":"websocket-url","valueUrl":"ws://test/ws"}`
		other      = `{"name":"subscription","valueString":"abc"}`
	)
	full := binding{token: "secret", expiration: time.Date(2026, 11, 23, 9, 0, 0, 5e8, time.UTC), url: "ws://test/ws"}
	for _, row := range []struct {
		name, body string
		want       binding
		err        string
	}{
		{"all", `{"parameter":[` + strings.Join([]string{other, url, expiration, token}, ",") + `]}`, full, ""},
		{"no expiration", `{"parameter":[` + token + `,` + url + `]}`, binding{token: "secret", url: "ws://test/ws"}, ""},
		{"an invalid expiration", `{"parameter":[` + token + `,{"name":"expiration","valueDateTime":"soon"},` + url + `]}`, binding{token: "secret", url: "ws://test/ws"}, ""},
		{"the address as a string, as in drafts", `{"parameter":[` + token + `,` + expiration + `,{"name":"websocket-url","valueString":"ws://test/ws"}]}`, full, ""},
		{"no token", `{"parameter":[` + expiration + `,` + url + `]}`, binding{}, "no token or no websocket-url"},
		{"no url", `{"parameter":[` + token + `,` + expiration + `]}`, binding{}, "no token or no websocket-url"},
		{"nothing", `{}`, binding{}, "no token or no websocket-url"},
		{"no JSON", `<html>`, binding{}, "is not JSON"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var asked string
			s := fakeServer(func(r *http.Request) (int, string) { asked = r.Method + " " + r.URL.String(); return 200, row.body }).server()
			got, err := s.bindingToken(context.Background(), "a b/c")
			if want := "POST http://test/fhir/R5/Subscription/a%20b%2Fc/$get-ws-binding-token"; asked != want {
				t.Errorf("asked %s, want %s", asked, want)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Fatalf("got error %v, want %q", err, row.err)
			}
			if diff := cmp.Diff(row.want, got, cmp.AllowUnexported(binding{})); diff != "" {
				t.Errorf("read wrongly (-want +got):\n%s", diff)
			}
		})
	}
}

// A user who names nothing gets a list of what there is.
func TestRun_ExplainsWhatThereIsToListenTo(t *testing.T) {
	t.Parallel()
	s := fakeServer(func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, "/SubscriptionTopic") {
			return 200, `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"SubscriptionTopic","id":"t","url":"http://a"}},{"resource":{"url":"http://b"}}]}`
		}
		return 200, `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Subscription","id":"one","topic":"http://a"}},{"resource":{"id":"two"}}]}`
	}).server()
	err := (&listener{server: s}).explain(context.Background())
	want := "choose what to listen to:\n  --topic URL        one of http://a, http://b\n  --subscription ID  one of one, two"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
