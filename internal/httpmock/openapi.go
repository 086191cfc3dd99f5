package httpmock

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
)

// openapi describes the routes below /mock and /rooms. Each response has the root URL of
// its room in the place of http://room.example, and the version of the server in the place
// of 0.0.0.
//
//go:embed openapi.json
var openapi []byte

// description is the description as it is served.
type description struct {
	document []byte
	index    []indexed // the routes without a parameter in the path, in order
}

// described returns the description in the default room and in others. No other room has
// /rooms: rooms are not inside each other.
var described = sync.OnceValues(func() (inDefault, inOther description) {
	document, err := fhir.Parse(openapi)
	if err != nil {
		panic("httpmock: openapi.json: " + err.Error()) // it is part of the program
	}
	inDefault = description{openapi, index(document)}
	paths := document.Object("paths")
	for _, path := range paths.Names() {
		if path == "/rooms" || strings.HasPrefix(path, "/rooms/") {
			paths.Delete(path)
		}
	}
	return inDefault, description{document.AppendJSON(nil), index(document)}
})

// descriptionFor returns the description in the room of a request.
func descriptionFor(c echo.Context) description {
	inDefault, inOther := described()
	if httpedge.Path(c) == "" {
		return inDefault
	}
	return inOther
}

// OpenAPI serves GET /mock/openapi.json. The addresses in it are absolute: clients
// disagree on how a path is appended to a relative one.
func (m *Mock) OpenAPI(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	document := descriptionFor(c).document
	for placeholder, value := range map[string]string{"http://room.example": httpedge.Root(c), "0.0.0": m.options.Version} {
		quoted, err := json.Marshal(value)
		if err != nil {
			return err
		}
		document = bytes.ReplaceAll(document, []byte(`"`+placeholder+`"`), quoted)
	}
	return c.Blob(http.StatusOK, "application/json", document)
}

// indexed is a route as the index has it.
type indexed struct {
	Method  string `json:"method"`
	URL     string `json:"url"`
	Summary string `json:"summary"`
}

// index lists the routes of a description that have no parameter in the path, in order.
func index(document *fhir.Object) []indexed {
	var list []indexed
	paths := document.Object("paths")
	for _, path := range paths.Names() {
		if strings.Contains(path, "{") {
			continue
		}
		for _, method := range paths.Object(path).Names() {
			if operation := paths.Object(path).Object(method); operation != nil {
				list = append(list, indexed{strings.ToUpper(method), path, operation.Text("summary")})
			}
		}
	}
	return list
}

// Index serves GET /mock: where the description of the routes is, and the main routes.
func (m *Mock) Index(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	room := httpedge.Root(c)
	list := slices.Clone(descriptionFor(c).index)
	for i := range list {
		list[i].URL = room + list[i].URL
	}
	return writeJSON(c, struct {
		About   string    `json:"about"`
		Version string    `json:"version"`
		URL     string    `json:"url"`
		OpenAPI string    `json:"openapi"`
		Routes  []indexed `json:"routes"`
	}{"the control API of signalfhir, a development server for FHIR subscriptions", m.options.Version, room, room + "/mock/openapi.json", list})
}
