package httpmock

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
)

// openapi describes the routes below /mock and /rooms. Each answer has in it the
// addresses of its room in the place of these:
//
//	http://room.example    root URL of the room
//	http://server.example  root URL of the server
//	0.0.0                  version of the server
//
//go:embed openapi.json
var openapi []byte

// OpenAPI serves GET /mock/openapi.json. The addresses in it are absolute: a relative one
// could not lead from every room to /rooms, and clients disagree on how a path is
// appended to it.
func (m *Mock) OpenAPI(c echo.Context) error {
	if err := takesNothing(c); err != nil {
		return err
	}
	room := httpedge.Root(c)
	description := openapi
	for placeholder, value := range map[string]string{
		"http://room.example":   room,
		"http://server.example": strings.TrimSuffix(room, httpedge.Path(c)),
		"0.0.0":                 m.options.Version,
	} {
		quoted, err := json.Marshal(value)
		if err != nil {
			return err
		}
		description = bytes.ReplaceAll(description, []byte(`"`+placeholder+`"`), quoted)
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Blob(http.StatusOK, "application/json", description)
}

// indexed is a route as the index has it.
type indexed struct {
	Method  string `json:"method"`
	URL     string `json:"url"`
	Summary string `json:"summary"`
}

// routes reads the description: its routes without a parameter in the path, in order.
var routes = sync.OnceValues(func() ([]indexed, *fhir.Error) {
	description, err := fhir.Parse(openapi)
	if err != nil {
		return nil, err
	}
	var list []indexed
	paths := description.Object("paths")
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
	return list, nil
})

// Index serves GET /mock: where the description of the routes is, and the main routes.
func (m *Mock) Index(c echo.Context) error {
	if err := takesNothing(c); err != nil {
		return err
	}
	known, refused := routes()
	if refused != nil {
		return refused
	}
	room := httpedge.Root(c)
	list := make([]indexed, len(known))
	for i, r := range known {
		root := room
		if strings.HasPrefix(r.URL, "/rooms") { // which no room has
			root = strings.TrimSuffix(room, httpedge.Path(c))
		}
		list[i] = indexed{r.Method, root + r.URL, r.Summary}
	}
	return writeJSON(c, struct {
		About   string    `json:"about"`
		Version string    `json:"version"`
		URL     string    `json:"url"`
		OpenAPI string    `json:"openapi"`
		Routes  []indexed `json:"routes"`
	}{"the control API of signalfhir, a development server for FHIR subscriptions", m.options.Version, room, room + "/mock/openapi.json", list})
}
