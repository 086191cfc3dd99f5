package synth

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fhir"
)

// Spec describes a generator.
type Spec struct {
	Name     string `json:"name"`     // prefix of the ids it writes; letters, digits and -, at most 40
	Scenario string `json:"scenario"` // one of [Scenarios]
	Rate     string `json:"rate"`     // writes per unit of time: "10/min", "2/s", "30/h"; or the interval: "500ms". "": 10/min
	Patients int    `json:"patients"` // size of the pool; 0: 8
	Seed     uint64 `json:"seed"`     // the same seed gives the same sequence
	Running  bool   `json:"running"`  // write on the clock; otherwise only when stepped
	// Releases are the releases it writes to, such as "R4"; none: the newest of the server.
	Releases []string `json:"releases,omitempty"`
}

// The limits of a generator.
const (
	DefaultRate      = "10/min"
	DefaultPatients  = 8
	MaxPatients      = 1000
	MaxPatientsInAll = 10_000           // of the generators of a set
	minInterval      = time.Millisecond // 1000/s
	maxInterval      = time.Hour        // 1/h
)

var generatorName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?$`)

// Check returns everything that is wrong with the spec, each issue with its member as
// the expression, or nil if the spec is valid.
func (s Spec) Check() error {
	var refused error
	add := func(member string, err error) {
		if err != nil {
			refused = fhir.Join(refused, fhir.At(err, member))
		}
	}
	if !generatorName.MatchString(s.Name) {
		add("name", fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected 1 to 40 letters, digits and hyphens, with no hyphen at an end", s.Name))
	}
	if _, ok := findScenario(s.Scenario); !ok {
		add("scenario", fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "there is no scenario %q; the scenarios are %s", s.Scenario, strings.Join(Scenarios(), ", ")))
	}
	if s.Patients < 0 || s.Patients > MaxPatients {
		add("patients", fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected 1 to %d, or 0 for %d", s.Patients, MaxPatients, DefaultPatients))
	}
	for _, name := range s.Releases {
		if _, ok := fhir.ParseRelease(name); !ok {
			add("releases", fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected one of %v", name, fhir.Releases))
		}
	}
	_, err := interval(s.Rate)
	add("rate", err)
	return refused
}

// withDefaults fills in the members that the spec omits.
func (s Spec) withDefaults() Spec {
	if s.Rate == "" {
		s.Rate = DefaultRate
	}
	if s.Patients == 0 {
		s.Patients = DefaultPatients
	}
	return s
}

// interval returns the time between two writes at a rate.
func interval(rate string) (time.Duration, error) {
	if rate == "" {
		rate = DefaultRate
	}
	refuse := func(expected string) (time.Duration, error) {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got rate %q, expected %s", rate, expected)
	}
	const form = `writes per unit of time such as "10/min", "2/s" or "30/h", or an interval such as "500ms"`
	var between time.Duration
	if count, unit, ok := strings.Cut(rate, "/"); ok {
		per, known := map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour}[unit]
		n, err := strconv.ParseFloat(count, 64)
		if err != nil || !known || !(n > 0) || strings.ContainsAny(count, "_xX") { // as Go writes numbers
			return refuse(form)
		}
		// In floating point first: a tiny n must not overflow the conversion.
		nanoseconds := float64(per) / n
		if nanoseconds > float64(maxInterval)*(1+1e-9) {
			return refuse("at least 1/h")
		}
		between = time.Duration(nanoseconds)
	} else {
		var err error
		if between, err = time.ParseDuration(rate); err != nil || between <= 0 {
			return refuse(form)
		}
	}
	switch {
	case between < minInterval:
		return refuse("at most 1000/s")
	case between > maxInterval:
		return refuse("at least 1/h")
	}
	return between, nil
}
