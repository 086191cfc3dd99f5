package httpedge

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// ReadJSON reads the JSON body of a control route into a struct; an empty body leaves it
// as it is. It refuses an unknown member, which is most likely a misspelt one.
func ReadJSON(c echo.Context, into any) error {
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

// inWords returns how a member of a type is written.
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
