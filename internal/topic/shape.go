package topic

import (
	"fmt"
	"strings"

	"signalfhir/internal/fhir"
)

// Context returns the resources that the notificationShape of the topic adds to an
// event about focus, in the order of the shape, without duplicates and without the
// focus itself. It ignores what a shape asks for beyond plain includes, such as
// &iterate (NB-12).
func (t *Topic) Context(focus *fhir.Resource) []*fhir.Resource {
	var context []*fhir.Resource
	seen := map[string]bool{focus.Reference(): true}
	add := func(found []*fhir.Resource) {
		for _, res := range found {
			if !seen[res.Reference()] {
				seen[res.Reference()] = true
				context = append(context, res)
			}
		}
	}
	for _, shape := range t.topic.Shapes {
		if shape.Resource != focus.Type && !isAny(shape.Resource) {
			continue
		}
		for _, text := range shape.Include {
			if include, err := t.scope.ParseInclude(plainInclude(text)); err == nil {
				add(t.scope.Included(include, focus))
			}
		}
		for _, text := range shape.RevInclude {
			if include, err := t.scope.ParseInclude(plainInclude(text)); err == nil {
				add(t.scope.Including(include, focus))
			}
		}
	}
	return context
}

// unsupportedShapes returns a warning for each include that notifications will not
// follow.
func (t *Topic) unsupportedShapes() []fhir.Issue {
	var issues []fhir.Issue
	check := func(at string, texts []string) {
		for i, text := range texts {
			_, err := t.scope.ParseInclude(plainInclude(text))
			why := ""
			switch {
			case err != nil:
				why = err.Error()
			case strings.Contains(text, "&"):
				why = fmt.Sprintf("%q: the part after & is ignored", text)
			default:
				continue
			}
			issues = append(issues, fhir.Issue{
				Severity: "warning", Code: fhir.CodeNotSupported,
				Diagnostics: "not included in notifications (NB-12): " + why,
				Expression:  []string{fmt.Sprintf("%s[%d]", at, i)},
			})
		}
	}
	for _, shape := range t.topic.Shapes {
		check(shape.Expression+".include", shape.Include)
		check(shape.Expression+".revInclude", shape.RevInclude)
	}
	return issues
}

// plainInclude removes a leading "_include=" and a trailing "&iterate=…" from
// "Encounter:patient".
func plainInclude(text string) string {
	if _, after, ok := strings.Cut(text, "include="); ok {
		text = after
	}
	text, _, _ = strings.Cut(text, "&")
	return text
}
