package httpmock

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// control reads the JSON body of a control route strictly, so that a misspelt
// member is told and not ignored.
func control(c echo.Context, into any) error {
	decoder := json.NewDecoder(c.Request().Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == io.EOF { //nolint:errorlint // Decode serves io.EOF itself for an empty body
		return nil
	}
	if err == nil && decoder.More() {
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body has more than one JSON value")
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field == "" {
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body is a JSON %s, expected an object", wrong.Value)
	}
	if wrong != nil {
		return fhir.Refuse(http.StatusBadRequest, "value", "got a JSON %s, expected %s", wrong.Value, inWords(wrong.Type)).At(wrong.Field)
	}
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return err
		}
		return fhir.Refuse(http.StatusBadRequest, "structure", "the body could not be read: %v", err)
	}
	return nil
}

// inWords is what a member of a type is written as.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	default:
		return "an object"
	}
}

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
