package fhir

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The forms of primitives (R5 datatypes). Dates are checked further by parsing.
var (
	idForm       = regexp.MustCompile(`^[A-Za-z0-9\-.]{1,64}$`)
	codeForm     = regexp.MustCompile(`^[^\s]+( [^\s]+)*$`)
	uriForm      = regexp.MustCompile(`^\S*$`)
	oidForm      = regexp.MustCompile(`^urn:oid:[0-2](\.(0|[1-9][0-9]*))+$`)
	uuidForm     = regexp.MustCompile(`^urn:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	dateForm     = regexp.MustCompile(`^\d{4}(-\d{2}(-\d{2})?)?$`)
	dateTimeForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00)$`)
	timeForm     = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,9})?$`)
	divForm      = regexp.MustCompile(`(?s)^\s*<div[\s/>].*>\s*$`)
	integerForm  = regexp.MustCompile(`^(0|-?[1-9]\d*)$`)
	integer64    = regexp.MustCompile(`^(0|[-+]?[1-9]\d*)$`)
)

// IsID reports whether text can be the id of a resource.
func IsID(text string) bool { return idForm.MatchString(text) }

// kindOf returns the JSON type of a primitive.
func kindOf(typ string) string {
	switch typ {
	case "boolean":
		return "boolean"
	case "integer", "positiveInt", "unsignedInt", "decimal":
		return "number"
	}
	return "string"
}

// checkPrimitive describes what is wrong with a value of a primitive type, or
// returns "" if nothing is; code is the issue code.
func checkPrimitive(typ string, v any) (code IssueCode, problem string) {
	switch kind := kindOf(typ); v := v.(type) {
	case bool:
		if kind != "boolean" {
			return CodeValue, "expected " + article(typ) + ", got the boolean " + strconv.FormatBool(v)
		}
		return "", ""
	case json.Number:
		if typ == "integer64" {
			return checkText(typ, string(v)) // SST-3: read both, write strings
		}
		if kind != "number" {
			return CodeValue, "expected " + article(typ) + ", which is a JSON " + kind + ", got the number " + string(v)
		}
		return checkNumber(typ, string(v))
	case string:
		if kind != "string" {
			return CodeValue, "expected " + article(typ) + ", which is a JSON " + kind + ", got the string " + quote(v)
		}
		return checkText(typ, v)
	}
	return CodeStructure, "expected " + article(typ) + ", got " + describe(v)
}

func checkNumber(typ, text string) (code IssueCode, problem string) {
	if typ == "decimal" {
		return "", ""
	}
	n, err := strconv.ParseInt(text, 10, 64)
	least, most := int64(-1<<31), int64(1<<31-1)
	switch typ {
	case "positiveInt":
		least = 1
	case "unsignedInt":
		least = 0
	}
	if err != nil || !integerForm.MatchString(text) || n < least || n > most {
		return CodeValue, "expected " + article(typ) + " (a whole number from " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10) + "), got " + text
	}
	return "", ""
}

func checkText(typ, text string) (code IssueCode, problem string) {
	if text == "" {
		return CodeStructure, "a string may not be empty; omit the element"
	}
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		return CodeValue, fmt.Sprintf("expected %s without control characters other than tab and line end, got %U at byte %d", article(typ), text[i], i)
	}
	ok, form := true, ""
	switch typ {
	case "string", "markdown":
		ok, form = strings.TrimSpace(text) != "", "that is not only white space"
	case "code":
		ok, form = codeForm.MatchString(text), "without white space at its ends"
	case "id":
		ok, form = IsID(text), "of 1 to 64 letters, digits, - or ."
	case "uri", "url", "canonical":
		ok, form = uriForm.MatchString(text), "without white space"
	case "oid":
		ok, form = oidForm.MatchString(text), "such as urn:oid:1.2.3"
	case "uuid":
		ok, form = uuidForm.MatchString(text), "such as urn:uuid:c757873d-ec9a-4326-a141-556f43239520"
	case "base64Binary":
		packed := strings.Map(func(r rune) rune {
			if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
				return -1
			}
			return r
		}, text)
		_, err := base64.StdEncoding.DecodeString(packed)
		ok, form = err == nil && packed != "", "in base64"
	case "xhtml":
		ok, form = divForm.MatchString(text), "that is one div element, such as <div xmlns=\"http://www.w3.org/1999/xhtml\">…</div>"
	case "date":
		ok, form = isDate(text), "such as 2026, 2026-01 or 2026-01-31"
	case "dateTime":
		ok, form = isDate(text) || isInstant(text), "such as 2026, 2026-01-31 or 2026-01-31T10:00:00Z (with a time, seconds and a zone are needed)"
	case "instant":
		ok, form = isInstant(text), "such as 2026-01-31T10:00:00Z, with seconds and a zone"
	case "time":
		ok, form = timeForm.MatchString(text), "such as 10:00:00"
	case "integer64":
		_, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 10, 64)
		ok, form = err == nil && integer64.MatchString(text), "such as \"42\""
	}
	if ok {
		return "", ""
	}
	return CodeValue, "expected " + article(typ) + " " + form + ", got " + quote(text)
}

// isControl reports whether no FHIR string may contain r.
func isControl(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }

func isDate(text string) bool {
	if !dateForm.MatchString(text) || strings.HasPrefix(text, "0000") { // there is no year 0
		return false
	}
	_, err := time.Parse("2006-01-02"[:len(text)], text)
	return err == nil
}

func isInstant(text string) bool {
	if !dateTimeForm.MatchString(text) || strings.HasPrefix(text, "0000") {
		return false
	}
	// A leap second is legal in FHIR but not to time.Parse.
	if len(text) > 19 && text[17:19] == "60" {
		text = text[:17] + "59" + text[19:]
	}
	_, err := time.Parse(time.RFC3339Nano, text)
	return err == nil
}

// article puts the indefinite article before the name of a type.
func article(typ string) string {
	switch typ {
	case "xhtml", "unsignedInt":
		return "an " + typ
	case "uri", "url", "uuid":
		return "a " + typ
	}
	if strings.ContainsRune("aeiou", rune(typ[0])) {
		return "an " + typ
	}
	return "a " + typ
}

// quote quotes a value for a message and shortens a long one.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return strconv.Quote(text)
}

func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case *Object:
		return "an object"
	case []any:
		return "an array"
	case string:
		return "the string " + quote(v)
	case json.Number:
		return "the number " + string(v)
	case bool:
		return "the boolean " + strconv.FormatBool(v)
	}
	return "something else"
}
