package httpmock

import (
	"github.com/labstack/echo/v4"

	"signalfhir/internal/httpedge"
	"signalfhir/internal/manners"
)

// Manners serves GET /mock/manners: what is on, and what there is.
func (m *Mock) Manners(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeManners(c)
}

func writeManners(c echo.Context) error {
	r := httpedge.Room(c)
	var on manners.Manners
	if now := r.Manners(); now != nil {
		on = *now
	}
	return writeJSON(c, struct {
		Name     string           `json:"name"`
		On       manners.Manners  `json:"on"`
		Servers  []manners.Server `json:"servers"`
		Switches []manners.Switch `json:"switches"`
	}{r.MannersName(), on, manners.Servers(), manners.Switches()})
}

// SetManners serves PUT /mock/manners.
func (m *Mock) SetManners(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in manners.Choice
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if err := httpedge.Room(c).SetManners(in); err != nil {
		return err
	}
	return writeManners(c)
}
