package httpedge

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

const (
	cacheControl = "Cache-Control"
	noStore      = "no-store"
)

// NoStore lets nobody cache a response, unless its handler says otherwise with
// [Revalidate]. Without a word about it, a browser invents a lifetime for what has a
// Last-Modified, and shows old state.
func NoStore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(cacheControl, noStore)
		return next(c)
	}
}

// Revalidate lets caches keep a response that has an ETag. They have to ask before they
// use it.
func Revalidate(h http.Header) { h.Set(cacheControl, "no-cache") }
