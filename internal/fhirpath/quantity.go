package fhirpath

import (
	"strings"

	"github.com/gofhir/fhirpath/types"
)

// calendarUnits has the words of FHIRPath for durations. Those up to a week have the same
// length as their UCUM units. A month and a year do not, so they are not converted.
var calendarUnits = map[string]string{
	"year": "year", "month": "month", "week": "wk", "day": "d", "hour": "h", "minute": "min", "second": "s", "millisecond": "ms",
}

func calendarUnit(unit string) (string, bool) {
	code, ok := calendarUnits[strings.TrimSuffix(unit, "s")]
	return code, ok
}

// inUCUM returns a quantity with a unit that the library knows.
func inUCUM(q types.Quantity) types.Quantity {
	if code, ok := calendarUnit(q.Unit()); ok {
		return types.NewQuantityFromDecimal(q.Value(), code)
	}
	return q
}

// quantityOf converts an item to a quantity: a quantity, or an object whose value is a
// number. Of an object it uses the code, and the unit, which is for people, only if there
// is no code. The library does the opposite.
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

// quantityText returns a quantity in the syntax of FHIRPath.
func quantityText(q types.Quantity) string {
	if _, calendar := calendarUnit(q.Unit()); calendar || q.Unit() == "" {
		return strings.TrimSpace(q.Value().String() + " " + q.Unit())
	}
	return q.Value().String() + " '" + q.Unit() + "'"
}
