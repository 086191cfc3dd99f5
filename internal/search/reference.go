package search

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// matchReference compares references however they are written (FLT-13): a bare
// id matches every type, a type and id a relative, absolute or versioned
// reference, anything else the text as it is. A URL of another server is another
// resource.
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

// referenceParts are those of a literal reference, without its version.
type referenceParts struct {
	base    string // "" for a resource of this server
	typ, id string
}

// takeApart takes a literal reference apart. A URL is one of this server where its
// base ends as ours do; by what name a client reaches it is not known here.
func takeApart(r fhir.Release, reference string) referenceParts {
	typ, id := splitReference(reference)
	if typ == "" {
		return referenceParts{}
	}
	reference, _, _ = strings.Cut(reference, "/_history/")
	base := strings.TrimSuffix(strings.TrimSuffix(reference, typ+"/"+id), "/")
	if at := strings.LastIndex(base, "/fhir/"); at >= 0 && strings.EqualFold(base[at+len("/fhir/"):], string(r)) {
		base = ""
	}
	return referenceParts{base, typ, id}
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
