package search_test

import (
	"strings"
	"sync"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// "+" is a space where a space is possible, and the sign of a time zone in a date.
func TestParseQuery_PlusSigns(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{
		{"in a string", "Patient", `"name":[{"family":"van Gogh"}]`,
			`family=van+Gogh family=van%20Gogh Patient?family=van+Gogh&family:exact=van+Gogh`, `family=van%2BGogh`},
		{"literal", "Patient", `"telecom":[{"system":"phone","value":"+31 20"}]`, `phone=%2B31%2020 phone=%2B31+20`, `phone=+31+20`},
		{"in a date", "Observation", `"issued":"2026-01-01T10:00:00+02:00"`,
			`_lastUpdated:missing=true date:missing=true`, ``},
		{"in a date, encoded or not", "Observation", `"effectiveInstant":"2026-01-01T10:00:00+02:00"`,
			`date=2026-01-01T10:00:00+02:00 date=2026-01-01T10:00:00%2B02:00 date=2026-01-01T08:00:00Z`, `date=2026-01-01T10:00:00Z`},
		{"encoded as a whole", "Encounter", `"status":"planned"`, `status%3Dplanned status%3Anot%3Dcancelled`, `status%3Dcancelled`},
		{"what does not decode stays", "ValueSet", `"url":"http://a.org/100%"`, `url=http://a.org/100%`, `url=http://a.org/100`},
	})
}

// The union that defines date has a part without a type name. It applies only to
// Appointment.
func TestValues_OfAnExpressionWithoutType(t *testing.T) {
	t.Parallel()
	checkMatches(t, []wants{
		{"start", "Appointment", `"start":"2026-01-05T10:00:00Z","requestedPeriod":[{"start":"2026-02-01"}]`, `date=2026-01-05`, `date=2026-02-01`},
		{"requested", "Appointment", `"requestedPeriod":[{"start":"2026-02-01"},{"start":"2026-03-01"}]`, `date=2026-02-01 requested-period=ge2026-03`, `date=2026-03-01`},
		{"another type", "Encounter", `"actualPeriod":{"start":"2026-01-05","end":"2026-01-06"}`, `date=2026-01`, `date=2026-02`},
	})
}

func TestParseQuery_NamesTheNearestParameter(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"staus": "did you mean status?", "Status": "did you mean status?", "paitent": "did you mean patient?", "lastUpdated": "did you mean _lastUpdated?",
		"favouriteColour": "has no search parameter", strings.Repeat("x", 5000): "has no search parameter",
	} {
		_, err := r5.Query("Encounter", written+"=x")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %q", written, err, want)
		}
		if strings.HasPrefix(want, "has") && strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%.40s: %v is far from any parameter", written, err)
		}
	}
}

func TestParameters_OfAbstractAndUnknownTypes(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]bool{"Resource": true, "DomainResource": true, "Binary": true, "Encounter": true, "Encouter": false, "": false, "HumanName": false} {
		if _, ok := search.Lookup(fhir.R5, typ, "_id"); ok != want {
			t.Errorf("_id of %q: got %t, want %t", typ, ok, want)
		}
		if got := len(search.Parameters(fhir.R5, typ)); (got > 0) != want {
			t.Errorf("%q has %d parameters", typ, got)
		}
	}
	// Each type defines the name separately; a canonical belongs to one of them.
	if _, ok := search.Lookup(fhir.R5, "Encounter", "http://hl7.org/fhir/SearchParameter/Task-status"); ok {
		t.Error("the status of a Task is a parameter of Encounter")
	}
}

func TestPrefixes_OfAValue(t *testing.T) {
	t.Parallel()
	date, _ := search.Lookup(fhir.R5, "Encounter", "date")
	status, _ := search.Lookup(fhir.R5, "Encounter", "status")
	for value, want := range map[string]string{"ge2020,lt2010": "ge lt", "2020": "", "soon": "", "2020,ap2021": "ap", "": "", "ge": "ge"} {
		if got := strings.Join(date.Prefixes(value), " "); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
		if got := status.Prefixes(value); got != nil {
			t.Errorf("%q of a token: got %q", value, got)
		}
	}
}

// The tables load themselves on first use by any goroutine.
func TestLookup_IsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	res := parse(t, "Coverage", `"kind":"insurance","class":[{"type":{"coding":[{"code":"plan"}]},"value":{"value":"7"}}]`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for _, p := range search.Parameters(fhir.R5, "Coverage") {
				if same, _ := search.Lookup(fhir.R5, "Coverage", p.Name); same != p {
					t.Errorf("%s occurs twice", p.Name)
				}
				if p.Supported() {
					if _, err := p.Values(res); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkMatch(b *testing.B) {
	res := parse(b, "Encounter", `"status":"in-progress","subject":{"reference":"Patient/123"},"actualPeriod":{"start":"2026-01-10T08:00:00Z"},
		"type":[{"coding":[{"system":"http://snomed.info/sct","code":"270427003"}]}],"meta":{"lastUpdated":"2026-01-10T08:00:00Z"}`)
	for _, query := range []string{
		"status=in-progress", "status:not=planned", "patient=Patient/123", "type=http://snomed.info/sct|270427003", "date=ge2026", "status=in-progress&patient=Patient/123",
	} {
		b.Run(query, func(b *testing.B) {
			q, refused := r5.Query("Encounter", query)
			if refused != nil {
				b.Fatal(refused)
			}
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := q.Match(res); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
	b.Run("through the engine", func(b *testing.B) {
		patient := parse(b, "Patient", `"deceasedBoolean":true`)
		q, refused := r5.Query("Patient", "deceased=true")
		if refused != nil {
			b.Fatal(refused)
		}
		b.ReportAllocs()
		for b.Loop() {
			if ok, err := q.Match(patient); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}
