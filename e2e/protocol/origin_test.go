package protocol

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

func TestCORS_LetsLoopbackPagesRead(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	a := s.Must(200, "GET", "Subscription/abc", nil, "Origin", "http://localhost:3000")
	if a.Header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("got %v", a.Header)
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil, "Origin", "https://evil.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a foreign page may read")
	}
	preflight := s.Do("OPTIONS", "Subscription/abc", nil, "Origin", "http://localhost:3000", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type,prefer")
	if preflight.Status != 204 || !strings.Contains(preflight.Header.Get("Access-Control-Allow-Headers"), "prefer") {
		t.Errorf("preflight: got %d %v", preflight.Status, preflight.Header)
	}
}

// A page of another site gets at no control route and opens no socket, whatever it
// is called.
func TestOrigin_ForeignPagesAreRefused(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	foreign := []string{"https://evil.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example:8080", "null"}
	refused := func(origin, method, path string, a response) {
		t.Helper()
		if a.Status != http.StatusForbidden || !strings.Contains(string(a.Raw), "--allow-origin "+origin) {
			t.Errorf("%s %s from %s: got %d %s, want 403 that names --allow-origin", method, path, origin, a.Status, a.Raw)
		}
	}
	for _, route := range []string{
		"POST trigger", "POST await", "POST reset",
		"GET generators", "POST generators", "PATCH generators/g", "DELETE generators/g",
		"POST generators/g/start", "POST generators/g/stop", "POST generators/g/step",
		"GET sockets", "GET subscriptions", "GET tokens", "DELETE tokens/t", "GET resources",
		"GET explain", "POST explain", "GET state", "GET journal", "GET journal/1",
		"GET journal/stream?limit=1", // with a wrong parameter: if it is let in, it ends
		"GET nothing",
	} {
		method, path, _ := strings.Cut(route, " ")
		for _, origin := range foreign {
			refused(origin, method, path, s.Do(method, "/mock/"+path, nil, "Origin", origin))
		}
	}
	for _, path := range socketPaths {
		for _, origin := range foreign {
			refused(origin, "GET", path, s.Do("GET", path, nil, "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version", "13", "Origin", origin))
		}
	}
	s.Must(200, "GET", "Subscription/abc", nil) // there was no reset
	if opened := s.Journal("?kind=opened"); len(opened) > 0 {
		t.Errorf("sockets were opened: %v", opened)
	}
}

// Pages of this machine, of the server itself and of --allow-origin are let in.
func TestOrigin_OtherPagesAreLetIn(t *testing.T) {
	t.Parallel()
	s := start(t, "--allow-origin", "https://app.example", "--allow-host", "dev.example")
	for _, origin := range []string{"", s.URL, "http://localhost:3000", "http://app.localhost:3000", "http://127.0.0.1:1", "http://[::1]:3000", "https://app.example"} {
		s.Must(204, "POST", "/mock/reset", nil, "Origin", origin)
		for _, path := range socketPaths {
			ctx, cancel := context.WithTimeout(context.Background(), wiretest.Patience)
			conn, _, err := websocket.Dial(ctx, s.socketsAt(path).WS, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
			cancel()
			if err != nil {
				t.Errorf("%s from %q: %v", path, origin, err)
				continue
			}
			conn.CloseNow()
		}
	}
	s.Must(204, "POST", "/mock/reset", nil, "Host", "dev.example:8080", "Origin", "http://dev.example:8080")
	s.Must(403, "POST", "/mock/reset", nil, "Host", "dev.example:8080", "Origin", "http://dev.example:8081")
}

// What a proxy says of the address is believed if it is one.
func TestForwarded_OnlyWhatIsAHost(t *testing.T) {
	t.Parallel()
	s := startProcess(t)
	address := func(headers ...string) string {
		return fmt.Sprint(s.Must(200, "GET", "/mock/state", nil, headers...).Body["url"])
	}
	for _, host := range []string{"fhir.example.org", "fhir.example.org:8443", "10.0.0.1", "[::1]:80", "xn--fhir-xyz.example"} {
		if got := address("X-Forwarded-Host", host+", inner.example"); got != "http://"+host {
			t.Errorf("%q: got %s", host, got)
		}
	}
	for _, host := range []string{"a b", "a/b", "a?b", "user@a", `a"b`, "a:port", "<a>", "[::1", "http://a", "a:", " , a"} {
		if got := address("X-Forwarded-Host", host); got != s.URL {
			t.Errorf("%q: got %s, want %s", host, got, s.URL)
		}
	}
	for scheme, want := range map[string]string{"https": "https://", "HTTPS": "https://", "http": "http://", "javascript:": "http://", "a b": "http://"} {
		if got := address("X-Forwarded-Proto", scheme); !strings.HasPrefix(got, want+"127.0.0.1:") {
			t.Errorf("%q: got %s, want %s", scheme, got, want)
		}
	}
}
