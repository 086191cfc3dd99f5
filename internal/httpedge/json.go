// Package httpedge has what the routes of every kind share at the edge to HTTP.
package httpedge

import (
	"encoding/json"

	"github.com/labstack/echo/v4"
)

// WriteJSON writes body as JSON of a media type. Nothing may cache it. It leaves <, >
// and & as they are, which FHIR narratives are full of.
func WriteJSON(c echo.Context, status int, mediaType string, body any) error {
	h := c.Response().Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	c.Response().WriteHeader(status)
	encoder := json.NewEncoder(c.Response())
	encoder.SetEscapeHTML(false)
	return encoder.Encode(body)
}
