package main

// What every request passes, tried with every row of the table of routes.

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/command"
)

// anyPath makes an address of the path of a route. It need not lead anywhere.
var anyPath = strings.NewReplacer(":release", "R5", ":type", "Patient", ":id", "example", ":version", "1", ":name", "x", ":token", "t", ":seq", "1", ":room", "r", "*", "x")

// With --auth-token, who has not signed in gets the page, the sign-in and the health of
// the server, and nothing else at whatever address.
func TestAccess_EveryRouteNeedsTheToken(t *testing.T) {
	t.Parallel()
	secret := "a-secret-of-the-test"
	s := start(t, func(o *command.Serve) { o.AuthToken = &secret })
	var open []string
	tried := 0
	for _, r := range s.server.table {
		paths := []string{anyPath.Replace(r.path)}
		if r.needs.Room {
			paths = append(paths, "/rooms/none"+paths[0])
		}
		for _, path := range paths {
			for _, method := range []string{cmp.Or(r.method, "GET"), "HEAD", "POST", "DELETE", "SMASH"} {
				if a := s.Do(method, path, nil); a.Status != 401 {
					if method == r.method {
						open = append(open, r.path)
					} else if !slices.Contains(open, r.path) {
						t.Errorf("%s %s: got %d, want 401", method, path, a.Status)
					}
				} else if challenge := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Bearer ") {
					t.Errorf("%s %s: the challenge is %q", method, path, challenge)
				}
				tried++
			}
		}
	}
	slices.Sort(open)
	want := []string{"/", "/healthz", "/oauth2/logout", "/oauth2/token", "/readyz", "/resources", "/resources/*", "/timeline", "/timeline/*", "/trigger", "/trigger/*", "/try", "/try/*", "/ui/*", "/why", "/why/*"}
	if open = slices.Compact(open); !slices.Equal(open, want) {
		t.Errorf("without the token one reaches %v, want %v", open, want)
	}
	for _, path := range []string{"/nothing", "/rooms/none/nothing", "/fhir/R5/$nothing"} {
		if a := s.Do("GET", path, nil); a.Status != 401 {
			t.Errorf("%s: got %d, want 401", path, a.Status)
		}
	}
	if a := s.Do("GET", "/mock/state", nil, "Authorization", "Bearer "+secret); a.Status != 200 || tried < 500 {
		t.Errorf("with the token: got %d; %d requests were tried", a.Status, tried)
	}
}

// A foreign page changes nothing, at whatever address: no row of the table of routes, and
// no address that is none.
func TestOrigin_ForeignPagesChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.Must(201, "PUT", "/rooms/r", nil)
	const origin = "http://evil.example"
	tries := 0
	refused := func(method, path string, problems bool) {
		t.Helper()
		tries++
		a := s.Do(method, path, `{"resourceType":"Bundle","type":"batch","entry":[]}`, "Origin", origin, "Content-Type", "")
		if a.Status != http.StatusForbidden || !strings.Contains(string(a.Raw), "--allow-origin "+origin) {
			t.Errorf("%s %s: got %d %s, want 403 that names --allow-origin", method, path, a.Status, a.Raw)
		}
		want := "application/fhir+json"
		if problems {
			want = "application/problem+json"
		}
		if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, want) {
			t.Errorf("%s %s: got %s, want %s", method, path, kind, want)
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: the page may read the refusal", method, path)
		}
	}
	for _, r := range s.server.table {
		paths := []string{anyPath.Replace(r.path)}
		if r.needs.Room && r.path != "/" { // /rooms/r/ is /rooms/r to a write
			paths = append(paths, "/rooms/r"+paths[0])
		}
		for _, path := range paths {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "SMASH"} {
				refused(method, path, r.needs.Problems)
			}
			if r.needs.Acts || r.needs.OwnPages {
				refused("GET", path, r.needs.Problems)
			}
		}
	}
	refused("POST", "/nothing", false)
	refused("DELETE", "/rooms/none/fhir/R5/Patient/x", false) // also where there is no room
	if tries < 400 {
		t.Errorf("only %d requests were tried", tries)
	}
	s.Must(200, "GET", "Patient/example", nil)
	s.Must(200, "GET", "/rooms/r", nil)
	if tokens := s.Must(200, "GET", "/mock/tokens", nil); len(tokens.Body["tokens"].([]any)) > 0 {
		t.Errorf("a foreign page has made tokens: %s", tokens.Raw)
	}
}

