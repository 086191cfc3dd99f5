package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

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
		if !strings.HasPrefix(path, "/fhir/") && !strings.HasPrefix(path, "/mock/") || strings.HasPrefix(path, "/mock/journal") || path == "/mock/state" || path == "/mock/resources" {
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
		// What a refusal left unread is part of the exchange.
		if r.ContentLength > 0 && r.ContentLength <= recordMost {
			_, _ = io.CopyN(io.Discard, in, r.ContentLength)
		}
		x := &journal.Exchange{
			Method:          method,
			Path:            r.URL.RequestURI(),
			Status:          res.Status,
			Took:            time.Since(start),
			RequestHeaders:  headers(r.Header),
			RequestBody:     in.Bytes(),
			ResponseHeaders: headers(res.Header()),
			ResponseBody:    out.Bytes(),
			Truncated:       in.more || out.more,
		}
		if method == http.MethodHead {
			x.ResponseBody = nil
		}
		if strings.HasPrefix(path, "/mock/tokens") || strings.HasSuffix(path, "$get-ws-binding-token") {
			x.Path = token.Redact(x.Path)
			x.RequestBody = []byte(token.Redact(string(x.RequestBody)))
			x.ResponseBody = []byte(token.Redact(string(x.ResponseBody)))
		}
		s.room.Record(journal.Entry{Kind: journal.HTTP, Exchange: x})
		return err
	}
}

// headers are those of a message, each as one line. What lets somebody in is
// not shown.
func headers(h http.Header) map[string]string {
	lines := make(map[string]string, len(h))
	for name, values := range h {
		switch name {
		case "Authorization", "Cookie", "Set-Cookie":
			lines[name] = "…"
		default:
			lines[name] = strings.Join(values, ", ")
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
