package room

import (
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
)

// linkSteps resolves the links between the entries of a transaction: it replaces the
// fullUrl of an entry with the reference to its resource, in references, in elements
// of type uri, url, oid and uuid, and in the links of narratives. It replaces a
// conditional reference ("Patient?identifier=x") with a reference to the one resource
// that it selects after the transaction.
func (b *Base) linkSteps(steps []*step, conditions *conditions) error {
	if len(steps) == 0 || steps[0].Place == "" {
		return nil // not a transaction
	}
	byURL, err := entryReferences(steps)
	if err != nil {
		return err
	}
	after := b.searchAfter(steps, conditions)
	for _, s := range steps {
		l := &linker{base: b, model: b.release.Model(), references: byURL, after: after, root: s.rootURL()}
		if s.Method == http.MethodPatch {
			s.link = func() error { return b.linkPatch(s, l) }
			continue
		}
		if s.Object == nil {
			continue
		}
		if err := s.linkWith(l); err != nil {
			return s.at(err)
		}
	}
	return nil
}

// linkPatch resolves the links that a patch added to a resource. Strings that were in
// the resource before do not name entries of the transaction.
func (b *Base) linkPatch(s *step, l *linker) error {
	current, err := b.store.Read(s.write.Type, s.write.ID)
	if err != nil {
		return err
	}
	l.before = map[string]bool{}
	addStrings(l.before, current.Object)
	return s.linkWith(l)
}

// addStrings adds all strings in v to a set.
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

// linkWith replaces the resource of a step with a copy whose links are resolved.
func (s *step) linkWith(l *linker) error {
	s.Object = s.Object.Clone()
	l.member(s.Object, s.Type)
	for _, name := range l.unknown {
		s.issues = append(s.issues, fhir.Issue{Severity: "warning", Code: fhir.CodeNotFound, Diagnostics: "the resource refers to " + name + ", but no entry of the bundle has this fullUrl", Expression: []string{s.Place + ".resource"}})
	}
	return l.refused
}

// entryReferences returns the references to the resources of a transaction, by the
// fullUrl of their entries. A created resource is also listed under the Type/id at the
// end of its fullUrl, unless another fullUrl has the same end.
func entryReferences(steps []*step) (map[string]string, error) {
	all, short, by := map[string]string{}, map[string][]string{}, map[string]*step{}
	for _, s := range steps {
		if s.FullURL == "" {
			continue
		}
		if first := by[s.FullURL]; first != nil {
			return nil, s.at(fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "duplicate fullUrl %s: %s has it too; the fullUrl of each entry must be unique", s.FullURL, first.Place))
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

// rootURL returns the fullUrl of an entry without the Type/id at its end, or "" if it
// has no such end. Relative references in the resource are relative to it.
func (s *step) rootURL() string {
	if at := strings.LastIndex(s.FullURL, "/"+s.Type+"/"); at >= 0 {
		return s.FullURL[:at+1]
	}
	return ""
}

// searchAfter returns a function that lists the resources of a type that will match a
// query after the transaction. It ignores patches: for a resource that is patched it
// uses the current state.
func (b *Base) searchAfter(steps []*step, conditions *conditions) func(typ, query string) ([]*fhir.Resource, error) {
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
	return func(typ, query string) ([]*fhir.Resource, error) {
		read()
		c := conditions.of(typ, query)
		if c.update(); c.err != nil {
			return nil, c.err
		}
		var found []*fhir.Resource
		for _, res := range c.matching {
			if !changed[res.Reference()] {
				found = append(found, res)
			}
		}
		for _, res := range written[typ] {
			if c.matches(res) { // an invalid resource is refused later
				found = append(found, res)
			}
		}
		return found, nil
	}
}

// linker resolves the links of one resource.
type linker struct {
	base       *Base
	model      fhir.PathModel
	references map[string]string // by fullUrl
	after      func(typ, query string) ([]*fhir.Resource, error)
	root       string          // relative references are relative to it
	before     map[string]bool // strings that must not be replaced
	unknown    []string        // urn: references that name no entry
	refused    error           // the first error
}

// object resolves the links of an object. path is its element path or type.
func (l *linker) object(o *fhir.Object, path string) {
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

// member resolves the links of the value of a member, which may be a resource.
func (l *linker) member(o *fhir.Object, path string) {
	if typ := o.Text("resourceType"); typ != "" {
		path = typ
	}
	if path != "Bundle" {
		l.object(o, path)
		return
	}
	// A bundle inside a resource, such as a document, has fullUrls of its own. Inside
	// it they name its own entries, so do not replace them.
	outer := l.references
	l.references = maps.Clone(outer)
	for _, item := range o.Array("entry") {
		entry, _ := item.(*fhir.Object)
		if own := entry.Text("fullUrl"); own != "" {
			l.references[own] = own
		}
	}
	l.object(o, path)
	l.references = outer
}

// narrativeLink matches a link in a narrative.
var narrativeLink = regexp.MustCompile(`\b(?:href|src)\s*=\s*(?:"[^"]*"|'[^']*')`)

// text returns the replacement of a string of a type, or the string itself.
func (l *linker) text(path, member, typ, text string) string {
	switch {
	case l.before[text]:
		return text
	case path == "Reference" && member == "reference":
		return l.reference(text)
	case typ == "xhtml":
		return narrativeLink.ReplaceAllStringFunc(text, func(link string) string {
			at := strings.IndexAny(link, `"'`) + 1
			return link[:at] + l.resolve(link[at:len(link)-1]) + link[len(link)-1:]
		})
	case typ == "url", typ == "oid", typ == "uuid", typ == "uri" && strings.HasPrefix(text, "urn:"):
		// A canonical does not name an entry. Neither does the uri it refers to, such as
		// the URL of a value set, which is often the fullUrl too.
		return l.resolve(text)
	}
	return text
}

// resolve returns the reference to the entry that has the fullUrl text, or text if
// there is none. It keeps a fragment at the end of text.
func (l *linker) resolve(text string) string {
	head, fragment, _ := strings.Cut(text, "#")
	linked, ok := l.references[head]
	if !ok || head == "" {
		return text
	}
	if fragment != "" {
		return linked + "#" + fragment
	}
	return linked
}

// reference returns the replacement of a literal or conditional reference.
func (l *linker) reference(text string) string {
	if linked := l.resolve(l.root + text); l.root != "" && linked != l.root+text {
		return linked
	}
	if linked := l.resolve(text); linked != text || l.references[text] == text {
		return linked
	}
	if strings.HasPrefix(text, "urn:uuid:") || strings.HasPrefix(text, "urn:oid:") {
		l.unknown = append(l.unknown, text)
		return text
	}
	typ, query, ok := l.base.conditional(text)
	if !ok {
		return text
	}
	found, err := l.after(typ, query)
	if err == nil {
		if len(found) == 1 {
			return found[0].Reference()
		}
		err = fhir.Refuse(http.StatusPreconditionFailed, fhir.CodeMultipleMatches, "the reference %q selects %d resources, expected one", text, len(found))
	}
	if l.refused == nil {
		l.refused = err
	}
	return text
}
