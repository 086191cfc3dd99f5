package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// Every response says how it may be cached, whatever its route, method and status.
func TestCache_EveryResponseSaysHow(t *testing.T) {
	t.Parallel()
	s := start(t, withSeed)
	s.must(201, "PUT", "/rooms/r", nil)
	asset := strings.NewReplacer("/ui/*", "/ui/app.js")
	fill := strings.NewReplacer(":release", "R5", ":type", "Patient", "Subscription/:id", "Subscription/admission-full", ":id", "example", ":version", "1",
		":name", "ward", ":token", "t", ":seq", "1", ":room", "r", "*", "x")
	kept, tried := 0, 0
	check := func(method, path string) {
		t.Helper()
		tried++
		a := s.do(method, path, nil)
		want := "no-store"
		// Only what has a validator may be kept.
		if (method == http.MethodGet || method == http.MethodHead) && a.status == 200 && a.header.Get("ETag") != "" {
			want = "no-cache"
			kept++
		}
		if got := a.header.Values("Cache-Control"); len(got) != 1 || got[0] != want {
			t.Errorf("%s %s: got %d with Cache-Control %q, want %s", method, path, a.status, got, want)
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
	s.must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p"}`)
	for _, path := range []string{"Patient/p", "Patient/p/_history/1"} {
		a := s.must(200, "GET", path, nil, "Origin", "http://localhost:3000")
		if got := a.header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: got Cache-Control %q, want no-cache", path, got)
		}
		// What a browser asks with.
		again := []string{"If-None-Match", a.header.Get("ETag"), "If-Modified-Since", a.header.Get("Last-Modified"), "Origin", "http://localhost:3000"}
		b := s.must(304, "GET", path, nil, again...)
		for _, name := range []string{"Cache-Control", "ETag", "Last-Modified"} {
			if b.header.Get(name) != a.header.Get(name) || b.header.Get(name) == "" {
				t.Errorf("%s: the 304 has %s %q, want %q", path, name, b.header.Get(name), a.header.Get(name))
			}
		}
		if vary := strings.Join(b.header.Values("Vary"), ", "); !strings.Contains(vary, "Origin") || !strings.Contains(vary, "Accept") {
			t.Errorf("%s: Vary is %q, want Origin and Accept in it", path, vary)
		}
		s.must(304, "GET", path, nil, "If-None-Match", a.header.Get("ETag"))
	}
	s.must(200, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p","active":true}`)
	a := s.must(200, "GET", "Patient/p", nil, "If-None-Match", `W/"1"`)
	if a.body["active"] != true {
		t.Errorf("got %s, want the new version", a.raw)
	}
}

// A reset makes another version 1. A browser that has the old one gets the new one, even
// if both were written in the same second.
func TestCache_AVersionOfBeforeAResetIsOld(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p"}`)
	old := s.must(200, "GET", "Patient/p", nil)
	s.must(204, "POST", "/mock/reset", nil)
	s.must(201, "PUT", "Patient/p", `{"resourceType":"Patient","id":"p","active":true}`)
	a := s.must(200, "GET", "Patient/p", nil, "If-None-Match", old.header.Get("ETag"), "If-Modified-Since", old.header.Get("Last-Modified"))
	if a.body["active"] != true {
		t.Errorf("got %s, want what was written after the reset", a.raw)
	}
}
