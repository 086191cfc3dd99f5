package room

import (
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
)

// linkLocked puts the ids resources of a transaction get in the place of what
// their entries call each other: the fullUrl, and, of one that is created, the
// Type/id it ends in. Conditional references ("Patient?identifier=x") become those
// of the one resource they select.
func (b *Base) linkLocked(steps []*step) *fhir.Error {
	if len(steps) == 0 || steps[0].Place == "" {
		return nil // a write of its own
	}
	names := map[string]string{}
	for _, s := range steps {
		if s.FullURL == "" || s.none {
			continue
		}
		id := s.write.ID
		if s.found != nil {
			id = s.found.ID
		}
		names[s.FullURL] = s.Type + "/" + id
		if at := strings.LastIndex(s.FullURL, "/"+s.Type+"/"); at >= 0 && s.Method == http.MethodPost {
			names[s.FullURL[at+1:]] = s.Type + "/" + id
		}
	}
	for _, s := range steps {
		if s.Object == nil {
			continue
		}
		l := &linking{base: b, names: names}
		s.Object = s.Object.Clone()
		l.object(s.Object)
		if l.refused != nil {
			return s.at(l.refused)
		}
		for _, name := range l.unknown {
			s.issues = append(s.issues, fhir.Issue{Severity: "warning", Code: "not-found", Diagnostics: "no entry of the bundle has the fullUrl " + name + ", to which this one refers", Expression: []string{s.Place + ".resource"}})
		}
	}
	return nil
}

// linking is one walk over a resource.
type linking struct {
	base    *Base
	names   map[string]string
	unknown []string
	refused *fhir.Error
}

func (l *linking) object(o *fhir.Object) {
	for _, name := range o.Names() {
		if name == "div" || name == "value" {
			continue // a narrative, and what identifies something in the world: no links
		}
		switch v := o.Get(name).(type) {
		case string:
			if linked := l.text(name, v); linked != v {
				o.Set(name, linked)
			}
		case *fhir.Object:
			l.object(v)
		case []any:
			for i, item := range v {
				switch item := item.(type) {
				case string:
					v[i] = l.text(name, item)
				case *fhir.Object:
					l.object(item)
				}
			}
		}
	}
}

// text answers what is to stand in the place of a string. A name may have a
// fragment behind it.
func (l *linking) text(member, text string) string {
	head, fragment, _ := strings.Cut(text, "#")
	if linked, ok := l.names[head]; ok && head != "" {
		if fragment != "" {
			return linked + "#" + fragment
		}
		return linked
	}
	if member != "reference" {
		return text
	}
	if strings.HasPrefix(text, "urn:uuid:") {
		l.unknown = append(l.unknown, text)
		return text
	}
	typ, search, conditional := strings.Cut(text, "?")
	if !conditional || !l.base.release.IsResourceType(typ) {
		return text
	}
	query, err := l.base.scope().Query(typ, search)
	if err == nil {
		var found []*fhir.Resource
		if found, err = l.base.matching(typ, query); err == nil {
			if len(found) == 1 {
				return found[0].Reference()
			}
			err = fhir.Refuse(http.StatusPreconditionFailed, "multiple-matches", "the reference %q selects %d resources, expected one", text, len(found))
		}
	}
	if l.refused == nil {
		l.refused = err
	}
	return text
}
