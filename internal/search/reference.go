package search

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// matchReference compares references however they are written (FLT-13): a bare
// id matches every type, a type and id a relative, absolute or versioned
// reference, anything else the text as it is.
func matchReference(p *Parameter, text string) valueMatcher {
	text = literal(text)
	typ, id := splitReference(text)
	absolute := strings.Contains(text, "://") || strings.HasPrefix(text, "urn:")
	return func(v any) bool {
		var reference string
		switch v := v.(type) {
		case string:
			reference = v // a canonical, or an id
		case *fhir.Object:
			if inner := v.Object("reference"); inner != nil {
				v = inner // a CodeableReference
			}
			reference = v.Text("reference")
		}
		if reference == "" {
			return false
		}
		if reference == text || strings.SplitN(reference, "|", 2)[0] == text {
			return true
		}
		gotType, gotID := splitReference(reference)
		switch {
		case absolute && strings.Contains(reference, "://"):
			before, _, _ := strings.Cut(reference, "/_history/")
			return before == text
		case typ != "":
			return gotType == typ && gotID == id
		default:
			return gotID == text && (len(p.Target) == 0 || slices.Contains(p.Target, gotType))
		}
	}
}

func matchIdentifier(text string) valueMatcher {
	matches := matchToken(text)
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		if identifier := o.Object("identifier"); identifier != nil {
			return matches(identifier)
		}
		return false
	}
}

// matchDisplay compares the beginning of what a reference shows.
func matchDisplay(text string) valueMatcher {
	wanted := fold(literal(text))
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		if inner := o.Object("reference"); inner != nil {
			o = inner
		}
		display := o.Text("display")
		return display != "" && strings.HasPrefix(fold(display), wanted)
	}
}
