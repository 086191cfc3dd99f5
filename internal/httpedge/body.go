package httpedge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// ExplainBody makes refusals of the errors of reading a body: of a client that is too slow,
// ends too early or sends malformed chunks. The server that listens keeps the time.
func (e *Edge) ExplainBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength == 0 {
			return next(c)
		}
		plain := r.Body
		r.Body = &explainedBody{ReadCloser: plain, size: r.ContentLength, out: c.Response().Header(), limit: e.options.ReadTimeout}
		defer func() { r.Body = plain }() // net/http ends the request by what its own body says
		return next(c)
	}
}

// explainedBody is a body whose errors are refusals.
type explainedBody struct {
	io.ReadCloser
	size  int64 // as the request states it; -1 if it does not
	done  int64 // bytes read
	out   http.Header
	limit time.Duration // for the whole request
}

func (b *explainedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.done += int64(n)
	switch {
	case err == nil, err == io.EOF, errors.Is(err, http.ErrBodyReadAfterClose): //nolint:errorlint // net/http returns io.EOF itself
		return n, err
	}
	b.out.Set("Connection", "close") // the rest of the body is not a request
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fhir.Refuse(http.StatusRequestTimeout, fhir.CodeTimeout, "the request did not arrive within %s: %s of the body came; send it faster, or start the server with a longer --read-timeout", b.limit, b.came())
	}
	return n, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "the body ends too early or is malformed: %s of it came, then: %v; a body has to be as long as Content-Length says, or in well-formed chunks", b.came(), err)
}

// came returns how much of the body was read.
func (b *explainedBody) came() string {
	if b.size < 0 {
		return fmt.Sprintf("%d bytes", b.done)
	}
	return fmt.Sprintf("%d of %d bytes", b.done, b.size)
}

// A body that has this many bytes waits for its turn. Smaller ones never wait.
const largeBody = 64 << 10

// bodyPatience is how long a body waits for its turn if a request may take for ever.
const bodyPatience = 10 * time.Second

// queuedBody is a body that waits for its turn if it is large, because what it says takes
// many times its bytes in memory while it is processed.
type queuedBody struct {
	io.ReadCloser
	edge    *Edge
	request *http.Request
	out     http.Header
	done    int64 // bytes read
	holds   int64 // of the semaphore
}

func (b *queuedBody) Read(p []byte) (int, error) {
	if b.holds == 0 && b.done >= largeBody {
		if err := b.enter(); err != nil {
			return 0, err
		}
	}
	if b.holds == 0 {
		p = p[:min(int64(len(p)), largeBody-b.done)]
	}
	n, err := b.ReadCloser.Read(p)
	b.done += int64(n)
	return n, err
}

// enter waits until there is room for the body.
func (b *queuedBody) enter() error {
	size := b.request.ContentLength
	if size < 0 {
		size = b.edge.options.MaxBodyBytes
	}
	// The client has the rest of its time for the body.
	patience := cmp.Or(b.edge.options.ReadTimeout/3, bodyPatience)
	ctx, cancel := context.WithTimeout(b.request.Context(), patience)
	defer cancel()
	if b.edge.bodies.Acquire(ctx, size) != nil {
		b.out.Set("Retry-After", "1")
		return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "for %s there was no room for this body among the large ones that are sent to the server at the same time, %d bytes in all; send it again, or fewer at a time, or start the server with a larger --max-memory", patience, b.edge.options.BodiesAtOnce)
	}
	b.holds = size
	return nil
}

// leave makes room for other bodies.
func (b *queuedBody) leave() {
	if b.holds > 0 {
		b.edge.bodies.Release(b.holds)
	}
}

// ReadError returns err if a body could not be read, because of its client or of a limit.
// It returns nil if the body was read, and something is wrong with what it says.
func ReadError(err error) error {
	var tooBig *http.MaxBytesError
	if fhir.AsError(err) != nil || errors.As(err, &tooBig) {
		return err
	}
	return nil
}

// PlainBody refuses bodies that are encoded, such as with gzip.
func PlainBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		coding := strings.Join(r.Header.Values("Content-Encoding"), ", ")
		if r.ContentLength == 0 || coding == "" || strings.EqualFold(coding, "identity") {
			return next(c)
		}
		c.Response().Header().Set("Accept-Encoding", "identity") // RFC 9110, 15.5.16
		return fhir.Refuse(http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "Content-Encoding %q: this server reads bodies as they are; send the body unpacked, without the header", shortened(coding))
	}
}
