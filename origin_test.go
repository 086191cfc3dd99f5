package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A foreign page changes nothing, at whatever address: no row of the table of routes, and
// no address that is none.
func TestOrigin_ForeignPagesChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.must(201, "PUT", "/rooms/r", nil)
	fill := strings.NewReplacer(":release", "R5", ":type", "Patient", ":id", "example", ":version", "1", ":name", "x", ":token", "t", ":seq", "1", ":room", "r", "*", "x")
	const origin = "http://evil.example"
	tries := 0
	refused := func(method, path string, problems bool) {
		t.Helper()
		tries++
		a := s.do(method, path, `{"resourceType":"Bundle","type":"batch","entry":[]}`, "Origin", origin, "Content-Type", "")
		if a.status != http.StatusForbidden || !strings.Contains(string(a.raw), "--allow-origin "+origin) {
			t.Errorf("%s %s: got %d %s, want 403 that names --allow-origin", method, path, a.status, a.raw)
		}
		want := "application/fhir+json"
		if problems {
			want = "application/problem+json"
		}
		if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, want) {
			t.Errorf("%s %s: got %s, want %s", method, path, kind, want)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: the page may read the refusal", method, path)
		}
	}
	for _, r := range s.server.table {
		paths := []string{fill.Replace(r.path)}
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
	s.must(200, "GET", "Patient/example", nil)
	s.must(200, "GET", "/rooms/r", nil)
	if tokens := s.must(200, "GET", "/mock/tokens", nil); len(tokens.body["tokens"].([]any)) > 0 {
		t.Errorf("a foreign page has made tokens: %s", tokens.raw)
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
