package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A HEAD asks what a GET would get. It opens no socket.
func TestHead_OpensNoSocket(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range socketPaths {
		a := s.do("HEAD", path, nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		if a.status != http.StatusUpgradeRequired {
			t.Errorf("%s: got %d, want 426", path, a.status)
		}
	}
	if opened := s.journal("?kind=opened"); len(opened) > 0 {
		t.Errorf("sockets were opened: %v", opened)
	}
}

// What a proxy says of the address is believed if it is one.
func TestForwarded_OnlyWhatIsAHost(t *testing.T) {
	t.Parallel()
	s := start(t)
	address := func(headers ...string) string {
		return fmt.Sprint(s.must(200, "GET", "/mock/state", nil, headers...).body["url"])
	}
	for _, host := range []string{"fhir.example.org", "fhir.example.org:8443", "10.0.0.1", "[::1]:80", "xn--fhir-xyz.example"} {
		if got := address("X-Forwarded-Host", host+", inner.example"); got != "http://"+host {
			t.Errorf("%q: got %s", host, got)
		}
	}
	for _, host := range []string{"a b", "a/b", "a?b", "user@a", `a"b`, "a:port", "<a>", "[::1", "http://a", "a:", " , a"} {
		if got := address("X-Forwarded-Host", host); got != s.url {
			t.Errorf("%q: got %s, want %s", host, got, s.url)
		}
	}
	for scheme, want := range map[string]string{"https": "https://", "HTTPS": "https://", "http": "http://", "javascript:": "http://", "a b": "http://"} {
		if got := address("X-Forwarded-Proto", scheme); !strings.HasPrefix(got, want+"127.0.0.1:") {
			t.Errorf("%q: got %s, want %s", scheme, got, want)
		}
	}
}

// No events are no trigger.
func TestTrigger_RefusesACountOfZero(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	for _, count := range []string{"0", "-1", "100001"} {
		a := s.do("POST", "/mock/trigger", `{"subscription":"admission-full","count":`+count+`}`)
		if a.status != 400 || !strings.Contains(string(a.raw), "got "+count+", expected 1 to 100000") {
			t.Errorf("%s: got %d %s, want 400", count, a.status, a.raw)
		}
	}
	for body, events := range map[string]int{`{"subscription":"admission-full"}`: 1, `{"subscription":"admission-full","count":2}`: 2} {
		if got := asList(s.must(200, "POST", "/mock/trigger", body).body["events"]); len(got) != events {
			t.Errorf("%s: got %v, want %d events", body, got, events)
		}
	}
}

// A reset reads its body: with seed none the room holds nothing, until the next reset.
func TestReset_ReadsItsBody(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	holds := func(want bool, after string) {
		t.Helper()
		if got := s.must(200, "GET", "/mock/state", nil).body["counts"].(map[string]any)["resources"] != 0.0; got != want {
			t.Errorf("after %s: the room holds something: %v, want %v", after, got, want)
		}
	}
	holds(true, "the start")
	for _, body := range []string{`{"seed":"none"}`, ``, `{"seed":"none"}`, `{}`, `{"seed":"none"}`, `{"seed":null}`} {
		s.must(204, "POST", "/mock/reset", body)
		holds(body != `{"seed":"none"}`, body)
	}
	s.must(204, "POST", "/mock/reset", `{"seed":"none"}`)
	if entries := s.journal("?kind=reset"); !strings.Contains(entries[len(entries)-1].Text, "holds nothing") {
		t.Errorf("the journal says %q", entries[len(entries)-1].Text)
	}
	s.must(201, "PUT", "/rooms/r", `{"seed":"builtin"}`)
	s.must(204, "POST", "/rooms/r/mock/reset", ``)
	s.must(200, "GET", "/rooms/r/fhir/R5/Patient/example", nil)
	for body, says := range map[string]string{
		`garbage`:          "invalid JSON at line 1, column 1",
		`{"seed":"other"}`: `got \"other\", expected \"none\"`,
		`{"seed":{}}`:      "got a JSON object, expected a string",
		`{"sed":"none"}`:   `did you mean \"seed\"?`,
		`{"seed":""}`:      `expected \"none\"`,
	} {
		if a := s.do("POST", "/mock/reset", body); a.status != 400 || !strings.Contains(string(a.raw), says) {
			t.Errorf("%s: got %d %s, want 400 with %s", body, a.status, a.raw, says)
		}
	}
	holds(false, "refused resets")
}
