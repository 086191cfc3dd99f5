package search

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"signalfhir/internal/fhir"
)

// span is a half-open range of time: it includes from and excludes to. An open end
// is earliest or latest.
type span struct{ from, to time.Time }

// earliest and latest are beyond every date that can be written, even 0001 and 9999.
var (
	earliest = time.Date(-1, time.January, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(20000, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// parseSpan parses a date of any precision as the time it covers. A time without
// zone is in UTC.
func parseSpan(text string) (span, bool) {
	layout, next := "", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }
	switch n := len(text); {
	case n == len("2006"):
		layout, next = "2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }
	case n == len("2006-01"):
		layout, next = "2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }
	case n <= len("2006-01-02"):
		layout = "2006-01-02"
	default:
		layout = "2006-01-02T15:04"
		unit, rest := time.Minute, text[min(n, len(layout)):]
		if strings.HasPrefix(rest, ":") {
			// time.Parse accepts a fraction after any seconds.
			layout, unit = layout+":05", time.Second
			if _, fraction, ok := strings.Cut(rest, "."); ok {
				// Some writers omit trailing zeros: a fraction has the precision of a
				// millisecond, or less if it has more digits.
				digits := len(fraction) - len(strings.TrimLeft(fraction, "0123456789"))
				unit = time.Millisecond
				for ; digits > 3 && unit > 1; digits-- {
					unit /= 10
				}
			}
		}
		if strings.ContainsAny(rest, "Z+-") {
			layout += "Z07:00"
		}
		next = func(t time.Time) time.Time { return t.Add(unit) }
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return span{}, false
	}
	return span{t, next(t)}, true
}

// spanOf returns the time that a value covers: a date, dateTime, instant, Period or
// Timing. For a Timing, the bounds or else the events count.
func spanOf(v any) (span, bool) {
	switch v := v.(type) {
	case string:
		return parseSpan(v)
	case *fhir.Object:
		s := span{earliest, latest}
		if text := v.Text("start"); text != "" {
			start, ok := parseSpan(text)
			if !ok {
				return span{}, false
			}
			s.from = start.from
		}
		if text := v.Text("end"); text != "" {
			end, ok := parseSpan(text)
			if !ok {
				return span{}, false
			}
			s.to = end.to
		}
		if v.Has("start") || v.Has("end") {
			return s, true
		}
		if bounds := v.Object("repeat").Object("boundsPeriod"); bounds != nil {
			return spanOf(bounds) // only the outer limits of a schedule count
		}
		found := false
		for _, event := range v.Array("event") {
			if at, ok := spanOf(event); ok {
				if !found || at.from.Before(s.from) {
					s.from = at.from
				}
				if !found || at.to.After(s.to) {
					s.to = at.to
				}
				found = true
			}
		}
		return s, found
	}
	return span{}, false
}

// prefixes lists the comparators of dates, numbers and quantities.
var prefixes = []string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}

// Comparators returns all comparators.
func Comparators() []string { return slices.Clone(prefixes) }

// Prefixes returns the comparators in a search value of the parameter, which precede
// its alternatives, as in "ge2020,lt2010". It returns none for a parameter whose
// values have no order.
func (p *Parameter) Prefixes(value string) []string {
	var found []string
	if !p.ordered() {
		return nil
	}
	for _, alternative := range splitEscaped(value, ',') {
		if len(alternative) >= 2 && slices.Contains(prefixes, alternative[:2]) {
			found = append(found, alternative[:2])
		}
	}
	return found
}

// matchDate parses a date with an optional prefix and compares it as a range of
// time: "2026" equals every date inside that year.
func matchDate(p *Parameter, text string) (valueMatcher, error) {
	prefix, written := "eq", text
	if len(text) > 2 && text[0] >= 'a' && text[0] <= 'z' {
		prefix, text = text[:2], text[2:]
	}
	wanted, ok := parseSpan(literal(text))
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: %q is not a date; expected a date such as 2026, 2026-01-31 or 2026-01-31T10:00:00Z, with a prefix eq, ne, gt, lt, ge, le, sa, eb or ap before it", p.Name, written)
	}
	compare, ok := map[string]func(got span) bool{
		"eq": func(got span) bool { return within(got, wanted) },
		"ne": func(got span) bool { return !within(got, wanted) },
		"gt": func(got span) bool { return got.to.After(wanted.to) },
		"lt": func(got span) bool { return got.from.Before(wanted.from) },
		"ge": func(got span) bool { return within(got, wanted) || got.to.After(wanted.to) },
		"le": func(got span) bool { return within(got, wanted) || got.from.Before(wanted.from) },
		"sa": func(got span) bool { return !got.from.Before(wanted.to) },
		"eb": func(got span) bool { return !got.to.After(wanted.from) },
		"ap": func(got span) bool { return overlaps(got, widened(wanted)) },
	}[prefix]
	if !ok {
		return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeValue, "%s: unknown prefix in %q; expected eq, ne, gt, lt, ge, le, sa, eb or ap", p.Name, written)
	}
	return func(v any) bool {
		got, ok := spanOf(v)
		return ok && compare(got)
	}, nil
}

func within(got, wanted span) bool {
	return !got.from.Before(wanted.from) && !got.to.After(wanted.to)
}

func overlaps(a, b span) bool {
	return a.from.Before(b.to) && a.to.After(b.from)
}

// widened makes a span approximate: longer at both ends by a day, or by a tenth of
// its length if that is more.
func widened(s span) span {
	by := max(24*time.Hour, s.to.Sub(s.from)/10)
	return span{s.from.Add(-by), s.to.Add(by)}
}
