package fhir_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// Each primitive is tested as a value[x] of a Parameters, as JSON.
func TestValidate_PrimitiveForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typ           string
		accepted      []string
		refused       []string // as value
		refusedByKind []string // as structure
	}{
		{"Boolean", []string{`true`, `false`}, []string{`"true"`, `1`, `"no"`}, []string{`[true]`, `{}`, `null`}},
		{"Integer", []string{`0`, `-1`, `2147483647`, `-2147483648`}, []string{`2147483648`, `-2147483649`, `1.0`, `1e3`, `-0`, `"1"`, `true`, `99999999999999999999`}, []string{`null`}},
		{"PositiveInt", []string{`1`, `2147483647`}, []string{`0`, `-1`, `1.5`, `"1"`, `2147483648`}, nil},
		{"UnsignedInt", []string{`0`, `1`}, []string{`-1`, `0.5`, `"0"`}, nil},
		{"Integer64", []string{`"0"`, `"-12"`, `"+12"`, `"9223372036854775807"`, `"-9223372036854775808"`, `12`, `0`, `-3`}, // SST-3: numbers are read
			[]string{`"9223372036854775808"`, `9223372036854775808`, `"1.0"`, `1.5`, `"01"`, `"x"`, `" 1"`, `true`, `"-0"`}, []string{`""`}},
		{"Decimal", []string{`0`, `1.10`, `-0.0001`, `1e-3`, `1E+30`}, []string{`"1.1"`, `true`}, nil},
		{"String", []string{`"a"`, `" a\tb\r\nc "`, `"漢"`}, []string{`" "`, `"\t\n"`, `"a\u0000"`, `"\u001fa"`, `1`, `true`}, []string{`""`, `["a"]`}},
		{"Markdown", []string{`"# a\n"`}, []string{`"\n"`, `1`}, []string{`""`}},
		{"Code", []string{`"a"`, `"a b"`, `"<="`}, []string{`" a"`, `"a "`, `"a  b"`, `"a\tb"`, `" "`}, []string{`""`}},
		{"Id", []string{`"a"`, `"A-1.z"`, `"` + strings.Repeat("a", 64) + `"`}, []string{`"` + strings.Repeat("a", 65) + `"`, `"a_b"`, `"a/b"`, `"ä"`, `"a\n"`}, []string{`""`}},
		{"Uri", []string{`"http://a/b?c#d"`, `"urn:x:y"`, `"relative"`, `"#a"`}, []string{`"a b"`, `" a"`, `"a\n"`, `7`}, []string{`""`}},
		{"Url", []string{`"ws://localhost/ws"`}, []string{`"a b"`}, nil},
		{"Canonical", []string{`"http://a|1.0"`, `"#a"`}, []string{`"a b"`}, nil},
		{"Oid", []string{`"urn:oid:1.2.3"`, `"urn:oid:2.16.840"`}, []string{`"1.2.3"`, `"urn:oid:3.1"`, `"urn:oid:1.02"`, `"urn:oid:1"`}, nil},
		{"Uuid", []string{`"urn:uuid:c757873d-ec9a-4326-a141-556f43239520"`}, []string{`"c757873d-ec9a-4326-a141-556f43239520"`, `"urn:uuid:x"`}, nil},
		{"Base64Binary", []string{`"AA=="`, `"AAAA"`, `"AA AA\nAA=="`}, []string{`"A"`, `"AA="`, `"****"`, `"AA-_"`, `" "`}, []string{`""`}},
		{"Date", []string{`"2026"`, `"2026-12"`, `"2024-02-29"`}, []string{`"26"`, `"2026-1"`, `"2026-13"`, `"2026-00"`, `"2025-02-29"`, `"2026-01-01T10:00:00Z"`, `"0000"`, `2026`, `"2026-01-01 "`}, nil},
		{"DateTime", []string{`"2026"`, `"2026-12"`, `"2026-12-31"`, `"2026-12-31T23:59:59Z"`, `"2026-12-31T23:59:59.123456789+14:00"`, `"2026-12-31T23:59:60-12:30"`},
			[]string{`"2026-12-31T23:59:59"`, `"2026-12-31T23:59Z"`, `"2026-12-31T24:00:00Z"`, `"2026-12-31 23:59:59Z"`, `"2026-12-31T23:59:59+14:01"`, `"2026-12-31T23:59:59+15:00"`, `"2026-12-31T23:59:59+01:60"`, `"2026-12-31Z"`, `"2026-02-30T00:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"2026-12-31T23:59:59,5Z"`, `"2026-12-31t23:59:59z"`, `"yesterday"`}, nil},
		{"Instant", []string{`"2026-12-31T23:59:59Z"`, `"2026-12-31T23:59:59.5-05:00"`}, []string{`"2026-12-31"`, `"2026-12-31T23:59:59"`, `"2026-12-31T23:59Z"`, `"2026-12-31T23:61:59Z"`}, nil},
		{"Time", []string{`"00:00:00"`, `"23:59:60"`, `"10:00:00.5"`}, []string{`"10:00"`, `"24:00:00"`, `"10:00:00Z"`, `"1:00:00"`}, nil},
	}
	for _, test := range tests {
		t.Run(test.typ, func(t *testing.T) {
			t.Parallel()
			check := func(value string) []fhir.Issue {
				return fhir.R5.Validate(parse(t, `{"resourceType":"Parameters","parameter":[{"name":"a","value`+test.typ+`":`+value+`}]}`))
			}
			for _, value := range test.accepted {
				if issues := check(value); len(issues) > 0 {
					t.Errorf("%s: %v", value, issues)
				}
			}
			refused := func(value, code string) {
				issues := check(value)
				if len(issues) != 1 || string(issues[0].Code) != code || issues[0].Expression[0] != "Parameters.parameter[0].value"+test.typ {
					t.Errorf("%s: got %v, want one %s", value, issues, code)
				}
			}
			for _, value := range test.refused {
				refused(value, "value")
			}
			for _, value := range test.refusedByKind {
				refused(value, "structure")
			}
		})
	}
}

func TestValidate_NarrativeIsADiv(t *testing.T) {
	t.Parallel()
	for div, good := range map[string]bool{
		`<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>`: true,
		` <div>\na\n</div>\n`: true,
		`<div/>`:              true,
		`text`:                false,
		`<p>a</p>`:            false,
		`<divine>a</divine>`:  false,
		`  `:                  false,
	} {
		issues := fhir.R5.Validate(parse(t, `{"resourceType":"Patient","text":{"status":"generated","div":"`+div+`"}}`))
		if good != (len(issues) == 0) {
			t.Errorf("%s: got %v", div, issues)
		}
	}
}

func TestValidate_IDsOfElementsAreAnyString(t *testing.T) {
	t.Parallel()
	issues := fhir.R5.Validate(parse(t, `{"resourceType":"Patient","id":"a","name":[{"id":"a b_c","_family":{"id":"x/y"}}],"contact":[{"id":"#1","gender":"male"}]}`))
	if len(issues) > 0 {
		t.Error(issues)
	}
}

func TestIsID(t *testing.T) {
	t.Parallel()
	for id, good := range map[string]bool{"a": true, "A.1-b": true, "": false, "a_b": false, "$status": false, "a\n": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false} {
		if fhir.IsID(id) != good {
			t.Errorf("IsID(%q) is %t", id, !good)
		}
	}
}
