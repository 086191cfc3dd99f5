package httpmock

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/scenario"
)

// Scenarios serves GET /mock/scenarios.
func (m *Mock) Scenarios(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	return writeRedacted(c, struct {
		Scenarios []scenario.Detail `json:"scenarios"`
	}{httpedge.Room(c).Scenarios().List()})
}

// Scenario serves GET /mock/scenarios/[name]: what it is, and how far.
func (m *Mock) Scenario(c echo.Context) (err error) {
	defer func() { err = hidden(c, err) }()
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	d, err := httpedge.Room(c).Scenarios().Get(c.Param("name"))
	if err != nil {
		return err
	}
	return writeRedacted(c, d)
}

// PutScenario serves PUT /mock/scenarios/[name], which defines a scenario.
func (m *Mock) PutScenario(c echo.Context) (err error) {
	defer func() { err = hidden(c, err) }()
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	d := &scenario.Definition{}
	if err := httpedge.ReadJSON(c, d); err != nil {
		return err
	}
	name := c.Param("name")
	if d.Name == "" {
		d.Name = name
	}
	if d.Name != name {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvariant, "got %.70q, but the address says %.70q", d.Name, name).At("name")
	}
	if err := httpedge.Room(c).Admit(); err != nil {
		return err
	}
	created, err := httpedge.Room(c).Scenarios().Put(d)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	detail, err := httpedge.Room(c).Scenarios().Get(name)
	if err != nil {
		return err
	}
	return writeRedactedAs(c, status, detail)
}

// StartScenario serves POST /mock/scenarios/[name], which starts a scenario, and may wait
// until it has ended.
func (m *Mock) StartScenario(c echo.Context) (err error) {
	defer func() { err = hidden(c, err) }()
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Parameters map[string]json.RawMessage `json:"parameters"`
		Wait       bool                       `json:"wait"`
		Timeout    string                     `json:"timeout"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if in.Timeout != "" && !in.Wait {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeInvariant, `a timeout goes with "wait": true only`).At("timeout")
	}
	timeout, err := awaitTime("timeout", in.Timeout, awaitMost) // a client may need several heartbeat periods
	if err != nil {
		return err
	}
	name, set := c.Param("name"), httpedge.Room(c).Scenarios()
	leave := httpedge.Stay(c)
	started, err := set.Start(name, in.Parameters, m.inside(c), leave)
	if err != nil {
		leave()
		return err
	}
	status := http.StatusAccepted
	if in.Wait {
		status = http.StatusOK
		open, leave := whileOpen(c)
		defer leave()
		ctx, cancel := context.WithTimeout(open, timeout)
		defer cancel()
		select {
		case <-started.Ended:
		case <-ctx.Done():
			if open.Err() != nil {
				return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the room closed while this request waited for the scenario %s", name)
			}
			run := started.Detail().Run
			return fhir.Refuse(http.StatusRequestTimeout, fhir.CodeTimeout, "the scenario %s has not ended within %s; it goes on, and is at %s: %s", name, timeout, run.Step, cmp.Or(run.WaitsFor, run.Note))
		}
	}
	return writeRedactedAs(c, status, started.Detail())
}

// StopScenario serves DELETE /mock/scenarios/[name]: it stops a scenario that runs, and
// removes one of the user's own that does not.
func (m *Mock) StopScenario(c echo.Context) (err error) {
	defer func() { err = hidden(c, err) }()
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	if err := httpedge.Room(c).Scenarios().Stop(c.Param("name")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// hidden returns a refusal without the secrets that it quotes from a scenario or an address:
// the scenario is shown without them as well.
func hidden(c echo.Context, err error) error {
	refused := fhir.AsError(err)
	if refused == nil {
		return err
	}
	hide := func(text string) string { return string(httpedge.Room(c).Redact([]byte(text))) }
	plain := &fhir.Error{Status: refused.Status, Issues: slices.Clone(refused.Issues)}
	for i, issue := range plain.Issues {
		plain.Issues[i].Diagnostics = hide(issue.Diagnostics)
		plain.Issues[i].Expression = slices.Clone(issue.Expression)
		for j, place := range issue.Expression {
			plain.Issues[i].Expression[j] = hide(place)
		}
	}
	return plain
}

// Restart serves POST /mock/restart: what clients see of a server that restarts.
func (m *Mock) Restart(c echo.Context) error {
	if err := httpedge.OnlyParameters(c); err != nil {
		return err
	}
	var in struct {
		Numbers string `json:"numbers"`
	}
	if err := httpedge.ReadJSON(c, &in); err != nil {
		return err
	}
	if in.Numbers != "kept" && in.Numbers != "anew" {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, `got %.40q, expected "kept" or "anew"`, in.Numbers).At("numbers")
	}
	r := httpedge.Room(c)
	done, err := r.Restart(in.Numbers == "anew", func() []string {
		closed := []string{}
		for _, state := range m.options.Sockets(r) {
			s := m.options.Socket(r, state.ID)
			if s != nil && s.CloseWith(1001, "the server restarts") == nil { // not one that closes already
				closed = append(closed, state.ID)
			}
		}
		return closed
	})
	if err != nil {
		return err
	}
	return writeJSON(c, done)
}

// inside returns what serves the requests of a scenario in the room of a request, with
// addresses as the client of this request has them.
func (m *Mock) inside(c echo.Context) scenario.Do {
	r, path, like := httpedge.Room(c), httpedge.Path(c), c.Request()
	host, remote, secure := strings.Clone(like.Host), strings.Clone(like.RemoteAddr), like.TLS
	forwarded := http.Header{}
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := like.Header.Get(name); v != "" {
			forwarded.Set(name, strings.Clone(v))
		}
	}
	return func(ctx context.Context, in scenario.Request) (int, []byte) {
		req, err := http.NewRequestWithContext(httpedge.Inside(ctx, r, in.By), in.Method, path+in.Path, bytes.NewReader(in.Body))
		if err != nil {
			return http.StatusBadRequest, []byte(err.Error())
		}
		req.Host, req.RemoteAddr, req.TLS, req.Header = host, remote, secure, forwarded.Clone()
		if len(in.Body) == 0 {
			req.Body = http.NoBody
		} else {
			req.Body = io.NopCloser(bytes.NewReader(in.Body))
			req.Header.Set("Content-Type", "application/json")
			if strings.HasPrefix(in.Path, "/fhir/") {
				req.Header.Set("Content-Type", httpedge.FHIRJSON)
			}
		}
		return m.serve(req)
	}
}

// serve serves a request in process. A handler that wants to break off the connection
// panics.
func (m *Mock) serve(r *http.Request) (status int, body []byte) {
	w := &inProcess{header: http.Header{}, status: http.StatusOK}
	defer func() {
		if why := recover(); why != nil {
			status, body = http.StatusInternalServerError, fmt.Appendf(nil, "the response broke off: %v", why)
		}
	}()
	m.options.Serve(w, r)
	return w.status, w.body.Bytes()
}

// inProcess is the response to a request in process.
type inProcess struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (w *inProcess) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *inProcess) WriteHeader(status int) { w.status = status }

// Write implements [http.ResponseWriter].
func (w *inProcess) Write(p []byte) (int, error) { return w.body.Write(p) }
