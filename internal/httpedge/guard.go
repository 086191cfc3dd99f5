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

// GuardOrigin keeps pages of other origins from everything that changes something, and
// from the routes that need it. A browser asks no permission before it sends a request
// that a form could have sent.
func (e *Edge) GuardOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, needs := c.Request(), NeedsOf(c)
		acts := needs.Acts || r.Method != http.MethodGet && r.Method != http.MethodOptions // a HEAD is a GET
		if !acts && !needs.OwnPages {
			return next(c)
		}
		page, foreign := e.foreignPage(r, e.allowsOrigin)
		// A link may lead to what only shows something.
		if !foreign || !acts && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
			return next(c)
		}
		return fhir.Refuse(http.StatusForbidden, fhir.CodeForbidden, "%s", whyForeign(page, r.Header.Get("Sec-Fetch-Site")))
	}
}

// foreignPage reports whether a page of another origin sent a request, and which origin
// that is: "null" for a page without one, such as a file, and "" if the browser does not
// say. Clients other than browsers send neither header.
func (e *Edge) foreignPage(r *http.Request, allows func(origin string) bool) (origin string, foreign bool) {
	// No page can set Sec-Fetch-Site. "none" is what the user does, such as a reload.
	site := r.Header.Get("Sec-Fetch-Site")
	if site == "same-origin" || site == "none" {
		return "", false
	}
	origin = r.Header.Get("Origin")
	if origin == "" && site == "" {
		return "", false
	}
	if origin == "" { // a GET for an image, say, has a Referer at most
		if u, err := url.Parse(r.Header.Get("Referer")); err == nil && u.Host != "" {
			origin = u.Scheme + "://" + u.Host
		}
	}
	u, err := url.Parse(origin)
	own := err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	return origin, !own && !allows(origin)
}

// trustsPage reports whether a request may use the cookie of the sign-in: it comes from no
// page, or from one that the server knows. That --allow-origin has * is not enough: then
// any page could act for who has signed in.
func (e *Edge) trustsPage(r *http.Request) bool {
	_, foreign := e.foreignPage(r, e.knowsOrigin)
	return !foreign
}

// whyForeign returns the refusal of a page of another origin. site is the Sec-Fetch-Site
// of its request.
func whyForeign(origin, site string) string {
	const remedy = "open the page from this machine, as in http://localhost:3000, or start the server with --allow-origin "
	switch origin {
	case "":
		return "a page of another origin (Sec-Fetch-Site: " + shortened(site) + ") may not use this server; " + remedy + "and the origin of the page, as in --allow-origin https://app.example.org"
	case "null":
		return "a page whose origin is null, such as a file or a sandboxed frame, may not use this server; " + remedy + "null"
	}
	return "pages of " + shortened(origin) + " may not use this server; " + remedy + shortened(origin)
}

func (e *Edge) allowsOrigin(origin string) bool {
	return slices.Contains(e.options.AllowOrigin, "*") || e.knowsOrigin(origin)
}

// knowsOrigin reports whether a page is of this machine or of the server, or
// --allow-origin names it.
func (e *Edge) knowsOrigin(origin string) bool {
	if slices.Contains(e.options.AllowOrigin, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	public, err := url.Parse(e.options.PublicURL)
	return isLoopback(u.Hostname()) || err == nil && public.Scheme == u.Scheme && strings.EqualFold(public.Host, u.Host)
}

// GuardAccess refuses requests without the token of --auth-token, if there is one. What
// needs no sign-in is served to everybody.
func (e *Edge) GuardAccess(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		refused := e.options.Gate.RefuseAddress(c.Request())
		if v := visitOf(c); refused == nil && !v.needs.Open {
			refused = v.locked
		}
		if refused == nil {
			return next(c)
		}
		c.Response().Header().Set("WWW-Authenticate", refused.Challenge)
		return refused.Error
	}
}

// LimitBody refuses bodies over the limit, whether or not they state their size.
func (e *Edge) LimitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > e.options.MaxBodyBytes {
			return tooLarge(e.options.MaxBodyBytes)
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, e.options.MaxBodyBytes)
		if r.ContentLength >= 0 && r.ContentLength <= largeBody {
			return next(c)
		}
		body := &queuedBody{ReadCloser: r.Body, edge: e, request: r, out: c.Response().Header()}
		defer body.leave()
		r.Body = body
		return next(c)
	}
}

func tooLarge(limit int64) *fhir.Error {
	return fhir.Refuse(http.StatusRequestEntityTooLarge, fhir.CodeTooLong, "the body is larger than %d bytes; --max-body-bytes sets the limit", limit)
}
