package room

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// linkLocked puts the ids resources of a transaction get in the place of what
// their entries call each other: in references, in elements of type uri, url, oid and
// uuid, and in the links of narratives. Conditional references
// ("Patient?identifier=x") become those of the one resource they select, among those
// there are after the transaction.
func (b *Base) linkLocked(steps []*step) *fhir.Error {
	if len(steps) == 0 || steps[0].Place == "" {
		return nil // a write of its own
	}
	named, err := naming(steps)
	if err != nil {
		return err
	}
	after := b.afterwards(steps)
	for _, s := range steps {
		l := &linking{base: b, model: b.release.Model(), names: named, after: after, root: s.rootURL()}
		if s.Method == http.MethodPatch {
			s.link = func() *fhir.Error { return b.linkPatched(s, l) }
			continue
		}
		if s.Object == nil {
			continue
		}
		if err := s.linkBy(l); err != nil {
			return s.at(err)
		}
	}
	return nil
}

// linkPatched links what a patch brought into a resource. What was there before is
// not the transaction's, whatever it is called.
func (b *Base) linkPatched(s *step, l *linking) *fhir.Error {
	current, err := b.store.Read(s.write.Type, s.write.ID)
	if err != nil {
		return err
	}
	l.before = map[string]bool{}
	addStrings(l.before, current.Object)
	return s.linkBy(l)
}

func addStrings(to map[string]bool, v any) {
	switch v := v.(type) {
	case string:
		to[v] = true
	case *fhir.Object:
		for _, name := range v.Names() {
			addStrings(to, v.Get(name))
		}
	case []any:
		for _, item := range v {
			addStrings(to, item)
		}
	}
}

// linkBy links a copy of the resource of a step, which it takes from then on.
func (s *step) linkBy(l *linking) *fhir.Error {
	s.Object = s.Object.Clone()
	l.member(s.Object, s.Type)
	for _, name := range l.unknown {
		s.issues = append(s.issues, fhir.Issue{Severity: "warning", Code: "not-found", Diagnostics: "no entry of the bundle has the fullUrl " + name + ", to which this one refers", Expression: []string{s.Place + ".resource"}})
	}
	return l.refused
}

// names are the references to resources of a transaction by what its entries call
// them: the fullUrl and, of one that is created, the Type/id that ends in, if no
// other ends in the same.
type names map[string]string

func naming(steps []*step) (names, *fhir.Error) {
	all, short, by := names{}, map[string][]string{}, map[string]*step{}
	for _, s := range steps {
		if s.FullURL == "" {
			continue
		}
		if first := by[s.FullURL]; first != nil {
			return nil, s.at(fhir.Refuse(http.StatusBadRequest, "invalid", "it has the fullUrl %s, as %s has; each entry needs one of its own", s.FullURL, first.Place))
		}
		by[s.FullURL] = s
		if s.none {
			continue
		}
		reference := s.Type + "/" + s.write.ID
		if s.found != nil {
			reference = s.found.Reference()
		}
		all[s.FullURL] = reference
		if root := s.rootURL(); root != "" && s.Method == http.MethodPost {
			end := s.FullURL[len(root):]
			short[end] = append(short[end], reference)
		}
	}
	for end, references := range short {
		if len(references) == 1 {
			all[end] = references[0]
		}
	}
	return all, nil
}

// rootURL is the fullUrl of an entry up to Type/id, "" where it does not end in that.
// It is what relative references in the resource are relative to.
func (s *step) rootURL() string {
	if at := strings.LastIndex(s.FullURL, "/"+s.Type+"/"); at >= 0 {
		return s.FullURL[:at+1]
	}
	return ""
}

// afterwards lists the resources of a type that match a query once a transaction is
// done. Patches are not foreseen: of what one changes, the present state is asked.
func (b *Base) afterwards(steps []*step) func(typ string, query *search.Query) ([]*fhir.Resource, *fhir.Error) {
	changed := map[string]bool{}
	written := map[string][]*fhir.Resource{} // by type
	read := sync.OnceFunc(func() {
		for _, s := range steps {
			if s.found != nil || s.none || s.Method == http.MethodPatch {
				continue
			}
			changed[s.Type+"/"+s.write.ID] = true
			if s.Object != nil {
				o := s.Object.Clone()
				o.Set("id", s.write.ID)
				written[s.Type] = append(written[s.Type], fhir.NewResource(b.release, o))
			}
		}
	})
	return func(typ string, query *search.Query) ([]*fhir.Resource, *fhir.Error) {
		read()
		found, err := b.matching(typ, query)
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(found, func(res *fhir.Resource) bool { return changed[res.Reference()] })
		for _, res := range written[typ] {
			if ok, _ := query.Match(res); ok { // one that cannot be read is refused for that, later
				found = append(found, res)
			}
		}
		return found, nil
	}
}

