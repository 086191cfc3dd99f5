package search

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
)

// aboutResource lists the parameters that apply to the resource as a whole and
// have no expression.
var aboutResource = map[string]func(s Scope, p *Parameter, text string) (func(*fhir.Resource) bool, error){
	"_text": func(_ Scope, _ *Parameter, text string) (func(*fhir.Resource) bool, error) {
		return func(res *fhir.Resource) bool {
			return hasWords(withoutMarkup(res.Object.Object("text").Text("div")), text)
		}, nil
	},
	"_content": func(_ Scope, _ *Parameter, text string) (func(*fhir.Resource) bool, error) {
		return func(res *fhir.Resource) bool {
			var all []string
			collectTexts(res.Object, &all)
			return hasWords(strings.Join(all, " "), text)
		}, nil
	},
	"_type": func(_ Scope, _ *Parameter, text string) (func(*fhir.Resource) bool, error) {
		return func(res *fhir.Resource) bool { return res.Type == text }, nil
	},
	"_in": func(s Scope, p *Parameter, text string) (func(*fhir.Resource) bool, error) {
		if s.group(text) == nil {
			return nil, s.noGroup(p, text)
		}
		return func(res *fhir.Resource) bool {
			group := s.group(text)
			return group != nil && isMember(group, referenceParts{typ: res.Type, id: res.ID})
		}, nil
	},
	"_list": func(s Scope, p *Parameter, text string) (func(*fhir.Resource) bool, error) {
		reference := "List/" + strings.TrimPrefix(text, "List/")
		if s.lookup(reference) == nil {
			return nil, s.noGroup(p, reference)
		}
		return func(res *fhir.Resource) bool {
			list := s.lookup(reference)
			return list != nil && isMember(list, referenceParts{typ: res.Type, id: res.ID})
		}, nil
	},
}

// special lists the parameters of type special that apply to values.
var special = map[string]func(p *Parameter, text string) (valueMatcher, error){
	"near": matchNear,
	"section-text": func(_ *Parameter, text string) (valueMatcher, error) {
		return func(v any) bool {
			o, _ := v.(*fhir.Object)
			return hasWords(withoutMarkup(o.Text("div")), literal(text))
		}, nil
	},
}

func matchSpecial(p *Parameter, text string) (valueMatcher, error) {
	return special[p.Name](p, text)
}

// hasWords reports whether a text has every wanted word.
func hasWords(text, wanted string) bool {
	text = fold(text)
	return !slices.ContainsFunc(strings.Fields(fold(wanted)), func(word string) bool { return !strings.Contains(text, word) })
}

// withoutMarkup returns the text of a narrative.
func withoutMarkup(div string) string {
	var text strings.Builder
	inside := false
	for _, r := range div {
		switch {
		case r == '<':
			inside = true
			text.WriteByte(' ')
		case r == '>':
			inside = false
		case !inside:
			text.WriteRune(r)
		}
	}
	return text.String()
}

// collectTexts gathers every string of a tree.
func collectTexts(v any, all *[]string) {
	switch v := v.(type) {
	case string:
		*all = append(*all, v)
	case []any:
		for _, item := range v {
			collectTexts(item, all)
		}
	case *fhir.Object:
		for _, name := range v.Names() {
			collectTexts(v.Get(name), all)
		}
	}
}

// kilometres maps the units of a distance to their length in km.
var kilometres = map[string]float64{"": 1, "km": 1, "m": 0.001, "[mi_us]": 1.609347, "[mi_i]": 1.609344, "mi": 1.609344}

// nearBy is the distance if a search gives none, which FHIR leaves to the server.
const nearBy = 10 // km

// matchNear parses latitude|longitude|distance|units.
func matchNear(p *Parameter, text string) (valueMatcher, error) {
	parts := splitEscaped(text, '|')
	refused := fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %q is not a position; expected latitude|longitude|distance|units such as 52.37|4.89|5|km", p.Name, text)
	if len(parts) < 2 || len(parts) > 4 {
		return nil, refused
	}
	latitude, ok1 := toFloat(parts[0])
	longitude, ok2 := toFloat(parts[1])
	if !ok1 || !ok2 || math.Abs(latitude) > 90 || math.Abs(longitude) > 180 {
		return nil, refused
	}
	distance, unit := float64(nearBy), ""
	if len(parts) > 2 && parts[2] != "" {
		var ok bool
		if distance, ok = toFloat(parts[2]); !ok || distance < 0 {
			return nil, refused
		}
	}
	if len(parts) > 3 {
		unit = parts[3]
	}
	factor, known := kilometres[unit]
	if !known {
		return nil, refused
	}
	return func(v any) bool {
		o, _ := v.(*fhir.Object)
		at, _ := o.Get("latitude").(json.Number)
		on, _ := o.Get("longitude").(json.Number)
		lat, ok1 := toFloat(string(at))
		long, ok2 := toFloat(string(on))
		return ok1 && ok2 && apart(latitude, longitude, lat, long) <= distance*factor
	}, nil
}

// toFloat parses a number as FHIR writes it: NaN and Inf are not numbers.
func toFloat(text string) (float64, bool) {
	n, _, ok := parseDecimal(text)
	if !ok {
		return 0, false
	}
	f, _ := n.Float64()
	return f, true
}

// apart returns the distance of two positions along the surface of the earth in km.
func apart(lat1, long1, lat2, long2 float64) float64 {
	const radius, degree = 6371.0088, math.Pi / 180
	a := math.Pow(math.Sin((lat2-lat1)*degree/2), 2) +
		math.Cos(lat1*degree)*math.Cos(lat2*degree)*math.Pow(math.Sin((long2-long1)*degree/2), 2)
	return 2 * radius * math.Asin(math.Min(1, math.Sqrt(a)))
}
