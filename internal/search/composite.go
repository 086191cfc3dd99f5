package search

import (
	"net/http"
	"strings"

	"signalfhir/internal/fhir"
)

// part is one component of a composite parameter: its type, and its paths below the
// values of the composite's own expression. A path that begins with / is below the
// resource instead.
type part struct {
	typ   string
	paths []string
}

// parts lists the components of HL7's composite parameters, whose list of search
// parameters gives only codes. The key is the code if the components are the same
// for every type, otherwise "Type.code".
var parts = map[string][]part{
	"context-type-quantity": {{"token", []string{"code"}}, {"quantity", []string{"valueQuantity", "valueRange"}}},
	"context-type-value":    {{"token", []string{"code"}}, {"token", []string{"valueCodeableConcept"}}},
	"relationship":          {{"token", []string{"code"}}, {"reference", []string{"target"}}},
	"characteristic-value":  {{"token", []string{"code"}}, {"token", []string{"valueCodeableConcept", "valueBoolean"}}},
	"specification-version": {{"token", []string{"specification"}}, {"string", []string{"version"}}},

	"Citation.classification":                   {{"token", []string{"type"}}, {"token", []string{"classifier"}}},
	"Composition.section-code-text":             {{"token", []string{"code"}}, {"special", []string{"text"}}},
	"Encounter.location-period":                 {{"reference", []string{"location"}}, {"date", []string{"period"}}},
	"Ingredient.strength-concentration-ratio":   {{"quantity", []string{"numerator"}}, {"quantity", []string{"denominator"}}},
	"Ingredient.strength-presentation-ratio":    {{"quantity", []string{"numerator"}}, {"quantity", []string{"denominator"}}},
	"Observation.code-value-concept":            {{"token", []string{"code"}}, {"token", []string{"valueCodeableConcept"}}},
	"Observation.code-value-date":               {{"token", []string{"code"}}, {"date", []string{"valueDateTime", "valuePeriod"}}},
	"Observation.code-value-quantity":           {{"token", []string{"code"}}, {"quantity", []string{"valueQuantity", "valueSampledData"}}},
	"Observation.code-value-string":             {{"token", []string{"code"}}, {"string", []string{"valueString"}}},
	"Observation.combo-code-value-concept":      {{"token", []string{"code"}}, {"token", []string{"valueCodeableConcept"}}},
	"Observation.combo-code-value-quantity":     {{"token", []string{"code"}}, {"quantity", []string{"valueQuantity", "valueSampledData"}}},
	"Observation.component-code-value-concept":  {{"token", []string{"code"}}, {"token", []string{"valueCodeableConcept"}}},
	"Observation.component-code-value-quantity": {{"token", []string{"code"}}, {"quantity", []string{"valueQuantity", "valueSampledData"}}},

	"ResearchStudy.progress-status-state-actual":        {{"token", []string{"state"}}, {"token", []string{"actual"}}},
	"ResearchStudy.progress-status-state-period":        {{"token", []string{"state"}}, {"date", []string{"period"}}},
	"ResearchStudy.progress-status-state-period-actual": {{"token", []string{"state"}}, {"date", []string{"period"}}, {"token", []string{"actual"}}},

	"StructureDefinition.ext-context":                     {{"token", []string{"type"}}, {"token", []string{"expression"}}},
	"TestScript.scope-artifact-conformance":               {{"reference", []string{"artifact"}}, {"token", []string{"conformance"}}},
	"TestScript.scope-artifact-phase":                     {{"reference", []string{"artifact"}}, {"token", []string{"phase"}}},
	"MolecularSequence.chromosome-variant-coordinate":     {{"token", []string{"/referenceSeq.chromosome"}}, {"number", []string{"start"}}, {"number", []string{"end"}}},
	"MolecularSequence.chromosome-window-coordinate":      {{"token", []string{"chromosome"}}, {"number", []string{"windowStart"}}, {"number", []string{"windowEnd"}}},
	"MolecularSequence.referenceseqid-variant-coordinate": {{"token", []string{"/referenceSeq.referenceSeqId"}}, {"number", []string{"start"}}, {"number", []string{"end"}}},
	"MolecularSequence.referenceseqid-window-coordinate":  {{"token", []string{"referenceSeqId"}}, {"number", []string{"windowStart"}}, {"number", []string{"windowEnd"}}},
}

// partsOf returns the components of a composite parameter, or nil if they are not
// known.
func partsOf(p *Parameter) []part {
	if found := parts[p.Resource+"."+p.Name]; found != nil {
		return found
	}
	return parts[p.Name]
}

// below returns the values of a component.
func (c part) below(res *fhir.Resource, context any) []any {
	var values []any
	for _, path := range c.paths {
		from, _ := context.(*fhir.Object)
		if rest, ofResource := strings.CutPrefix(path, "/"); ofResource {
			from, path = res.Object, rest
		}
		var steps []step
		for name := range strings.SplitSeq(path, ".") {
			steps = append(steps, step{names: []string{name}})
		}
		if from != nil {
			values = append(values, walk(from, steps)...)
		}
	}
	return values
}

// matchComposite parses one alternative, with components separated by $: all of
// them must match in the same place.
func (s Scope) matchComposite(p *Parameter, text string) (func(res *fhir.Resource, context any) bool, error) {
	components, texts := partsOf(p), splitEscaped(text, '$')
	if len(texts) != len(components) {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: expected %d values joined by $, got %q", p.Name, len(components), text)
	}
	var matchers []valueMatcher
	for i, c := range components {
		one := &Parameter{Release: p.Release, Resource: p.Resource, Name: p.Name, Type: c.typ}
		if c.typ == "special" {
			one.Name = "section-text" // the only one inside a composite
		}
		m, refused := s.newMatcher(one, "", texts[i])
		if refused != nil {
			return nil, refused
		}
		matchers = append(matchers, m)
	}
	return func(res *fhir.Resource, context any) bool {
		for i, c := range components {
			if !anyMatches(matchers[i:i+1], c.below(res, context)) {
				return false
			}
		}
		return true
	}, nil
}
