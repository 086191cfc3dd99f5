package topic

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// Context answers the resources the topic's notificationShape adds to an event
// about focus, each once, never the focus itself, in the order of the shape.
// lookup finds a stored resource by its relative reference, nil where there is
// none; list answers those of a type. What a shape asks for beyond plain
// includes, such as &iterate, is left out (NB-12).
func (t *Topic) Context(focus *fhir.Resource, lookup func(reference string) *fhir.Resource, list func(typ string) []*fhir.Resource) []*fhir.Resource {
	var context []*fhir.Resource
	seen := map[string]bool{focus.Reference(): true}
	add := func(res *fhir.Resource) {
		if res != nil && !seen[res.Reference()] {
			seen[res.Reference()] = true
			context = append(context, res)
		}
	}
	for _, shape := range t.topic.Shapes {
		if shape.Resource != focus.Type && !isAny(shape.Resource) {
			continue
		}
		for _, include := range shape.Include {
			source, name, target := parseInclude(include)
			if source != focus.Type {
				continue
			}
			p, ok := search.Lookup(t.release, source, name)
			if !ok {
				continue
			}
			for _, reference := range p.References(focus) {
				if target == "" || strings.HasPrefix(reference, target+"/") {
					add(lookup(reference))
				}
			}
		}
		for _, include := range shape.RevInclude {
			source, name, _ := parseInclude(include)
			p, ok := search.Lookup(t.release, source, name)
			if !ok {
				continue
			}
			for _, res := range list(source) {
				if slices.Contains(p.References(res), focus.Reference()) {
					add(res)
				}
			}
		}
	}
	return context
}

// parseInclude reads "Encounter:patient", "Encounter:patient:Patient", and
// either with "_include=" before or "&iterate=…" behind it.
func parseInclude(text string) (source, name, target string) {
	if _, after, ok := strings.Cut(text, "include="); ok {
		text = after
	}
	text, _, _ = strings.Cut(text, "&")
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 2 {
		return "", "", ""
	}
	if len(parts) == 3 {
		target = parts[2]
	}
	return parts[0], parts[1], target
}
