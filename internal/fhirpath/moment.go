package fhirpath

import (
	"fmt"
	"time"

	"github.com/gofhir/fhirpath/types"
)

// moment is a date, a dateTime or a time. It is a span of time, since it may have only a
// year. The library does not compare moments of different types or precisions.
type moment struct {
	start, end time.Time // the end is not within it
	precision  types.DateTimePrecision
	zoned      bool // has an offset from UTC
	clock      bool // a time, of no day
	day        bool // a date, which cannot have an offset
}

// momentOf converts a temporal item. Without an offset it is taken as UTC.
func momentOf(item types.Value) (m moment, ok bool) {
	switch v := item.(type) {
	case types.Date:
		m = moment{start: v.ToTime(), precision: types.DateTimePrecision(v.Precision()), day: true}
	case types.DateTime:
		m = moment{start: v.ToTime().UTC(), precision: v.Precision(), zoned: v.HasTZ()}
	case types.Time:
		start := time.Date(0, 1, 1, v.Hour(), v.Minute(), v.Second(), v.Millisecond()*int(time.Millisecond), time.UTC)
		m = moment{start: start, precision: types.DTHourPrecision + types.DateTimePrecision(v.Precision()), clock: true}
	default:
		return m, false
	}
	switch m.precision {
	case types.DTYearPrecision:
		m.end = m.start.AddDate(1, 0, 0)
	case types.DTMonthPrecision:
		m.end = m.start.AddDate(0, 1, 0)
	case types.DTDayPrecision:
		m.end = m.start.AddDate(0, 0, 1)
	case types.DTHourPrecision:
		m.end = m.start.Add(time.Hour)
	case types.DTMinutePrecision:
		m.end = m.start.Add(time.Minute)
	default: // seconds with or without a fraction are of one precision
		m.precision = types.DTSecondPrecision
		m.end = m.start.Add(time.Millisecond)
	}
	return m, true
}

// key returns the same text for moments that are certainly equal.
func (m moment) key() string {
	return fmt.Sprintf("moment %d %d %t %t", m.start.UnixMilli(), m.precision, m.zoned, m.clock)
}

// compare orders two moments. known is false if the order depends on parts that a moment
// does not have.
func (m moment) compare(o moment) (order int, known bool) {
	switch {
	case m.precision == o.precision:
		return m.start.Compare(o.start), true
	case !m.end.After(o.start):
		return -1, true
	case !m.start.Before(o.end):
		return 1, true
	}
	return 0, false
}

// Offsets from UTC are from -12 to +14 hours.
const farthestEast, farthestWest = 14 * time.Hour, 12 * time.Hour

// equal reports whether two moments are the same. known is false if that depends on parts
// that a moment does not have: finer ones, or the offset if only one of them has it.
func (m moment) equal(o moment) (same, known bool) {
	if m.clock != o.clock || m.zoned && o.day || m.day && o.zoned {
		return false, true
	}
	if m.zoned == o.zoned {
		order, known := m.compare(o)
		return known && order == 0, known
	}
	local, fixed := m, o
	if m.zoned {
		local, fixed = o, m
	}
	couldBe := local.start.Add(-farthestEast).Before(fixed.end) && fixed.start.Before(local.end.Add(farthestWest))
	return false, !couldBe
}
