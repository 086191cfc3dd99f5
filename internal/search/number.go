package search

import (
	"encoding/json"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
)

// interval is a closed interval of numbers; a nil end is open. If beyond is set,
// the interval excludes its one end.
type interval struct {
	low, high *big.Rat
	beyond    bool
}

// decimalForm bounds exponents: 1e999999999 would take a gigabyte.
var decimalForm = regexp.MustCompile(`^[+-]?[0-9]{1,40}(\.([0-9]{1,40}))?([eE]([+-]?[0-9]{1,2}))?$`)

// parseDecimal parses a number and returns half the unit of its last digit: "5.40"
// means everything from 5.395 up to but not including 5.405.
func parseDecimal(text string) (n, half *big.Rat, ok bool) {
	m := decimalForm.FindStringSubmatch(text)
	if m == nil {
		return nil, nil, false
	}
	n, ok = new(big.Rat).SetString(strings.TrimPrefix(text, "+"))
	if !ok {
		return nil, nil, false
	}
	exponent, _ := strconv.Atoi(m[4]) // "" gives 0
	if exponent > 0 {
		exponent-- // in FHIR 1e2 means 95 up to 105
	}
	exponent -= len(m[2])
	unit := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil))
	if exponent < 0 {
		unit.Inv(unit)
	}
	return n, unit.Quo(unit, big.NewRat(2, 1)), true
}

// intervalOf returns the interval a value covers: one point for a number,
// everything beyond it for a Quantity with a comparator, the range between its
// ends for a Range, and its limits for SampledData.
func intervalOf(v any) (interval, bool) {
	point := func(text string) (interval, bool) {
		n, _, ok := parseDecimal(text)
		return interval{low: n, high: n}, ok
	}
	switch v := v.(type) {
	case json.Number:
		return point(string(v))
	case string: // from the FHIRPath engine
		return point(v)
	case *fhir.Object:
		switch {
		case v.Has("value"):
			n, ok := v.Get("value").(json.Number)
			if !ok {
				return interval{}, false
			}
			at, ok := point(string(n))
			comparator := v.Text("comparator")
			at.beyond = comparator == "<" || comparator == ">"
			switch comparator {
			case "<", "<=":
				at.low = nil
			case ">", ">=":
				at.high = nil
			}
			return at, ok
		case v.Has("low"), v.Has("high"):
			low, hasLow := intervalOf(v.Object("low"))
			high, hasHigh := intervalOf(v.Object("high"))
			return interval{low: low.low, high: high.high}, hasLow || hasHigh
		case v.Has("lowerLimit"), v.Has("upperLimit"):
			var limits interval
			if n, ok := v.Get("lowerLimit").(json.Number); ok {
				limits.low, _, _ = parseDecimal(string(n))
			}
			if n, ok := v.Get("upperLimit").(json.Number); ok {
				limits.high, _, _ = parseDecimal(string(n))
			}
			return limits, true
		}
	}
	return interval{}, false
}

// compareNumbers returns the comparison for a prefix. eq, ne and ap compare with
// the precision as written, the others with the exact number.
func compareNumbers(prefix, number string) (func(interval) bool, bool) {
	n, half, ok := parseDecimal(number)
	if !ok {
		return nil, false
	}
	least, beyond := new(big.Rat).Sub(n, half), new(big.Rat).Add(n, half)
	within := func(got interval) bool {
		return got.low != nil && got.high != nil && got.low.Cmp(least) >= 0 && got.high.Cmp(beyond) < 0
	}
	above := func(got interval) bool { return got.high == nil || got.high.Cmp(n) > 0 }
	below := func(got interval) bool { return got.low == nil || got.low.Cmp(n) < 0 }
	switch prefix {
	case "", "eq":
		return within, true
	case "ne":
		return func(got interval) bool { return !within(got) }, true
	case "gt":
		return above, true
	case "lt":
		return below, true
	case "ge":
		return func(got interval) bool { return above(got) || got.high.Cmp(n) == 0 && !got.beyond }, true
	case "le":
		return func(got interval) bool { return below(got) || got.low.Cmp(n) == 0 && !got.beyond }, true
	case "sa":
		return func(got interval) bool {
			return got.low != nil && (got.low.Cmp(n) > 0 || got.low.Cmp(n) == 0 && got.beyond)
		}, true
	case "eb":
		return func(got interval) bool {
			return got.high != nil && (got.high.Cmp(n) < 0 || got.high.Cmp(n) == 0 && got.beyond)
		}, true
	case "ap": // a tenth of the value, or its precision if that is more
		by := new(big.Rat).Abs(new(big.Rat).Quo(n, big.NewRat(10, 1)))
		if by.Cmp(half) < 0 {
			by = half
		}
		from, to := new(big.Rat).Sub(n, by), new(big.Rat).Add(n, by)
		return func(got interval) bool {
			return (got.high == nil || got.high.Cmp(from) >= 0) && (got.low == nil || got.low.Cmp(to) <= 0)
		}, true
	}
	return nil, false
}

// cutPrefix cuts a two-letter comparator off a number.
func cutPrefix(text string) (prefix, rest string) {
	if len(text) > 2 && text[0] >= 'a' && text[0] <= 'z' && text[1] >= 'a' && text[1] <= 'z' {
		return text[:2], text[2:]
	}
	return "", text
}

func notANumber(p *Parameter, written, form string) error {
	return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %q is not a %s; expected %s, with a prefix eq, ne, gt, lt, ge, le, sa, eb or ap before it", p.Name, written, p.Type, form)
}

// matchNumber parses a number with an optional prefix.
func matchNumber(p *Parameter, text string) (valueMatcher, error) {
	prefix, number := cutPrefix(literal(text))
	compare, ok := compareNumbers(prefix, number)
	if !ok {
		return nil, notANumber(p, text, "a number such as 100, 5.40 or 1e2")
	}
	return func(v any) bool {
		got, ok := intervalOf(v)
		return ok && compare(got)
	}, nil
}

// matchQuantity parses number, number|system|code and number||code, whose code may
// also be a unit. Units are compared as written, without conversion.
func matchQuantity(p *Parameter, text string) (valueMatcher, error) {
	parts := splitEscaped(text, '|')
	prefix, number := cutPrefix(literal(parts[0]))
	compare, ok := compareNumbers(prefix, number)
	if !ok || len(parts) == 2 || len(parts) > 3 {
		return nil, notANumber(p, text, "number, number|system|code or number||unit")
	}
	system, code := "", ""
	if len(parts) == 3 {
		system, code = literal(parts[1]), literal(parts[2])
	}
	return func(v any) bool {
		got, ok := intervalOf(v)
		return ok && compare(got) && (code == "" && system == "" || hasUnit(v, system, code))
	}, nil
}

// hasUnit reports whether a quantity, or the quantities in a Range or SampledData,
// has a unit.
func hasUnit(v any, system, code string) bool {
	o, _ := v.(*fhir.Object)
	switch {
	case o == nil:
		return false
	case o.Has("low"):
		return hasUnit(o.Object("low"), system, code)
	case o.Has("high"):
		return hasUnit(o.Object("high"), system, code)
	case o.Has("origin"):
		return hasUnit(o.Object("origin"), system, code)
	case o.Has("currency"): // Money
		return o.Text("currency") == code && (system == "" || system == "urn:iso:std:iso:4217")
	case system == "":
		return o.Text("code") == code || o.Text("unit") == code
	}
	return o.Text("system") == system && (code == "" || o.Text("code") == code)
}
