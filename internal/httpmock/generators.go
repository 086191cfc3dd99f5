package httpmock

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/synth"
)

// Generators serves GET /mock/generators.
func (m *Mock) Generators(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeJSON(c, struct {
		Generators []synth.State `json:"generators"`
		Scenarios  []string      `json:"scenarios"`
	}{httpedge.Room(c).Generators().List(), synth.Scenarios()})
}

// AddGenerator serves POST /mock/generators.
func (m *Mock) AddGenerator(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var spec synth.Spec
	if err := httpedge.ReadJSON(c, &spec); err != nil {
		return err
	}
	if err := httpedge.Room(c).Admit(); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().Add(spec); err != nil {
		return err
	}
	return m.generator(c, http.StatusCreated, spec.Name)
}

// ChangeGenerator serves PATCH /mock/generators/[name], which changes the rate.
func (m *Mock) ChangeGenerator(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Rate string `json:"rate"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().SetRate(c.Param("name"), in.Rate); err != nil {
		return err
	}
	return m.generator(c, http.StatusOK, c.Param("name"))
}

// RemoveGenerator serves DELETE /mock/generators/[name].
func (m *Mock) RemoveGenerator(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().Remove(c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// StartGenerator serves POST /mock/generators/[name]/start.
func (m *Mock) StartGenerator(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().Start(c.Param("name")); err != nil {
		return err
	}
	return m.generator(c, http.StatusOK, c.Param("name"))
}

// StopGenerator serves POST /mock/generators/[name]/stop.
func (m *Mock) StopGenerator(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().Stop(c.Param("name")); err != nil {
		return err
	}
	return m.generator(c, http.StatusOK, c.Param("name"))
}

// StepGenerator serves POST /mock/generators/[name]/step, which makes some writes at once.
func (m *Mock) StepGenerator(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	in := struct {
		Count int `json:"count"`
	}{1}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if err := httpedge.Room(c).Generators().Step(c.Param("name"), in.Count); err != nil {
		return err
	}
	return m.generator(c, http.StatusOK, c.Param("name"))
}

func (m *Mock) generator(c echo.Context, status int, name string) error {
	for _, state := range httpedge.Room(c).Generators().List() {
		if state.Name == name {
			return httpedge.WriteJSON(c, status, "application/json", state)
		}
	}
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no generator %q", name)
}
