package invariant

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fhir"
)

// ordered evaluates that one time is not after another. They may have different
// precision, and only one may have a zone: the rule is broken if no reading holds.
func ordered(f *focus, first, second string) verdict {
	a, okA := readTime(f.object.Text(first))
	b, okB := readTime(f.object.Text(second))
	if !okA || !okB {
		return holds // one of them is missing
	}
	if a.zoned != b.zoned {
		// A day begins 14 hours east of Greenwich and ends 12 hours west of it.
		a, b = a.anywhere(), b.anywhere()
	}
	return is(!a.from.After(b.last()))
}

// span is the time covered by a date, dateTime or instant of any precision.
type span struct {
	from, to time.Time // to is exclusive
	zoned    bool
}

func (s span) last() time.Time { return s.to.Add(-1) }

func (s span) anywhere() span {
	if !s.zoned {
		s.from, s.to = s.from.Add(-14*time.Hour), s.to.Add(12*time.Hour)
	}
	return s
}

func readTime(text string) (s span, ok bool) {
	var err error
	switch len(text) {
	case 4:
		s.from, err = time.Parse("2006", text)
		s.to = s.from.AddDate(1, 0, 0)
	case 7:
		s.from, err = time.Parse("2006-01", text)
		s.to = s.from.AddDate(0, 1, 0)
	case 10:
		s.from, err = time.Parse("2006-01-02", text)
		s.to = s.from.AddDate(0, 0, 1)
	default:
		s.zoned = true
		if len(text) > 19 && text[17:19] == "60" { // a leap second, which time.Parse rejects
			text = text[:17] + "59" + text[19:]
		}
		s.from, err = time.Parse(time.RFC3339Nano, text)
		s.to = s.from.Add(precision(text))
	}
	return s, err == nil
}

// precision returns the unit of the last digit of the seconds.
func precision(text string) time.Duration {
	unit := time.Second
	if _, fraction, ok := strings.Cut(text, "."); ok {
		for i := 0; i < len(fraction) && fraction[i] >= '0' && fraction[i] <= '9' && unit > 1; i++ {
			unit /= 10
		}
	}
	return unit
}

// ascending evaluates that one Quantity is not above another. Without unit conversion it
// only compares those in the same unit. If the rule uses the boundaries of the values,
// each may be half a digit off because of rounding.
func ascending(f *focus, low, high string, rounded bool) verdict {
	a, b := f.object.Object(low), f.object.Object(high)
	for _, name := range []string{"system", "code"} {
		if a.Text(name) != b.Text(name) {
			return holds
		}
	}
	if !a.Has("code") && a.Text("unit") != b.Text("unit") {
		return holds
	}
	x, roundX, okX := number(a)
	y, roundY, okY := number(b)
	if !okX || !okY {
		return holds
	}
	if rounded {
		x, y = x-roundX, y+roundY
	}
	return is(x <= y)
}

// number returns the value of a Quantity and half the unit of its last digit.
func number(o *fhir.Object) (value, rounding float64, ok bool) {
	text, ok := o.Get("value").(json.Number)
	if !ok {
		return 0, 0, false
	}
	value, err := strconv.ParseFloat(string(text), 64)
	rounding = 0.5
	digits, exponent, _ := strings.Cut(strings.ToLower(string(text)), "e")
	_, fraction, hasFraction := strings.Cut(digits, ".")
	switch {
	case exponent != "" || !hasFraction:
		rounding = 0 // a whole number is exact
	default:
		for range fraction {
			rounding /= 10
		}
	}
	return value, rounding, err == nil
}
