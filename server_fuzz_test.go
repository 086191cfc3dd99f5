package main

import (
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/command"
	"signalfhir/internal/fhir"
	"signalfhir/internal/wiretest"
)

// Whatever is posted to a base gets a bundle or a refusal in return, and a
// transaction that is refused changes nothing.
func FuzzBundle(f *testing.F) {
	for _, entry := range []string{
		`{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient"}}`,
		`{"request":{"method":"PUT","url":"Patient?active=true"},"resource":{"resourceType":"Patient","active":true}}`,
		`{"request":{"method":"PATCH","url":"Patient/p"},"resource":{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.active"}]}]}}`,
		`{"request":{"method":"PATCH","url":"Patient/p"},"resource":{"resourceType":"Binary","contentType":"application/json-patch+json","data":"W10="}}`,
		`{"request":{"method":"DELETE","url":"Patient/p/_history/1"}}`,
		`{"request":{"method":"GET","url":"Patient/../../x"}}`,
		`{"request":{"method":"GET","url":"//x/Patient/1?_format=xml&_include=*"}}`,
		`{"request":{"method":"POST","url":"Subscription/abc/$status"},"resource":{"resourceType":"Parameters"}}`,
		`{"request":{"method":"HEAD","url":"?x=%zz"}}`,
		`{"request":[],"resource":null}`, `null`, `[]`, `"x"`,
		`{"fullUrl":"urn:uuid:1","request":{"method":"POST","url":"Encounter"},"resource":{"resourceType":"Encounter","status":"planned","subject":{"reference":"Patient?active=true"}}}`,
	} {
		f.Add("transaction", entry)
		f.Add("batch", entry+","+entry)
	}
	o := &command.Serve{Listen: "127.0.0.1:0", Seed: "none", TokenTTL: time.Minute, JournalSize: 10, MaxBodyBytes: 1 << 20, MaxMemory: 1 << 40, MaxResponseBytes: 64 << 20, Clock: clock.NewManual(begin)}
	s, err := newServer(o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		f.Fatal(err)
	}
	defer s.rooms.Default().Close()
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/fhir+json")
		a := httptest.NewRecorder()
		s.echo.ServeHTTP(a, r)
		return a
	}
	f.Fuzz(func(t *testing.T, kind, entries string) {
		if ask("POST", "/mock/reset", "").Code/100 != 2 || ask("PUT", "/fhir/R5/Patient/p", `{"resourceType":"Patient","id":"p","active":true}`).Code != 201 {
			t.Fatal("the server cannot begin")
		}
		before := wiretest.Entries(ask("GET", "/fhir/R5/_history", "").Body.String())
		a := ask("POST", "/fhir/R5", `{"resourceType":"Bundle","type":"`+kind+`","entry":[`+entries+`]}`)
		o, refused := fhir.Parse(a.Body.Bytes())
		switch {
		case a.Code >= 500 || refused != nil:
			t.Fatalf("%s of %s: got %d %s", kind, entries, a.Code, a.Body)
		case a.Code == 200 && o.Text("resourceType") == "Bundle":
		case o.Text("resourceType") != "OperationOutcome":
			t.Fatalf("%s of %s: got %d %s, want why", kind, entries, a.Code, a.Body)
		default:
			if after := wiretest.Entries(ask("GET", "/fhir/R5/_history", "").Body.String()); after != before {
				t.Fatalf("%s of %s was refused, but left %s", kind, entries, after)
			}
		}
		if strings.Contains(a.Body.String(), `"500 `) {
			t.Fatalf("%s of %s: an entry failed: %s", kind, entries, a.Body)
		}
	})
}