// What a GET does besides reading needs an origin that may write.
func TestOrigin_OperationsThatActByGET(t *testing.T) {
	t.Parallel()
	s := start(t)
	var acting []string
	for _, r := range s.server.table {
		if r.needs.Acts && r.method == http.MethodGet {
			acting = append(acting, r.path[strings.LastIndex(r.path, "/"):])
		}
	}
	slices.Sort(acting)
	if want := []string{"/$get-ws-binding-token", "/$resend", "/subscriptions-r4", "/websocket", "/ws"}; !slices.Equal(slices.Compact(acting), want) {
		t.Errorf("got %v, want %v", acting, want)
	}
}

// Every response says how it may be cached, whatever its route, method and status.
func TestCache_EveryResponseSaysHow(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.Must(201, "PUT", "/rooms/r", nil)
	asset := strings.NewReplacer("/ui/*", "/ui/app.js")
	fill := strings.NewReplacer(":release", "R5", ":type", "Patient", "Subscription/:id", "Subscription/admission-full", ":id", "example", ":version", "1",
		":name", "ward", ":token", "t", ":seq", "1", ":room", "r", "*", "x")
	kept, tried := 0, 0
	check := func(method, path string) {
		t.Helper()
		tried++
		a := s.Do(method, path, nil)
		want := "no-store"
		// Only what has a validator may be kept.
		if (method == http.MethodGet || method == http.MethodHead) && a.Status == 200 && a.Header.Get("ETag") != "" {
			want = "no-cache"
			kept++
		}
		if got := a.Header.Values("Cache-Control"); len(got) != 1 || got[0] != want {
			t.Errorf("%s %s: got %d with Cache-Control %q, want %s", method, path, a.Status, got, want)
		}
	}
	for _, r := range s.server.table {
		plain := fill.Replace(asset.Replace(r.path))
		paths := []string{plain, plain + "/nothing", plain + "?x=y"}
		if r.needs.Room {
			paths = append(paths, "/rooms/r"+plain, "/rooms/none"+plain)
		}
		for _, path := range paths {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "SMASH"} {
				if method == "GET" && strings.HasSuffix(path, "/stream") || strings.TrimSuffix(path, "/") == "/rooms/r" && method == "DELETE" {
					continue // the first does not end; the second is tried last
				}
				check(method, path)
			}
		}
	}
	check("DELETE", "/rooms/r")
	for _, path := range []string{"/", "/nothing", "/fhir/R9/Patient/example", "/fhir/R5/Patient/x", "/fhir/R5/Nothing/x"} {
		check("GET", path)
	}
	if kept < 20 || tried < 1000 {
		t.Errorf("%d responses of %d may be kept, want 20 of 1000", kept, tried)
	}
}

// A read may be kept, and is asked for again.
func TestCache_ReadsAreRevalidated(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.clock.Advance(time.Hour) // the room began before the patient
	s.Must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p"}`)
	for _, path := range []string{"Patient/p", "Patient/p/_history/1"} {
		a := s.Must(200, "GET", path, nil, "Origin", "http://localhost:3000")
		if got := a.Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: got Cache-Control %q, want no-cache", path, got)
		}
		// What a browser asks with.
		again := []string{"If-None-Match", a.Header.Get("ETag"), "If-Modified-Since", a.Header.Get("Last-Modified"), "Origin", "http://localhost:3000"}
		b := s.Must(304, "GET", path, nil, again...)
		for _, name := range []string{"Cache-Control", "ETag", "Last-Modified"} {
			if b.Header.Get(name) != a.Header.Get(name) || b.Header.Get(name) == "" {
				t.Errorf("%s: the 304 has %s %q, want %q", path, name, b.Header.Get(name), a.Header.Get(name))
			}
		}
		if vary := strings.Join(b.Header.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
			t.Errorf("%s: Vary is %q, want Origin and Accept in it", path, vary)
		}
		s.Must(304, "GET", path, nil, "If-None-Match", a.Header.Get("ETag"))
	}
	s.Must(200, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p","active":true}`)
	a := s.Must(200, "GET", "Patient/p", nil, "If-None-Match", `W/"1"`)
	if a.Body["active"] != true {
		t.Errorf("got %s, want the new version", a.Raw)
	}
}
