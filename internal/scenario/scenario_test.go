package scenario_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"signalfhir/internal/scenario"
)

// Every built-in scenario says what it is for.
func TestBuiltin_SaysWhatItTests(t *testing.T) {
	t.Parallel()
	all := scenario.Builtin()
	if len(all) < 13 {
		t.Errorf("got %d scenarios, want at least 13", len(all))
	}
	for _, d := range all {
		if d.Description == "" || d.Tests == "" || d.Good == "" {
			t.Errorf("%s does not say what it does, what it tests and what a good client does", d.Name)
		}
		for _, p := range d.Parameters {
			if p.Description == "" {
				t.Errorf("%s: nobody knows what %s is", d.Name, p.Name)
			}
		}
	}
}

// The table in docs/mock.md has every built-in scenario, with its parameters.
func TestBuiltin_IsDocumented(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/mock.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "### The built-in scenarios")
	table, _, _ = strings.Cut(table, "### Your own")
	for _, d := range scenario.Builtin() {
		row := "| `" + d.Name + "` | " + d.Description + " | " + d.Good + " |"
		_, rest, is := strings.Cut(table, row)
		rest, _, _ = strings.Cut(rest, "\n")
		if !is {
			t.Errorf("there is no row %s", row)
		}
		for _, p := range d.Parameters {
			if p.Name == "subscription" || p.Name == "patience" {
				continue
			}
			if value, _ := json.Marshal(p.Default); !strings.Contains(rest, "`"+p.Name+"` ("+string(value)+")") {
				t.Errorf("%s: the row does not have the parameter %s and its default", d.Name, p.Name)
			}
		}
	}
	if got, want := strings.Count(table, "\n| `"), len(scenario.Builtin()); got != want {
		t.Errorf("the table has %d rows, want %d", got, want)
	}
}
