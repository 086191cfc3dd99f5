package httpedge

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// Normalize gives an address that can be written in several ways one form: %24status
// is $status (OP-16; Echo would route the raw path), one trailing slash is dropped
// unless a route has it, and a ; in a query is a character like others (net/url would
// drop the parameter that has one).
func (e *Edge) Normalize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.RawPath = ""
		u.RawQuery = strings.ReplaceAll(u.RawQuery, ";", "%3B")
		read := c.Request().Method == http.MethodGet || c.Request().Method == http.MethodHead
		if len(u.Path) > 1 && strings.HasSuffix(u.Path, "/") && !(read && e.endsInSlash(u.Path)) {
			u.Path = strings.TrimSuffix(u.Path, "/")
		}
		// What can be read can be asked for without its body (OP-13). Echo does not
		// map HEAD to GET; net/http drops the body of a HEAD by itself.
		if c.Request().Method == http.MethodHead {
			c.Request().Method = http.MethodGet
			c.Response().Writer = headWriter{c.Response().Writer}
		}
		return next(c)
	}
}

// endsInSlash reports whether the route of a path ends in a slash itself, as the
// page of a room does.
func (e *Edge) endsInSlash(path string) bool {
	c := e.echo.NewContext(nil, nil)
	e.areas.Find(http.MethodGet, path, c)
	return strings.HasSuffix(c.Path(), "/")
}

// headWriter writes the response to a GET without its body.
type headWriter struct{ http.ResponseWriter }

func (w headWriter) Write(b []byte) (int, error) { return len(b), nil }

// Unwrap lets [http.ResponseController] reach the connection.
func (w headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// IsHead reports whether a request is a HEAD, which handlers see as a GET.
func IsHead(c echo.Context) bool {
	for w := c.Response().Writer; ; {
		if _, head := w.(headWriter); head {
			return true
		}
		outer, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return false
		}
		w = outer.Unwrap()
	}
}
