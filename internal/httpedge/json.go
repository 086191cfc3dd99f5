package httpedge

import (
	"encoding/json"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// FHIRJSON is the media type of FHIR resources.
const FHIRJSON = "application/fhir+json"

// WriteJSON writes body as JSON of a media type. It leaves <, > and & as they are, which
// FHIR narratives are full of.
func WriteJSON(c echo.Context, status int, mediaType string, body any) error {
	c.Response().Header().Set("Content-Type", mediaType)
	c.Response().WriteHeader(status)
	encoder := json.NewEncoder(c.Response())
	encoder.SetEscapeHTML(false)
	return encoder.Encode(body)
}

// WriteFHIR writes a FHIR resource, indented if the request has _pretty. It names the
// FHIR version if the request's Accept does.
func WriteFHIR(c echo.Context, status int, resource fhir.Body) error {
	if pretty := c.QueryParam("_pretty"); pretty == "true" || pretty == "" && c.QueryParams().Has("_pretty") {
		resource = fhir.Whole(fhir.Indent(resource.Bytes()))
	}
	kind := FHIRJSON + "; charset=utf-8"
	if strings.Contains(c.Request().Header.Get("Accept"), "fhirVersion=") {
		release, _ := fhir.ParseRelease(c.Param("release"))
		kind += "; fhirVersion=" + release.Version()[:3]
	}
	c.Response().Header().Set("Content-Type", kind)
	c.Response().WriteHeader(status)
	for _, part := range resource {
		if _, err := c.Response().Write(part); err != nil {
			return err
		}
	}
	return nil
}
