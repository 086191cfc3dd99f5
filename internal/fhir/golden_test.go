package fhir_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/golden/name.json. The file is indented for
// people; got must be compact, with its members in the order of the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var compact, indented bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, got)
	}
	if compact.String() != string(got) {
		t.Errorf("not compact: %s", got)
	}
	_ = json.Indent(&indented, got, "", "  ") // valid, as Compact found
	indented.WriteByte('\n')
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

const base = "http://localhost:8080/fhir/R5"

// at returns a time on the morning of the golden files.
func at(clock string) time.Time {
	t, err := time.Parse("15:04:05.999999999", clock)
	if err != nil {
		panic(err)
	}
	return t.AddDate(2026, 0, 0)
}

func parse(t testing.TB, text string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func resource(t testing.TB, text string) *fhir.Resource {
	t.Helper()
	return fhir.NewResource(fhir.R5, parse(t, text))
}

func encounter(t testing.TB, version, status string) *fhir.Resource {
	t.Helper()
	return resource(t, `{"resourceType":"Encounter","id":"2","meta":{"versionId":"`+version+`","lastUpdated":"2026-01-01T10:04:59.900Z"},`+
		`"status":"`+status+`","subject":{"reference":"Patient/ABC","display":"Æsop & <Söhne>"}}`)
}

func patient(t testing.TB) *fhir.Resource {
	t.Helper()
	return resource(t, `{"resourceType":"Patient","id":"ABC","meta":{"versionId":"4","lastUpdated":"2026-01-01T09:00:00.000Z"},"birthDate":"1980-02-29"}`)
}

// entry returns a resource as an event refers to it.
func entry(method string, res *fhir.Resource) *fhir.Entry {
	return &fhir.Entry{Type: res.Type, ID: res.ID, Method: method, Resource: res}
}
