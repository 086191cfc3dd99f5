package invariant

import (
	"encoding/json"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
)

// native lists rules evaluated in Go, by expression: if a release changes the text of a
// rule, the engine evaluates it until this table is updated.
//
// There are two reasons for evaluating a rule here. A Reference, Period, Quantity or
// ContactPoint is in nearly every write, several times; walking members costs a
// hundredth of an evaluation. And the engine gets some rules wrong: it compares times of
// different precision without their zones, and Quantities not at all.
var native = map[string]func(*focus) verdict{
	// qty-3, vsd-10
	"code.empty() or system.exists()": func(f *focus) verdict { return is(!has(f.object, "code") || has(f.object, "system")) },
	// cpt-2
	"value.empty() or system.exists()": func(f *focus) verdict { return is(!has(f.object, "value") || has(f.object, "system")) },
	// att-1
	"data.empty() or contentType.exists()": func(f *focus) verdict { return is(!has(f.object, "data") || has(f.object, "contentType")) },
	// ref-1
	"reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids'))":                                                                              containedReference,
	"reference.exists() implies (reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids')) or (reference='#' and %rootResource!=%resource))": containedReference,
	"reference.startsWith('#').not() or (reference.substring(1).trace('url') in %rootResource.contained.id.trace('ids')) or (reference='#' and %rootResource!=%resource)":                              containedReference,
	// ref-2
	"reference.exists() or identifier.exists() or display.exists() or extension.exists()": func(f *focus) verdict {
		return is(has(f.object, "reference") || has(f.object, "identifier") || has(f.object, "display") || f.object.Has("extension"))
	},
	// per-1
	"start.hasValue().not() or end.hasValue().not() or (start <= end)":                              func(f *focus) verdict { return ordered(f, "start", "end") },
	"start.hasValue().not() or end.hasValue().not() or (start.lowBoundary() <= end.highBoundary())": func(f *focus) verdict { return ordered(f, "start", "end") },
	// app-5
	"start.exists() implies start <= end": func(f *focus) verdict { return ordered(f, "start", "end") },
	// mdd-1
	"whenHandedOver.empty() or whenPrepared.empty() or whenHandedOver >= whenPrepared": func(f *focus) verdict { return ordered(f, "whenPrepared", "whenHandedOver") },
	// inv-1 of Task
	"lastModified.exists().not() or authoredOn.exists().not() or lastModified >= authoredOn": func(f *focus) verdict { return ordered(f, "authoredOn", "lastModified") },
	// rng-2, inv-2 of RatioRange
	"low.empty() or high.empty() or (low <= high)":                                     func(f *focus) verdict { return ascending(f, "low", "high", false) },
	"lowNumerator.empty() or highNumerator.empty() or (lowNumerator <= highNumerator)": func(f *focus) verdict { return ascending(f, "lowNumerator", "highNumerator", false) },
	"low.value.empty() or high.value.empty() or low.lowBoundary().comparable(high.highBoundary()).not() or (low.lowBoundary() <= high.highBoundary())": func(f *focus) verdict {
		return ascending(f, "low", "high", true)
	},
	// ras-2: the engine takes a decimal without a point for an integer
	"probability is decimal implies (probability as decimal) <= 100":                              probable,
	"probability.exists($this is decimal) implies (probability as decimal) <= 100":                probable,
	"probability.empty() or ((probability is decimal) implies ((probability as decimal) <= 100))": probable,
	// md-1: taken literally, it gives nothing for a focus without a max
	"max='*' or (max.toInteger() > 0)": func(f *focus) verdict {
		most, err := strconv.Atoi(f.object.Text("max"))
		return is(err != nil || most > 0)
	},
	// bdl-8 of R4: taken literally, it gives nothing for an entry without a fullUrl
	"fullUrl.contains('/_history/').not()": func(f *focus) verdict { return is(!strings.Contains(f.object.Text("fullUrl"), "/_history/")) },
}

// elementRules and domainRules apply to every element and every resource. HL7's list of
// what each type adds does not have them.
var (
	// The walk only applies it to an element that breaks it.
	elementRules = []*rule{nativeRule("ele-1", "hasValue() or (children().count() > id.count())", func(*focus) verdict { return broken })}

	domainRules = []*rule{
		nativeRule("dom-3", "contained.where((('#'+id in (%resource.descendants().reference | %resource.descendants().as(canonical) | %resource.descendants().as(uri) | %resource.descendants().as(url))) or descendants().where(reference = '#').exists() or descendants().where(as(canonical) = '#').exists()).not()).trace('unmatched', id).empty()", containedUsed),
		nativeRule("dom-4", "contained.meta.versionId.empty() and contained.meta.lastUpdated.empty()", func(f *focus) verdict {
			return noContained(f, func(meta *fhir.Object) bool { return has(meta, "versionId") || has(meta, "lastUpdated") })
		}),
		nativeRule("dom-5", "contained.meta.security.empty()", func(f *focus) verdict {
			return noContained(f, func(meta *fhir.Object) bool { return meta.Has("security") })
		}),
	}
)

func nativeRule(key, expression string, evaluate func(*focus) verdict) *rule {
	r := newRule(key, expression)
	r.native = evaluate
	return r
}

func is(true bool) verdict {
	if true {
		return holds
	}
	return broken
}

// has reports whether a primitive exists, even if only as an extension.
func has(o *fhir.Object, name string) bool { return o.Has(name) || o.Has("_"+name) }

// containedReference evaluates ref-1: the target of a reference with # is contained. A
// lone # is the container itself.
func containedReference(f *focus) verdict {
	id, local := strings.CutPrefix(f.object.Text("reference"), "#")
	if !local || id == "" {
		return holds
	}
	for _, inner := range f.scope.root.object.Array("contained") {
		if inner, ok := inner.(*fhir.Object); ok && inner.Text("id") == id {
			return holds
		}
	}
	return broken
}

// containedUsed evaluates dom-3: a contained resource is referred to, or refers to its
// container. Any such text counts as a reference: only the types could tell which texts
// are references, and nothing else begins with #.
func containedUsed(f *focus) verdict {
	used := map[string]bool{}
	local(f.object, used)
	for _, inner := range f.object.Array("contained") {
		inner, ok := inner.(*fhir.Object)
		if !ok || !inner.Has("id") || used["#"+inner.Text("id")] {
			continue
		}
		own := map[string]bool{}
		if local(inner, own); !own["#"] {
			return broken
		}
	}
	return holds
}

// local collects the texts that begin with #.
func local(value any, found map[string]bool) {
	switch v := value.(type) {
	case string:
		if strings.HasPrefix(v, "#") {
			found[v] = true
		}
	case *fhir.Object:
		for _, name := range v.Names() {
			local(v.Get(name), found)
		}
	case []any:
		for _, item := range v {
			local(item, found)
		}
	}
}

// probable evaluates ras-2: a probability is at most 100.
func probable(f *focus) verdict {
	text, _ := f.object.Get("probabilityDecimal").(json.Number)
	value, err := strconv.ParseFloat(string(text), 64)
	return is(err != nil || value <= 100)
}

// noContained reports whether no contained resource has a forbidden meta.
func noContained(f *focus, forbidden func(meta *fhir.Object) bool) verdict {
	for _, inner := range f.object.Array("contained") {
		if inner, ok := inner.(*fhir.Object); ok && forbidden(inner.Object("meta")) {
			return broken
		}
	}
	return holds
}