// linking is one walk over a resource.
type linking struct {
	base    *Base
	model   fhir.PathModel
	names   names
	after   func(typ string, query *search.Query) ([]*fhir.Resource, *fhir.Error)
	root    string          // what relative references are relative to
	before  map[string]bool // texts that stay as they are
	unknown []string
	refused *fhir.Error
}

// object walks over an object of which path is the element or type.
func (l *linking) object(o *fhir.Object, path string) {
	for _, name := range o.Names() {
		within := l.model.Member(path, name)
		switch v := o.Get(name).(type) {
		case string:
			if linked := l.text(path, name, within, v); linked != v {
				o.Set(name, linked)
			}
		case *fhir.Object:
			l.member(v, within)
		case []any:
			for i, item := range v {
				switch item := item.(type) {
				case string:
					v[i] = l.text(path, name, within, item)
				case *fhir.Object:
					l.member(item, within)
				}
			}
		}
	}
}

// member goes on with what a member holds: a resource says itself what it is.
func (l *linking) member(o *fhir.Object, path string) {
	if typ := o.Text("resourceType"); typ != "" {
		path = typ
	}
	if path != "Bundle" {
		l.object(o, path)
		return
	}
	// A bundle in a resource, a document say, has names of its own: they stay, and
	// what refers to them refers to what is beside them.
	outer := l.names
	l.names = maps.Clone(outer)
	for _, item := range o.Array("entry") {
		entry, _ := item.(*fhir.Object)
		if own := entry.Text("fullUrl"); own != "" {
			l.names[own] = own
		}
	}
	l.object(o, path)
	l.names = outer
}

// narrativeLink is a link in a narrative.
var narrativeLink = regexp.MustCompile(`\b(?:href|src)\s*=\s*(?:"[^"]*"|'[^']*')`)

// text answers what is to stand in the place of a string of some type.
func (l *linking) text(path, member, typ, text string) string {
	switch {
	case l.before[text]:
		return text
	case path == "Reference" && member == "reference":
		return l.reference(text)
	case typ == "xhtml":
		return narrativeLink.ReplaceAllStringFunc(text, func(link string) string {
			at := strings.IndexAny(link, `"'`) + 1
			return link[:at] + l.named(link[at:len(link)-1]) + link[len(link)-1:]
		})
	case typ == "url", typ == "oid", typ == "uuid", typ == "uri" && strings.HasPrefix(text, "urn:"):
		// A canonical names no entry; nor does the uri it refers to, the URL of a value
		// set say, which is often the fullUrl too.
		return l.named(text)
	}
	return text
}

// named is the reference to the entry of a name, the text itself where it is none's. A
// name may have a fragment behind it.
func (l *linking) named(text string) string {
	head, fragment, _ := strings.Cut(text, "#")
	linked, ok := l.names[head]
	if !ok || head == "" {
		return text
	}
	if fragment != "" {
		return linked + "#" + fragment
	}
	return linked
}

func (l *linking) reference(text string) string {
	if linked := l.named(l.root + text); l.root != "" && linked != l.root+text {
		return linked
	}
	if linked := l.named(text); linked != text || l.names[text] == text {
		return linked
	}
	if strings.HasPrefix(text, "urn:uuid:") || strings.HasPrefix(text, "urn:oid:") {
		l.unknown = append(l.unknown, text)
		return text
	}
	typ, condition, conditional := strings.Cut(text, "?")
	if !conditional || !l.base.release.IsResourceType(typ) {
		return text
	}
	query, err := l.base.scope().Query(typ, condition)
	if err == nil {
		var found []*fhir.Resource
		if found, err = l.after(typ, query); err == nil {
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
