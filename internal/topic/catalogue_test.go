package topic_test

import (
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/topic"
)

func versioned(t testing.TB, url, version, trigger string) *topic.Topic {
	t.Helper()
	compiled, issues := topic.Compile(r5, &fhir.Topic{URL: url, Version: version, Status: "active", Triggers: []fhir.Trigger{{Resource: trigger}}})
	if len(issues) > 0 {
		t.Fatal(issues)
	}
	return compiled
}

// TOP-21: the version in the canonical, or else the latest, or else the last stored.
func TestCatalogue_Resolve(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stored string // versions in order, "-" for none
		canonical    string
		want         string // key, which is the place in stored
	}{
		{"numbers, not text", "1.9.0 1.10.0 1.2.0", "http://t", "1"},
		{"in any order", "2.0.0 1.0.0", "http://t", "0"},
		{"a pre-release is earlier", "1.0.0 1.0.0-beta.1", "http://t", "0"},
		{"pre-releases by their numbers", "1.0.0-beta.10 1.0.0-beta.9", "http://t", "0"},
		{"one more part is later", "1.0.1 1.0", "http://t", "0"},
		{"any version before none", "1.0.0 -", "http://t", "0"},
		{"equal versions: the last stored", "1.0.0 1.0.0", "http://t", "1"},
		{"without versions the last stored", "- -", "http://t", "1"},
		{"dates", "2025-12-01 2026-01-01", "http://t", "1"},
		{"the version asked for", "1.0.0 2.0.0", "http://t|1.0.0", "0"},
		{"a missing version", "1.0.0", "http://t|3.0.0", ""},
		{"part of a version", "1.0.0", "http://t|1.0", ""},
		{"another url", "1.0.0", "http://u", ""},
		{"a longer url", "1.0.0", "http://t/x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := topic.NewCatalogue()
			for i, version := range strings.Fields(tt.stored) {
				if version == "-" {
					version = ""
				}
				c.Put(string(rune('0'+i)), versioned(t, "http://t", version, "Encounter"))
			}
			got, ok := c.Resolve(tt.canonical)
			if ok != (tt.want != "") || ok && got.Key() != tt.want {
				t.Errorf("got %v %v, want %q", got, ok, tt.want)
			}
		})
	}
}

func TestCatalogue_PutAndRemove(t *testing.T) {
	t.Parallel()
	c := topic.NewCatalogue()
	c.Put("a", versioned(t, "http://t", "1", "Encounter"))
	c.Put("b", versioned(t, "http://t", "2", "Patient"))
	c.Put("any", versioned(t, "http://u", "", "Resource"))
	keys := func(typ string) string {
		var all []string
		for _, t := range c.ForType(typ) {
			all = append(all, t.Key())
		}
		return strings.Join(all, " ")
	}
	if got := keys("Encounter") + "; " + keys("Patient") + "; " + keys("Task"); got != "a any; b any; any" {
		t.Errorf("by type: %s", got)
	}
	if id, ok := c.DefinedBy("http://t", "2"); !ok || id != "b" {
		t.Errorf("Holder of version 2: got %s %v, want b", id, ok)
	}
	if _, ok := c.DefinedBy("http://t", ""); ok {
		t.Error("got a resource for http://t without a version")
	}
	if got := c.URLs(); !slices.Equal(got, []string{"http://t", "http://u"}) {
		t.Errorf("URLs: %v", got)
	}
	c.Put("a", versioned(t, "http://t", "1", "Task")) // replaced, so it was stored last
	if got := keys("Encounter") + "; " + keys("Task"); got != "any; any a" {
		t.Errorf("by type after a change: %s", got)
	}
	c.Remove("b")
	c.Remove("b")
	if got, ok := c.Resolve("http://t"); !ok || got.Key() != "a" || keys("Patient") != "any" {
		t.Errorf("after Remove: %v; %s", got, keys("Patient"))
	}
	if _, ok := c.ByKey("b"); ok {
		t.Error("b is still there")
	}
	c.Clear()
	if len(c.URLs()) != 0 || keys("Task") != "" {
		t.Error("Clear leaves topics")
	}
}
