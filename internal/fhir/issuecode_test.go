package fhir_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// docs/protocol.md lists the issue codes as the code has them, and the code has each of
// its constants in the list.
func TestIssueCodes_AreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## Issue codes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	codes := fhir.IssueCodes()
	for code, says := range codes {
		if row := "| `" + string(code) + "` | " + says + " |\n"; !strings.Contains(section, row) {
			t.Errorf("docs/protocol.md has no row %s", row)
		}
	}
	if rows := strings.Count(section, "\n| `"); rows != len(codes) {
		t.Errorf("docs/protocol.md has %d rows for %d codes", rows, len(codes))
	}
	file, err := parser.ParseFile(token.NewFileSet(), "issuecode.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, is := n.(*ast.ValueSpec); is {
			constants++
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if _, listed := codes[fhir.IssueCode(value)]; err != nil || !listed {
				t.Errorf("IssueCodes does not list %s", spec.Names[0].Name)
			}
		}
		return true
	})
	if constants != len(codes) {
		t.Errorf("there are %d constants for %d codes", constants, len(codes))
	}
}
