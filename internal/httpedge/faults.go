package httpedge

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
)

// Misbehave does what the faults of a room want to its requests: it delays or refuses them,
// or spoils the response. Control routes are left alone, or nobody could remove a fault, and
// so are sockets, which have faults of their own, and what the room itself requests.
func (e *Edge) Misbehave(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, needs := Room(c), NeedsOf(c)
		if r == nil || needs.Problems || needs.Socket || insideOf(c.Request()).room != nil {
			return next(c)
		}
		set := r.Faults()
		rules := set.On(fault.OnRequest)
		if len(rules) == 0 {
			return next(c)
		}
		path := c.Request().URL.Path
		release, _ := fhir.ParseRelease(c.Param("release"))
		about := fault.About{Method: shownMethod(c.Request().Method), Path: path, Release: string(release), Subscription: strings.Clone(subscriptionOf(path, Path(c)))}
		if IsHead(c) {
			about.Method = http.MethodHead
		}
		s := &spoiled{about: about, set: set}
		for _, rule := range rules {
			if !rule.Applies(about) {
				continue
			}
			switch rule.Action {
			case fault.Delay:
				wait := rule.Wait()
				if err := s.wait(c, rule, wait); err != nil {
					return s.serve(c, refuse(err))
				}
			case fault.Status:
				refusal := rule.Refusal()
				s.record(rule, "was refused with "+strconv.Itoa(refusal.Status))
				if seconds, says := rule.RetryIn(); says {
					c.Response().Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
				}
				return s.serve(c, refuse(refusal))
			default:
				s.rules = append(s.rules, rule)
			}
		}
		return s.serve(c, next)
	}
}

// refuse returns a handler that refuses the request. The faults before the one that refuses it
// spoil the refusal.
func refuse(why error) echo.HandlerFunc { return func(echo.Context) error { return why } }

// spoiled holds the response to a request until it is whole, and then writes what faults make
// of it.
type spoiled struct {
	http.ResponseWriter
	about  fault.About
	set    *fault.Set
	rules  []*fault.Rule
	status int
	body   bytes.Buffer
}

func (s *spoiled) record(r *fault.Rule, text string) {
	s.set.Record(r, s.about, s.about.Method+" "+s.about.Path+" "+text+" by fault "+r.Name)
}

// wait waits while a fault delays the request. The wait ends with the request and with its
// room.
func (s *spoiled) wait(c echo.Context, r *fault.Rule, d time.Duration) error {
	return s.set.Wait(c.Request().Context(), r, d, func() { s.record(r, "was delayed for "+d.String()) })
}

// WriteHeader implements [http.ResponseWriter].
func (s *spoiled) WriteHeader(status int) { s.status = status }

// Write implements [http.ResponseWriter].
func (s *spoiled) Write(p []byte) (int, error) { return s.body.Write(p) }

// Unwrap lets [http.ResponseController] reach the connection.
func (s *spoiled) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// hold serves the request and keeps the response.
func (s *spoiled) hold(c echo.Context, next echo.HandlerFunc) error {
	res := c.Response()
	s.ResponseWriter = res.Writer
	res.Writer = s
	defer func() { res.Writer = s.ResponseWriter }() // also for the response to a panic
	err := next(c)
	if err != nil {
		c.Error(err) // a refusal is a response, too
	}
	return err
}

// serve serves the request and writes what is left of the response.
func (s *spoiled) serve(c echo.Context, next echo.HandlerFunc) error {
	if len(s.rules) == 0 {
		return next(c)
	}
	res := c.Response()
	err := s.hold(c, next)
	body := s.body.Bytes()
	cut := -1
	for _, rule := range s.rules {
		switch rule.Action {
		case fault.WrongType:
			res.Header().Set("Content-Type", rule.ContentType)
			s.record(rule, "got a response of type "+rule.ContentType)
		case fault.Empty:
			body, cut = nil, -1
			res.Header().Del("Content-Length")
			s.record(rule, "got a response without a body")
		case fault.Cut:
			n := rule.CutAfter(len(body))
			if s.about.Method == http.MethodHead || n >= len(body) {
				rule.Undo()
				s.record(rule, "has a response of "+strconv.Itoa(len(body))+" bytes, which was not cut")
				continue
			}
			cut = n
			s.record(rule, "got "+strconv.Itoa(n)+" of "+strconv.Itoa(len(body))+" bytes")
		}
	}
	if s.status == 0 {
		s.status = http.StatusOK
	}
	if cut < 0 {
		res.Writer.WriteHeader(s.status)
		if len(body) > 0 {
			_, _ = res.Writer.Write(body)
		}
		return err
	}
	// The client learns from the length that something is missing.
	res.Header().Set("Content-Length", strconv.Itoa(len(body)))
	res.Writer.WriteHeader(s.status)
	_, _ = res.Writer.Write(body[:cut])
	connection := http.NewResponseController(res.Writer)
	if flushed := connection.Flush(); flushed != nil && !errors.Is(flushed, http.ErrNotSupported) {
		return err // the client has gone
	}
	if conn, _, refused := connection.Hijack(); refused == nil {
		_ = conn.Close()
		return err
	}
	panic(http.ErrAbortHandler) // net/http ends the stream
}
