package seed_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/seed"
	"signalfhir/internal/synth"
)

func TestRead_TakesEveryMember(t *testing.T) {
	t.Parallel()
	s, err := seed.Read([]byte(`{
		"description": "a room",
		"random": 18446744073709551610,
		"resources": [{"resourceType": "Patient", "id": "a"}, {"resourceType": "Encounter", "id": "a", "status": "planned"}],
		"generators": [
			{"name": "x", "scenario": "tasks", "rate": "2/s", "patients": 3, "seed": 9, "running": true},
			{"name": "y", "scenario": "lab-results"}
		]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if s.Description != "a room" || len(s.Resources[fhir.R5]) != 2 || s.Resources[fhir.R5][1].Text("resourceType") != "Encounter" {
		t.Errorf("got %+v", s)
	}
	want := []synth.Spec{
		{Name: "x", Scenario: "tasks", Rate: "2/s", Patients: 3, Seed: 9, Running: true},
		{Name: "y", Scenario: "lab-results", Seed: 18446744073709551612}, // random and its position
	}
	if diff := cmp.Diff(want, s.Generators); diff != "" {
		t.Errorf("generators (-want +got):\n%s", diff)
	}
}

func TestRead_TakesAnEmptyObject(t *testing.T) {
	t.Parallel()
	if s, err := seed.Read([]byte(`{}`)); err != nil || len(s.Resources[fhir.R5])+len(s.Generators) > 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestRead_RefusesWithThePath(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, file, path, text string }{
		{"not JSON", `{`, "", "line 1"},
		{"a member twice", `{"random":1,"random":2}`, "", "duplicate member"},
		{"unknown member", `{"topics":[]}`, "topics", "expected description, random, resources, R4B, R4, generators"},
		{"description", `{"description":1}`, "description", "expected a string, got the number 1"},
		{"random", `{"random":-1}`, "random", "of at least 0, got the number -1"},
		{"resources", `{"resources":{}}`, "resources", "expected an array, got an object"},
		{"resource", `{"resources":["x"]}`, "resources[0]", `expected a resource, got "x"`},
		{"no type", `{"resources":[{"id":"a"}]}`, "resources[0].resourceType", "got nothing"},
		{"unknown type", `{"resources":[{"resourceType":"Patients","id":"a"}]}`, "resources[0].resourceType", `got "Patients"`},
		{"no id", `{"resources":[{"resourceType":"Patient"}]}`, "resources[0].id", "needs an id"},
		{"bad id", `{"resources":[{"resourceType":"Patient","id":"a b"}]}`, "resources[0].id", `got "a b"`},
		{"id twice", `{"resources":[{"resourceType":"Patient","id":"a"},{"resourceType":"Patient","id":"a"}]}`, "resources[1].id", "duplicate resource Patient/a, already in resources[0]"},
		{"generator", `{"generators":[[]]}`, "generators[0]", "expected an object, got an array"},
		{"generator member", `{"generators":[{"name":"a","scenario":"tasks","speed":1}]}`, "generators[0].speed", "unknown member"},
		{"scenario", `{"generators":[{"name":"a","scenario":"birth"}]}`, "generators[0].scenario", "admission-to-discharge"},
		{"rate", `{"generators":[{"name":"a","scenario":"tasks","rate":"fast"}]}`, "generators[0].rate", `"10/min"`},
		{"patients", `{"generators":[{"name":"a","scenario":"tasks","patients":1.5}]}`, "generators[0].patients", "whole number"},
		{"running", `{"generators":[{"name":"a","scenario":"tasks","running":"yes"}]}`, "generators[0].running", "true or false"},
		{"name twice", `{"generators":[{"name":"a","scenario":"tasks"},{"name":"a","scenario":"tasks"}]}`, "generators[1].name", "already used by generators[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := seed.Read([]byte(tt.file))
			if err == nil {
				t.Fatalf("accepts it: %+v", s)
			}
			if fhir.AsError(err).Status != 400 || len(fhir.AsError(err).Issues) != 1 {
				t.Errorf("got %d with %d issues: %v", fhir.AsError(err).Status, len(fhir.AsError(err).Issues), err)
			}
			if got := strings.Join(fhir.AsError(err).Issues[0].Expression, ""); got != tt.path {
				t.Errorf("path is %q, want %q", got, tt.path)
			}
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("text is %q, want it to contain %q", err, tt.text)
			}
		})
	}
}

func TestRead_ReportsEveryMistakeAtOnce(t *testing.T) {
	t.Parallel()
	_, err := seed.Read([]byte(`{"seeds":1,"resources":[{}],"generators":[{"name":"-","scenario":"x","rate":"1/d"}]}`))
	if err == nil || len(fhir.AsError(err).Issues) != 5 {
		t.Fatalf("got %v, want five issues", err)
	}
	_, err = seed.Read([]byte(`{"resources":[` + strings.Repeat(`{},`, 500) + `{}]}`))
	if err == nil || len(fhir.AsError(err).Issues) != seed.MaxIssues {
		t.Fatalf("got %v, want %d issues", err, seed.MaxIssues)
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{
		`{}`,
		`{"description":"d","random":1,"resources":[{"resourceType":"Patient","id":"a"}],"generators":[{"name":"a","scenario":"tasks","rate":"1/s","patients":1,"seed":1,"running":true}]}`,
		`{"generators":[{"rate":"1e-300/s"}],"resources":[null,1,[]]}`,
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := seed.Read(data)
		if err != nil {
			if s != nil || fhir.AsError(err).Status != 400 || len(fhir.AsError(err).Issues) == 0 || len(fhir.AsError(err).Issues) > seed.MaxIssues {
				t.Fatalf("both a seed %+v and an error %v", s, err)
			}
			return
		}
		for _, spec := range s.Generators {
			if err := spec.Check(); err != nil {
				t.Fatalf("accepts a generator that cannot run: %v", err)
			}
		}
		for _, o := range s.Resources[fhir.R5] {
			if o.Text("resourceType") == "" || o.Text("id") == "" {
				t.Fatalf("accepts %s", o.AppendJSON(nil))
			}
		}
	})
}
