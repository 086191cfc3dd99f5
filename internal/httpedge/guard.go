package httpedge

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"signalfhir/internal/fhir"
)

// GuardHost refuses requests whose Host is not an address of this server. A page that
// rebinds its name to 127.0.0.1 could otherwise read and steer it.
func (e *Edge) GuardHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if e.allowsHost(c.Request().Host) {
			return next(c)
		}
		return fhir.Refuse(http.StatusForbidden, fhir.CodeForbidden,
			"Host %q is not an address of this server; use %s, or start it with --allow-host %s or --public-url", c.Request().Host, e.options.Address, hostname(c.Request().Host))
	}
}

func (e *Edge) allowsHost(host string) bool {
	name := hostname(host)
	if isLoopback(name) || slices.Contains(e.options.AllowHost, "*") || slices.Contains(e.options.AllowHost, name) {
		return true
	}
	if u, err := url.Parse(e.options.PublicURL); err == nil && u.Host != "" && strings.EqualFold(u.Hostname(), name) {
		return true
	}
	// A server that listens on a network is meant to be reached by address. An
	// address, unlike a name, cannot be rebound.
	listen, _, _ := net.SplitHostPort(e.options.Listen)
	return !isLoopback(listen) && (net.ParseIP(name) != nil || strings.EqualFold(name, listen))
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func isLoopback(name string) bool {
	name = strings.ToLower(name)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// CORS lets the pages of allowed origins read responses.
func (e *Edge) CORS() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOriginFunc:  func(origin string) (bool, error) { return e.allowsOrigin(origin), nil },
		AllowMethods:     []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
		AllowCredentials: true,
		ExposeHeaders:    []string{"Location", "Content-Location", "ETag", "Last-Modified"},
		MaxAge:           600, // seconds
	})
}

// GuardOrigin keeps pages of other origins from routes that need it: a browser asks
// no permission before it sends them a request.
func (e *Edge) GuardOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !NeedsOf(c).OwnPages || e.OriginAllowed(c.Request()) {
			return next(c)
		}
		return fhir.Refuse(http.StatusForbidden, fhir.CodeForbidden,
			"pages of %s may not use this server; start it with --allow-origin %[1]s", c.Request().Header.Get("Origin"))
	}
}

// OriginAllowed reports whether a request does not come from a browser, or comes from
// a page that may use the server.
func (e *Edge) OriginAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || e.allowsOrigin(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func (e *Edge) allowsOrigin(origin string) bool {
	if slices.Contains(e.options.AllowOrigin, "*") || slices.Contains(e.options.AllowOrigin, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && isLoopback(u.Hostname())
}

// LimitBody refuses bodies over the limit, whether or not they state their size.
func (e *Edge) LimitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > e.options.MaxBodyBytes {
			return tooLarge(e.options.MaxBodyBytes)
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, e.options.MaxBodyBytes)
		return next(c)
	}
}

func tooLarge(limit int64) *fhir.Error {
	return fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooLong, "the body is larger than %d bytes; --max-body-bytes sets the limit", limit)
}
