package fhirpath_test

import (
	"context"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/internal/fhirpath"
)

var update = flag.Bool("update", false, "write the golden files")

type suite struct {
	Groups []struct {
		Name  string `xml:"name,attr"`
		Tests []struct {
			Name       string `xml:"name,attr"`
			Input      string `xml:"inputfile,attr"`
			Predicate  bool   `xml:"predicate,attr"`
			Expression struct {
				Invalid string `xml:"invalid,attr"`
				Text    string `xml:",chardata"`
			} `xml:"expression"`
			Outputs []string `xml:"output"`
		} `xml:"test"`
	} `xml:"group"`
}

// HL7's own test suite for FHIRPath. testdata lists the tests that fail, so that this test
// fails for every change, also for the better. The suite is for R4; differences of its
// resources in R5 are listed too.
func TestSuite_OfHL7(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(fhirtest.Spec(t, "fhirpath-tests", "tests-fhir-r4.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var all suite
	if err := xml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	inputs := map[string][]byte{"": []byte(`{}`)}
	var failing strings.Builder
	causes := readCauses(t)
	total, failed := 0, 0
	for _, group := range all.Groups {
		for i, test := range group.Tests {
			name := strings.TrimSuffix(test.Input, ".xml")
			if name != "" {
				name = strings.TrimSuffix(name, ".json") + ".json"
			}
			if _, ok := inputs[name]; !ok {
				if inputs[name], err = os.ReadFile(fhirtest.Spec(t, "fhirpath-tests", name)); err != nil {
					t.Fatal(err)
				}
			}
			total++
			if wrong := run(inputs[name], test.Expression.Text, test.Expression.Invalid, test.Predicate, test.Outputs); wrong != "" {
				failed++
				title := fmt.Sprintf("%s/%d %s", group.Name, i, test.Name)
				fmt.Fprintf(&failing, "%s: %s\n", title, wrong)
				causes.account(t, title)
			}
		}
	}
	t.Logf("%d of %d tests pass", total-failed, total)
	causes.checkUsed(t)
	path := filepath.Join("testdata", "suite-failing.txt")
	if *update {
		if err := os.WriteFile(path, []byte(failing.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(failing.String(), "\n")); diff != "" {
		t.Errorf("other tests fail than before (-before +now; -update writes it):\n%s", diff)
	}
}

// cause is why tests fail whose names match.
type cause struct {
	match *regexp.Regexp
	text  string
	tests int
}

type causes []*cause

// readCauses reads lines of regular expressions, which follow a line that begins with # and
// has the cause of the failures.
func readCauses(t *testing.T) causes {
	data, err := os.ReadFile(filepath.Join("testdata", "causes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var all causes
	text := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		comment, isText := strings.CutPrefix(line, "# ")
		switch {
		case line == "":
			text = ""
		case isText:
			text = strings.TrimSpace(text + " " + comment)
		case text == "":
			t.Errorf("causes.txt: %s has no cause", line)
		default:
			all = append(all, &cause{match: regexp.MustCompile("^" + line + "$"), text: text})
		}
	}
	return all
}

// account finds the cause of a failing test; there must be exactly one.
func (all causes) account(t *testing.T, title string) {
	found := 0
	for _, c := range all {
		if c.match.MatchString(title) {
			c.tests++
			found++
		}
	}
	if found != 1 {
		t.Errorf("%s fails and has %d causes in causes.txt, want one", title, found)
	}
}

func (all causes) checkUsed(t *testing.T) {
	for _, c := range all {
		if c.tests == 0 {
			t.Errorf("causes.txt: %s no longer fails", c.match)
		}
		t.Logf("%d: %s", c.tests, c.text)
	}
}

// run returns what is wrong with the result of an expression, or "".
func run(input []byte, text, invalid string, predicate bool, want []string) string {
	expr, err := fhirpath.Compile(strings.TrimSpace(text), fhirpath.Options{})
	var got []string
	if err == nil {
		var values []any
		result, evalErr := expr.Eval(context.Background(), fhir.R5, input, nil)
		if err = evalErr; err == nil {
			values = fhirpath.Values(result)
		}
		for _, v := range values {
			if o, ok := v.(*fhir.Object); ok {
				v = string(o.AppendJSON(nil))
			}
			got = append(got, fmt.Sprint(v))
		}
		if predicate && err == nil && !(len(got) == 1 && (got[0] == "true" || got[0] == "false")) {
			got = []string{fmt.Sprint(len(got) > 0)}
		}
	}
	switch {
	case invalid != "" && err != nil, invalid == "" && err == nil && same(got, want):
		return ""
	case invalid != "":
		return fmt.Sprintf("%q is accepted, which is invalid (%s)", text, invalid)
	case err != nil:
		return err.Error()
	}
	return fmt.Sprintf("%q gives %.80q, want %.80q", text, got, want)
}

func same(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		// The suite writes temporal values as literals.
		if got[i] != strings.TrimPrefix(strings.TrimPrefix(want[i], "@"), "T") && got[i] != want[i] && strings.TrimPrefix(got[i], "T") != strings.TrimPrefix(want[i], "@T") {
			return false
		}
	}
	return true
}
