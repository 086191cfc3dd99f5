package fhirpath

import (
	"strconv"
	"strings"

	"github.com/antlr4-go/antlr/v4"
	"github.com/gofhir/fhirpath/parser/grammar"
	"github.com/gofhir/fhirpath/types"
)

// literal is a string literal, unescaped. The library decodes only some escapes, and takes
// the n after an escaped backslash for one.
type literal struct {
	*grammar.StringLiteralContext
	text string
}

// Accept implements antlr.ParseTree.
func (n literal) Accept(antlr.ParseTreeVisitor) any { return types.Collection{types.NewString(n.text)} }

var escapes = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\f`, "\f", `\'`, "'", `\"`, `"`, "\\`", "`", `\/`, "/")

// unescape decodes a string literal, which includes its quotes.
func unescape(quoted string) string {
	var text strings.Builder
	for rest := quoted[1 : len(quoted)-1]; rest != ""; {
		// One pair of backslash and character at a time: \\ does not begin another escape.
		size := 1
		if rest[0] == '\\' && len(rest) > 1 {
			size = 2
		}
		if strings.HasPrefix(rest, `\u`) && len(rest) >= 6 {
			if code, err := strconv.ParseUint(rest[2:6], 16, 16); err == nil {
				text.WriteRune(rune(code))
				rest = rest[6:]
				continue
			}
		}
		text.WriteString(escapes.Replace(rest[:size]))
		rest = rest[size:]
	}
	return text.String()
}

// constant is a variable whose name contains its value.
type constant struct {
	*grammar.ExternalConstantContext
	url string
}

// Accept implements antlr.ParseTree.
func (n constant) Accept(antlr.ParseTreeVisitor) any { return types.Collection{types.NewString(n.url)} }

// named returns the value of %`vs-name` and %`ext-name`, or "" for another variable.
func named(variable string) string {
	if name, ok := strings.CutPrefix(variable, "vs-"); ok {
		return "http://hl7.org/fhir/ValueSet/" + name
	}
	if name, ok := strings.CutPrefix(variable, "ext-"); ok {
		return "http://hl7.org/fhir/StructureDefinition/" + name
	}
	return ""
}
