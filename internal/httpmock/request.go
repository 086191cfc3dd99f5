package httpmock

import (
	"math"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// duration parses the value of a member, a time such as "250ms" or "5s". It returns 0 for "",
// and the longest duration for one that is longer: whoever asks knows how long it may be.
func duration(member, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil && aDuration.MatchString(text) {
		return math.MaxInt64, nil
	}
	if err != nil {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a time such as 250ms or 5s", text).At(member)
	}
	return d, nil
}

// aDuration matches what package time reads, or would if it were not so long.
var aDuration = regexp.MustCompile(`^\+?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`)

func isSet(c echo.Context, name string) (bool, error) {
	switch v := c.QueryParam(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected true or false", v).At(name)
	}
}

// The largest numbers that are accepted, unless a route has a smaller limit.
const (
	maxCount = math.MaxInt32
	maxSeq   = 1<<53 - 1 // of a journal entry; JSON numbers beyond are not exact everywhere
)

// wholeNumber reads a parameter that is a whole number from least to most.
func wholeNumber(c echo.Context, name string, least, most, fallback int) (int, error) {
	text := c.QueryParam(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected a whole number from %d to %d", text, least, most).At(name)
	}
	return n, nil
}

// checkCount refuses a number that is not a count.
func checkCount(member string, n int) error {
	if n < 0 || n > maxCount {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected a whole number from 0 to %d", n, maxCount).At(member)
	}
	return nil
}
