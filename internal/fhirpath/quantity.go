package fhirpath

import (
	"strings"

	"github.com/gofhir/fhirpath/types"
)

// calendarUnits are the words FHIRPath has for durations. Those up to a week are
// as long as their units of UCUM; of a month and a year that is not so, which stay
// what they are.
var calendarUnits = map[string]string{
	"year": "year", "month": "month", "week": "wk", "day": "d", "hour": "h", "minute": "min", "second": "s", "millisecond": "ms",
}

func calendarUnit(unit string) (string, bool) {
	code, ok := calendarUnits[strings.TrimSuffix(unit, "s")]
	return code, ok
}

// inUCUM is a quantity with a unit the library knows.
func inUCUM(q types.Quantity) types.Quantity {
	if code, ok := calendarUnit(q.Unit()); ok {
		return types.NewQuantityFromDecimal(q.Value(), code)
	}
	return q
}

// quantityOf is an item as a quantity: one itself, or an object that has a number
// for its value. Of an object the code counts, and its unit, which is for people,
// only where there is none; the library does the opposite.
func quantityOf(item types.Value) (types.Quantity, bool) {
	switch v := item.(type) {
	case types.Quantity:
		return inUCUM(v), true
	case *types.ObjectValue:
		q, ok := v.ToQuantity()
		if code := member(v, "code"); ok && code != "" {
			q = types.NewQuantityFromDecimal(q.Value(), code)
		}
		return q, ok
	}
	return types.Quantity{}, false
}

// quantityText writes a quantity as FHIRPath reads it.
func quantityText(q types.Quantity) string {
	if _, calendar := calendarUnit(q.Unit()); calendar || q.Unit() == "" {
		return strings.TrimSpace(q.Value().String() + " " + q.Unit())
	}
	return q.Value().String() + " '" + q.Unit() + "'"
}
