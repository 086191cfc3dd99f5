package httpmock

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
)

// Faults serves GET /mock/faults.
func (m *Mock) Faults(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeFaults(c, http.StatusOK)
}

// writeFaults writes the faults of the room with their counts.
func writeFaults(c echo.Context, status int) error {
	return httpedge.WriteJSON(c, status, "application/json", struct {
		Faults []fault.State `json:"faults"`
	}{httpedge.Room(c).Faults().List()})
}

// SetFaults serves PUT /mock/faults, which replaces the list.
func (m *Mock) SetFaults(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Faults *[]fault.Fault `json:"faults"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if in.Faults == nil {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeRequired, `expected the list of all faults, {"faults":[…]}; an empty list removes them`).At("faults")
	}
	if err := httpedge.Room(c).Admit(); err != nil {
		return err
	}
	if err := httpedge.Room(c).Faults().Put(*in.Faults, "faults"); err != nil {
		return err
	}
	return writeFaults(c, http.StatusOK)
}

// AddFaults serves POST /mock/faults, which adds a fault or a list of them.
func (m *Mock) AddFaults(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		fault.Fault
		Faults *[]fault.Fault `json:"faults"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	faults, member := []fault.Fault{in.Fault}, ""
	if in.Faults != nil {
		if in.Fault != (fault.Fault{}) {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvariant, "expected either one fault or a list in faults, got both").At("faults")
		}
		faults, member = *in.Faults, "faults"
	}
	if err := httpedge.Room(c).Admit(); err != nil {
		return err
	}
	if err := httpedge.Room(c).Faults().Add(faults, member); err != nil {
		return err
	}
	return writeFaults(c, http.StatusCreated)
}

// ClearFaults serves DELETE /mock/faults.
func (m *Mock) ClearFaults(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Faults().Remove(""); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// RemoveFault serves DELETE /mock/faults/[name].
func (m *Mock) RemoveFault(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Faults().Remove(c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
