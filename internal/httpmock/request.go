package httpmock

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// duration reads a time such as "250ms" or "5s", the value of a member; "" is
// none.
func duration(member, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected a time such as 250ms or 5s", text).At(member)
	}
	return d, nil
}

// onlyParameters refuses a parameter that means nothing: it is most likely a
// misspelt one, and the answer not what was asked for.
func onlyParameters(c echo.Context, known ...string) error {
	for name := range c.QueryParams() {
		if !slices.Contains(known, name) {
			return fhir.Refuse(http.StatusBadRequest, "not-supported", "there is no such parameter; known are %s", strings.Join(known, ", ")).At(name)
		}
	}
	return nil
}

func isSet(c echo.Context, name string) (bool, error) {
	switch v := c.QueryParam(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected true or false", v).At(name)
	}
}

// whole reads a parameter that is a whole number from least on.
func whole(c echo.Context, name string, least, fallback int) (int, error) {
	text := c.QueryParam(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		return 0, fhir.Refuse(http.StatusBadRequest, "value", "got %q, expected a whole number from %d on", text, least).At(name)
	}
	return n, nil
}
