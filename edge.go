package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"signalfhir/internal/fhir"
)

// normalizePath makes one address of the ways to write it: %24status is $status
// (OP-16; Echo would route the raw path), the release segment has one case, one
// trailing slash is dropped, and a ; in a query is a character like others (net/url
// would drop the parameter that has one).
func normalizePath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		u.RawPath = ""
		u.RawQuery = strings.ReplaceAll(u.RawQuery, ";", "%3B")
		if len(u.Path) > 1 {
			u.Path = strings.TrimSuffix(u.Path, "/")
		}
		if rest, ok := strings.CutPrefix(u.Path, "/fhir/"); ok {
			segment, tail, _ := strings.Cut(rest, "/")
			if r, known := fhir.ParseRelease(segment); known && string(r) != segment {
				u.Path = strings.TrimSuffix("/fhir/"+string(r)+"/"+tail, "/")
			}
		}
		// What can be read can be asked for without its body (OP-13); Echo has
		// no such mapping, net/http drops the body of a HEAD by itself.
		if c.Request().Method == http.MethodHead {
			c.Request().Method = http.MethodGet
			c.Response().Writer = headWriter{c.Response().Writer}
		}
		return next(c)
	}
}

// headWriter answers a GET without its body.
type headWriter struct{ http.ResponseWriter }

func (w headWriter) Write(b []byte) (int, error) { return len(b), nil }

// requestLog writes one line a request. Sockets log for themselves: their
// request ends only with the socket.
func (s *server) requestLog() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		Skipper:     func(c echo.Context) bool { return c.Path() == "/ws" || isInner(c.Request()) },
		LogStatus:   true,
		LogMethod:   true,
		LogLatency:  true,
		LogError:    true,
		HandleError: true,
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			s.metrics.Request(v.Method, v.Status)
			level := slog.LevelDebug
			if v.Status >= http.StatusInternalServerError {
				level = slog.LevelError
			} else if v.Status >= http.StatusBadRequest || v.Method != http.MethodGet {
				level = slog.LevelInfo
			}
			attrs := []slog.Attr{slog.Int("status", v.Status), slog.Duration("took", v.Latency.Round(time.Microsecond))}
			if v.Error != nil {
				attrs = append(attrs, slog.String("why", v.Error.Error()))
			}
			path := s.shownURI(&url.URL{Path: c.Request().URL.Path})
			s.log.LogAttrs(c.Request().Context(), level, v.Method+" "+path, attrs...)
			return nil
		},
	})
}

// guardHost refuses requests whose Host is not an address of this server. A
// page that rebinds its name to 127.0.0.1 could otherwise read and steer it.
func (s *server) guardHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if s.allowsHost(c.Request().Host) {
			return next(c)
		}
		return fhir.Refuse(http.StatusForbidden, "forbidden",
			"Host %q is not an address of this server; use %s, or start it with --allow-host %s or --public-url", c.Request().Host, s.address, hostname(c.Request().Host))
	}
}

func (s *server) allowsHost(host string) bool {
	name := hostname(host)
	if isLoopback(name) || slices.Contains(s.options.AllowHost, "*") || slices.Contains(s.options.AllowHost, name) {
		return true
	}
	if u, err := url.Parse(s.options.PublicURL); err == nil && u.Host != "" && strings.EqualFold(u.Hostname(), name) {
		return true
	}
	// Somebody who has it listen on a network wants to be reached by address;
	// an address, unlike a name, cannot be rebound.
	listen, _, _ := net.SplitHostPort(s.options.Listen)
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

// guardOrigin keeps foreign pages from the control routes, which need no
// permission a browser would ask for.
func (s *server) guardOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !strings.HasPrefix(c.Request().URL.Path, "/mock") || s.originAllowed(c.Request()) {
			return next(c)
		}
		return fhir.Refuse(http.StatusForbidden, "forbidden",
			"pages of %s may not use this server; start it with --allow-origin %[1]s", c.Request().Header.Get("Origin"))
	}
}

// originAllowed tells whether a request comes from no browser or from a page
// that may use the server.
func (s *server) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || s.allowsOrigin(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func (s *server) allowsOrigin(origin string) bool {
	if slices.Contains(s.options.AllowOrigin, "*") || slices.Contains(s.options.AllowOrigin, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && isLoopback(u.Hostname())
}

// limitBody refuses bodies over the limit, whether or not they say their size.
func (s *server) limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > s.options.MaxBodyBytes {
			return tooLarge(s.options.MaxBodyBytes)
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, s.options.MaxBodyBytes)
		return next(c)
	}
}

func tooLarge(limit int64) *fhir.Error {
	return fhir.Refuse(http.StatusRequestEntityTooLarge, "too-long", "the body is larger than %d bytes; --max-body-bytes sets the limit", limit)
}

// rootOf is the root URL the client of a request reaches the server at. What a
// proxy says of it is believed only of a peer on this machine or network.
func (s *server) rootOf(c echo.Context) string {
	if s.options.PublicURL != "" {
		return s.options.PublicURL
	}
	host := c.Request().Host
	if peer := net.ParseIP(c.RealIP()); peer != nil && (peer.IsLoopback() || peer.IsPrivate()) {
		if forwarded, _, _ := strings.Cut(c.Request().Header.Get("X-Forwarded-Host"), ","); forwarded != "" {
			host = strings.TrimSpace(forwarded)
		}
	}
	return c.Scheme() + "://" + host
}

// answerError is the one place where an error becomes an answer: an
// OperationOutcome on the FHIR side, a problem (RFC 9457) on the control side.
func (s *server) answerError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	refused := asRefusal(c, err)
	if strings.HasPrefix(c.Request().URL.Path, "/mock") {
		err = problem(c, refused, nil)
	} else {
		err = s.outcome(c, refused.Status, refused.Issues)
	}
	if err != nil {
		s.log.Debug("an error could not be answered", "error", err)
	}
}

// asRefusal gives errors of the framework the form of our own.
func asRefusal(c echo.Context, err error) *fhir.Error {
	var refused *fhir.Error
	if errors.As(err, &refused) {
		return refused
	}
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return tooLarge(tooBig.Limit)
	}
	var framework *echo.HTTPError
	if !errors.As(err, &framework) {
		return fhir.Refuse(http.StatusInternalServerError, "exception", "the server failed: %v; please report this", err)
	}
	path := c.Request().URL.Path
	operation := strings.LastIndex(path, "/$")
	switch framework.Code {
	case http.StatusMethodNotAllowed:
		allowed := c.Response().Header().Get("Allow")
		if strings.Contains(allowed, http.MethodGet) {
			allowed += ", HEAD"
			c.Response().Header().Set("Allow", allowed)
		}
		return fhir.Refuse(framework.Code, "not-supported", "%s is not allowed here; allowed are %s", c.Request().Method, allowed)
	case http.StatusNotFound:
		if strings.HasPrefix(path, "/fhir/") && operation > 0 {
			return noOperation(path[operation+1:])
		}
		return fhir.Refuse(framework.Code, "not-found", "there is nothing at this address; the FHIR base is /fhir/R5, the socket /ws, the control routes are below /mock")
	}
	return fhir.Refuse(framework.Code, "processing", "%v", framework.Message)
}
