package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/token"
)

// recordMost is how many bytes of a body the journal keeps.
const recordMost = 64 << 10

// record writes every exchange with the FHIR bases and /mock to the journal, as
// it went over the wire. Reading the record is not recorded: a page that follows
// it would fill it.
func (s *server) record(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		path := c.Request().URL.Path
		if !strings.HasPrefix(path, "/fhir/") && !strings.HasPrefix(path, "/mock/") || strings.HasPrefix(path, "/mock/journal") || path == "/mock/state" || path == "/mock/resources" || isInner(c.Request()) {
			return next(c)
		}
		start := time.Now()
		r := c.Request()
		method := r.Method
		in := &recordedBody{ReadCloser: r.Body}
		r.Body = in
		res := c.Response()
		if head, ok := res.Writer.(headWriter); ok {
			method = http.MethodHead
			defer func() { res.Writer = head }()
		}
		out := &recordedWriter{ResponseWriter: res.Writer}
		res.Writer = out
		err := next(c)
		took := time.Since(start)
		s.readRest(c, in)
		r.Body = in.ReadCloser // net/http ends the request by what its own body says
		x := &journal.Exchange{
			Method:          method,
			Path:            s.shownURI(r.URL),
			Status:          res.Status,
			Took:            took,
			RequestHeaders:  s.headers(r.Header),
			RequestBody:     s.shown(in),
			ResponseHeaders: s.headers(res.Header()),
			ResponseBody:    s.shown(&out.kept),
			Truncated:       in.more || out.more || r.ContentLength > int64(in.Len()),
		}
		if method == http.MethodHead {
			x.ResponseBody = nil
		}
		s.room.Record(journal.Entry{Kind: journal.HTTP, Subscription: subscriptionOf(path, res.Header().Get("Location")), Exchange: x})
		return err
	}
}

// subscriptionOf is the id of the Subscription an exchange is about: the one of its
// path, or the one it created. "" where it is about none, or several.
func subscriptionOf(path, location string) string {
	for _, address := range []string{path, location} {
		_, rest, ok := strings.Cut(address, "/Subscription/")
		if id, _, _ := strings.Cut(rest, "/"); ok && strings.Contains(address, "/fhir/") && fhir.IsID(id) {
			return id
		}
	}
	return ""
}

// What a refusal left unread of a short body is part of the exchange, too. But
// whoever waits for our consent to send it, or is slow to, is not waited for.
const restWait = 100 * time.Millisecond

func (s *server) readRest(c echo.Context, in *recordedBody) {
	r := c.Request()
	if left := r.ContentLength - int64(in.Len()); left <= 0 || r.ContentLength > recordMost || r.Header.Get("Expect") != "" {
		return
	}
	connection := http.NewResponseController(c.Response())
	if connection.SetReadDeadline(time.Now().Add(restWait)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, in, r.ContentLength-int64(in.Len()))
	_ = connection.SetReadDeadline(time.Time{})
}

// recordPath is how much of an address the journal keeps.
const recordPath = 8 << 10

// shownURI is the address of a request, without the token one of ours has in it.
func (s *server) shownURI(u *url.URL) string {
	uri := u.RequestURI()
	if secret, ok := strings.CutPrefix(u.Path, "/mock/tokens/"); ok && secret != "" {
		uri = strings.Replace(uri, (&url.URL{Path: secret}).EscapedPath(), token.Fingerprint(secret), 1)
	}
	if len(uri) > recordPath {
		uri = uri[:recordPath] + "…"
	}
	return string(s.room.Redact([]byte(uri)))
}

// shown is a body as the journal keeps it: without tokens, and in memory of just
// its size.
func (s *server) shown(body interface{ Bytes() []byte }) []byte {
	return bytes.Clone(s.room.Redact(body.Bytes()))
}

// headers are those of a message, each as one line. What lets somebody in is
// not shown.
func (s *server) headers(h http.Header) map[string]string {
	lines := make(map[string]string, len(h))
	for name, values := range h {
		switch name {
		case "Authorization", "Cookie", "Set-Cookie":
			lines[name] = "…"
		default:
			lines[name] = string(s.room.Redact([]byte(strings.Join(values, ", "))))
		}
	}
	return lines
}

// kept is the beginning of a body.
type kept struct {
	bytes.Buffer
	more bool // there was more of it
}

func (k *kept) keep(p []byte) {
	room := recordMost - k.Len()
	if len(p) > room {
		p, k.more = p[:room], true
	}
	k.Buffer.Write(p)
}

// recordedBody keeps what is read of a request.
type recordedBody struct {
	io.ReadCloser
	kept
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.keep(p[:n])
	return n, err
}

// recordedWriter keeps what is written of an answer.
type recordedWriter struct {
	http.ResponseWriter
	kept
}

func (w *recordedWriter) Write(p []byte) (int, error) {
	w.keep(p)
	return w.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *recordedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
