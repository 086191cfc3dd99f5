package search

import (
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// Keys returns what a resource needs for the condition to hold: one of keys among
// the resource's own [Parameter.Keys] for p. ok is false for a condition that can
// hold without any.
func (c *Condition) Keys() (p *Parameter, keys []string, ok bool) {
	return c.indexed, c.keys, c.indexed != nil
}

// keysOf returns the keys of a comparison with plain tokens or references.
func keysOf(p *Parameter, modifier string, alternatives []string) (*Parameter, []string) {
	var keys []string
	for _, alternative := range alternatives {
		key := ""
		switch {
		case p.Type == "token" && modifier == "":
			written := splitEscaped(alternative, '|')
			key = literal(written[len(written)-1]) // "" for any code of a system
		case p.Type == "reference" && modifier == "":
			key = referenceKey(literal(alternative))
		case p.Type == "reference" && p.Release.IsResourceType(modifier):
			key = referenceKey(literal(p.typed(modifier, alternative))) // in the form matchReference compares, with any version
		}
		if key == "" {
			return nil, nil
		}
		keys = append(keys, key)
	}
	return p, keys
}

// referenceKey returns the id at the end of a reference, or the whole reference if
// it has none.
func referenceKey(reference string) string {
	reference, _, _ = strings.Cut(reference, "|")
	if _, id := splitReference(reference); id != "" {
		return id
	}
	return reference
}

// Keys returns the keys of a resource's values, each once: the codes of tokens, the
// ids of references.
func (p *Parameter) Keys(res *fhir.Resource) ([]string, error) {
	values, err := p.Values(res)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, v := range values {
		if p.Type == "token" {
			for _, t := range tokensOf(v) {
				keys = append(keys, t.code)
			}
			continue
		}
		reference, _ := v.(string)
		if o, isObject := v.(*fhir.Object); isObject {
			if inner := o.Object("reference"); inner != nil {
				o = inner
			}
			reference = o.Text("reference")
		}
		keys = append(keys, referenceKey(reference))
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}
