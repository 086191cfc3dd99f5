package protocol

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"signalfhir/internal/fhir"
)

// eachOperation calls f for every operation that openapi.json describes, with a path that
// has a value for each parameter. TestOpenAPI_DescribesTheTableOfRoutes proves that these
// are all the control routes.
func eachOperation(d *description, f func(method, path string, item *openapi3.PathItem, o *openapi3.Operation)) {
	paths := d.doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		operations := paths[path].Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			f(method, strings.NewReplacer("{name}", "x", "{token}", "x", "{seq}", "1").Replace(path), paths[path], operations[method])
		}
	}
}

// A control route without a body refuses one, before it does anything.
func TestControl_RefusesBodiesWhereNoneBelongs(t *testing.T) {
	t.Parallel()
	s := startProcess(t) // has rooms
	s.Admission()
	s.Must(201, "PUT", "/rooms/x", nil)
	s.Must(201, "POST", "/mock/generators", map[string]any{"name": "x", "scenario": "tasks"})
	d := s.described("")
	var checked []string
	eachOperation(d, func(method, path string, _ *openapi3.PathItem, o *openapi3.Operation) {
		if o.RequestBody != nil {
			return
		}
		checked = append(checked, o.OperationID)
		if o.OperationID == "journalStream" {
			path += "?since=x" // refused after the body, so that the test ends if the body is not refused
		}
		for _, body := range []string{`{"dryRun":true}`, `[]`, `null`, `x`, ` {} {} `} {
			a := s.Do(method, path, body)
			want := fmt.Sprintf("the request has a body of %d bytes, but this route takes no body; send none", len(body))
			if a.Status != 400 || a.Header.Get("Content-Type") != "application/problem+json" || a.Body["detail"] != want {
				t.Errorf("%s %s with %s: got %d %s, want 400 and %q", method, path, body, a.Status, a.Raw, want)
			}
		}
	})
	if len(checked) < 15 || !slices.Contains(checked, "deleteRoom") || !slices.Contains(checked, "revokeToken") || !slices.Contains(checked, "stopGenerator") {
		t.Errorf("checked %v, want more: the walk is broken", checked)
	}
	s.Must(200, "GET", "/rooms/x", nil)
	s.Must(200, "POST", "/mock/generators/x/start", " {\n} ") // some clients send {} with every POST
	s.Must(204, "DELETE", "/mock/generators/x", "")
}

// A control route refuses a repeated parameter, unless the parameter is described as an
// array.
func TestControl_RefusesRepeatedParameters(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	var refused, repeatable []string
	eachOperation(s.described(""), func(method, path string, item *openapi3.PathItem, o *openapi3.Operation) {
		for _, p := range slices.Concat(item.Parameters, o.Parameters) {
			if p.Value.In != "query" {
				continue
			}
			name := p.Value.Name
			at := o.OperationID + " " + name
			a := s.Do(method, fmt.Sprintf("%s?%s=1&%[2]s=1", path, name), "x") // the body ends the test if the parameter is not refused
			got := fmt.Sprint(a.Body["detail"])
			want := fmt.Sprintf("%s: duplicate parameter %[1]q; give it once", name)
			if p.Value.Schema.Value.Type.Is("array") {
				repeatable = append(repeatable, at)
				if got == want {
					t.Errorf("%s: got %q, but openapi.json says that it may be repeated", at, got)
				}
				continue
			}
			refused = append(refused, at)
			if a.Status != 400 || got != want {
				t.Errorf("%s: got %d %q, want 400 %q", at, a.Status, got, want)
			}
		}
	})
	if len(refused) < 20 || fmt.Sprint(repeatable) != "[journal kind journalStream kind]" {
		t.Errorf("refused %v and allowed %v, want more: the walk is broken", refused, repeatable)
	}
	both := s.Must(200, "GET", "/mock/journal?kind=change&kind=fired&limit=1000", nil)
	if kinds := string(both.Raw); !strings.Contains(kinds, `"kind":"change"`) {
		t.Errorf("got %s, want changes", kinds)
	}
}

// The bounds of the timeout are those that openapi.json states.
func TestControl_BoundsTheTimeoutOfAwait(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	await := func(status int, timeout string) response {
		return s.Must(status, "POST", "/mock/await", fmt.Sprintf(`{"bound":{"subscription":"abc","count":0},"timeout":%q}`, timeout))
	}
	for _, timeout := range []string{"-5s", "-1ns", "0s", "999us", "5m0.001s", "300h", "2562047h47m16.854775807s", "3000000h"} {
		if got, want := await(400, timeout).Body["detail"], fmt.Sprintf("timeout: got %q, expected a time from 1ms to 5m", timeout); got != want {
			t.Errorf("%s: got %q, want %q", timeout, got, want)
		}
	}
	for _, timeout := range []string{"1ms", "5m", ""} {
		await(http.StatusOK, timeout)
	}
	timeout := s.described("").doc.Components.Schemas["Await"].Value.Properties["timeout"].Value
	if !strings.Contains(timeout.Description, "from 1ms to 5m") {
		t.Errorf("openapi.json says %q, want the bounds", timeout.Description)
	}
}
