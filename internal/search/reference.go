package search

import (
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// matchReference compares references in any form (FLT-13). A bare id matches every
// type; a type and id match a relative, absolute or versioned reference; anything
// else matches its exact text. A URL of another server is another resource.
func matchReference(p *Parameter, text string) valueMatcher {
	text = literal(text)
	wanted := takeApart(p.Release, text)
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
		got := takeApart(p.Release, reference)
		if wanted.typ != "" {
			return got == wanted
		}
		return got.base == "" && got.id == text && (len(p.Target) == 0 || slices.Contains(p.Target, got.typ))
	}
}

// typed returns the reference that a search with a type as modifier means: usually
// text is an id, but it may repeat the type.
func (p *Parameter) typed(typ, text string) string {
	if takeApart(p.Release, literal(text)).typ == typ {
		return text
	}
	return typ + "/" + text
}

// referenceParts are the parts of a literal reference, without its version.
type referenceParts struct {
	base    string // "" for a resource of this server
	typ, id string
}

// takeApart splits a literal reference. A URL is one of this server if its base ends
// like ours; the host name a client uses is not known here. A "|" begins a version
// and may only be in the id: references with equal parts have the same
// [referenceKey].
func takeApart(r fhir.Release, reference string) referenceParts {
	typ, id := splitReference(reference)
	reference, _, _ = strings.Cut(reference, "/_history/")
	base := strings.TrimSuffix(strings.TrimSuffix(reference, typ+"/"+id), "/")
	if typ == "" || id == "" || id[0] == '|' || strings.Contains(base+typ, "|") {
		return referenceParts{}
	}
	if at := strings.LastIndex(base, "/fhir/"); at >= 0 && strings.EqualFold(base[at+len("/fhir/"):], string(r)) {
		base = ""
	}
	return referenceParts{base, typ, id}
}

func matchIdentifier(text string) valueMatcher {
	matches := matchToken(text)
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		if inner := o.Object("reference"); inner != nil {
			o = inner
		}
		if identifier := o.Object("identifier"); identifier != nil {
			return matches(identifier)
		}
		return false
	}
}

// matchDisplay compares with the beginning of a reference's display.
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

// maxUp bounds the levels climbed in a hierarchy.
const maxUp = 50

// matchPartOf compares by the hierarchy of partOf: below a resource are itself and
// its parts, above it are itself and what it is part of. For canonicals it compares
// the versions.
func (s Scope) matchPartOf(p *Parameter, modifier, text string) (valueMatcher, error) {
	wanted := takeApart(p.Release, literal(text))
	canonical := strings.Contains(text, ":")
	if wanted.typ == "" && !canonical {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s:%s: expected Type/id, as in Location/1, or the canonical URL of a definition, got %q", p.Name, modifier, text)
	}
	return func(v any) bool {
		if got, ok := v.(string); ok {
			if modifier == "above" {
				return isVersionOf(literal(text), got)
			}
			return isVersionOf(got, literal(text))
		}
		if wanted.typ == "" {
			return false
		}
		o, _ := v.(*fhir.Object)
		if inner := o.Object("reference"); inner != nil {
			o = inner
		}
		got := takeApart(p.Release, o.Text("reference"))
		if got.typ == "" {
			return false
		}
		lower, upper := got, wanted
		if modifier == "above" {
			lower, upper = wanted, got
		}
		for range maxUp {
			if lower == upper {
				return true
			}
			res := s.lookup(lower.typ + "/" + lower.id)
			if lower.base != "" || res == nil {
				return false
			}
			whole := res.Object.Object("partOf")
			if list := res.Object.Array("partOf"); len(list) > 0 {
				whole, _ = list[0].(*fhir.Object)
			}
			if lower = takeApart(p.Release, whole.Text("reference")); lower.typ == "" {
				return false
			}
		}
		return false
	}, nil
}

// isVersionOf reports whether a canonical equals of or is one of its versions:
// "u|1.5.2" is a version of "u|1.5", and that is a version of "u".
func isVersionOf(canonical, of string) bool {
	url, version, _ := strings.Cut(canonical, "|")
	wanted, line, versioned := strings.Cut(of, "|")
	return url == wanted && (!versioned || version == line || strings.HasPrefix(version, line+"."))
}
