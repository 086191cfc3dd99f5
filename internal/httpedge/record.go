package httpedge

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/token"
)

// recordedBytes is how many bytes of a body the journal keeps.
const recordedBytes = 64 << 10

// Record writes the exchanges of routes that need it to the journal of their room, as
// they went over the wire. In the journal an exchange comes before what it caused.
// Reading the journal is not recorded: a page that follows it would fill it.
func (e *Edge) Record(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		room, needs := Room(c), NeedsOf(c)
		if !needs.Record || room == nil {
			return next(c)
		}
		begun, elapsed := room.Clock().Read() // a jump of the clock takes no time
		r := c.Request()
		method := r.Method
		// Reserve the place in the journal when the whole request has arrived, so that a
		// slow client does not delay the readers of the journal.
		place := sync.OnceValue(room.Journal().Reserve)
		in := &recordedBody{ReadCloser: r.Body, size: r.ContentLength, read: func() { place() }}
		switch {
		case needs.Waits, room.Faults().DelayRequests():
			in.read = func() {}
		case r.ContentLength == 0 || r.Method == http.MethodGet || r.Method == http.MethodDelete: // whose handlers read no body
			place()
		}
		r.Body = in
		res := c.Response()
		if head, ok := res.Writer.(headWriter); ok {
			method = http.MethodHead
			defer func() { res.Writer = head }()
		}
		out := &recordedWriter{ResponseWriter: res.Writer}
		res.Writer = out
		defer func() { // also after a panic, which net/http may recover
			room.Journal().Complete(place(), entry(c, in, out, method, begun, room.Clock().Elapsed()-elapsed))
		}()
		return next(c)
	}
}

// entry returns the journal entry of an exchange that is over.
func entry(c echo.Context, in *recordedBody, out *recordedWriter, method string, begun time.Time, took time.Duration) journal.Entry {
	r, res := c.Request(), c.Response()
	readRest(c, in)
	r.Body = in.ReadCloser // net/http ends the request by what its own body says
	x := &journal.Exchange{
		Method:          shownMethod(method),
		Path:            shownURI(c, r.URL),
		Status:          res.Status,
		Took:            took,
		RequestHeaders:  headers(r.Header),
		RequestBody:     in.shown(c),
		ResponseHeaders: headers(res.Header()),
		ResponseBody:    out.shown(c),
		Truncated:       in.more || out.more || r.ContentLength > int64(in.Len()),
	}
	if method == http.MethodHead {
		x.ResponseBody = nil
	}
	// A part of the address would keep the memory of the whole.
	return journal.Entry{Kind: journal.HTTP, Time: begun, Subscription: strings.Clone(cmp.Or(subscriptionOf(r.URL.Path, Path(c)), subscriptionOf(res.Header().Get("Location"), Root(c)))), Exchange: x}
}

// subscriptionOf returns the id in an address below root that is of one Subscription, or
// of the control routes of one; "" for other addresses.
func subscriptionOf(address, root string) string {
	segments := strings.Split(strings.TrimPrefix(address, root), "/")
	if len(segments) > 3 && segments[1] == "mock" && segments[2] == "subscriptions" && fhir.IsID(segments[3]) {
		return segments[3]
	}
	if len(segments) < 5 || segments[1] != "fhir" || segments[3] != "Subscription" || !fhir.IsID(segments[4]) {
		return ""
	}
	return segments[4]
}

// restWait is how long Record waits for the rest of a short body that a refusal left
// unread: the journal shows the whole request. A client that waits for consent to send
// it, or is slow to, is not waited for.
const restWait = 100 * time.Millisecond

func readRest(c echo.Context, in *recordedBody) {
	r := c.Request()
	if left := r.ContentLength - int64(in.Len()); left <= 0 || r.ContentLength > recordedBytes || r.Header.Get("Expect") != "" {
		return
	}
	connection := http.NewResponseController(c.Response())
	if connection.SetReadDeadline(time.Now().Add(restWait)) != nil {
		return
	}
	// If the rest does not come, the time stays up: net/http would wait for it.
	_, _ = io.CopyN(io.Discard, in, r.ContentLength-int64(in.Len()))
}

// recordedPath is how many bytes of an address the journal and the log keep.
const recordedPath = 8 << 10

// shownURI returns the address of a request without the secret in the place of the
// :token of its route, whether or not it is one of ours.
func shownURI(c echo.Context, u *url.URL) string {
	uri := u.RequestURI()
	if secret, _ := segment(c.Path(), u.Path, ":token"); secret != "" && !token.IsFingerprint(secret) {
		uri = strings.Replace(uri, (&url.URL{Path: secret}).EscapedPath(), token.Fingerprint(secret), 1)
	}
	uri = shown(c, uri) // before it is cut, perhaps in a secret
	if len(uri) > recordedPath {
		uri = uri[:recordedPath] + "…"
	}
	return uri
}

// headers returns the headers of a message, each as one line. It hides credentials, and
// names in which a token may be: net/http has changed its letters, so the journal would not
// recognize it.
func headers(h http.Header) map[string]string {
	lines := make(map[string]string, len(h))
	for name, values := range h {
		switch name {
		case "Authorization", "Cookie", "Set-Cookie":
			lines[name] = "…"
		default:
			lines[token.RedactLong(name)] = strings.Join(values, ", ")
		}
	}
	return lines
}

// shownMethod returns the method of a request in memory of its own: net/http has it as a
// part of the first line, which may be long. A client may have invented a long one.
func shownMethod(method string) string {
	const longest = 40
	if len(method) > longest {
		return method[:longest] + "…"
	}
	return strings.Clone(method)
}

// shown returns a text of a client as others may see it. Journal and log hide the tokens
// issued here. Outside of the rooms everything that may be a token is hidden: it may have
// been issued before this server started.
func shown(c echo.Context, text string) string {
	if Room(c) == nil {
		return token.Redact(text)
	}
	return text
}

// kept is the beginning of a body.
type kept struct {
	bytes.Buffer
	more bool // there was more of it than the journal keeps
}

// secretBytes is longer than the token of the server, or what its sign-in makes of it.
const secretBytes = 1024

func (k *kept) keep(p []byte) {
	k.more = k.more || k.Len()+len(p) > recordedBytes
	k.Buffer.Write(p[:min(len(p), recordedBytes+secretBytes-k.Len())])
}

// shown returns a copy of what the journal keeps, in memory of just its size. A body is
// cut after the token of the server is hidden: nobody would recognize the beginning of it.
// Of a whole body, the journal hides it.
func (k *kept) shown(c echo.Context) []byte {
	if !k.more {
		return bytes.Clone(k.Bytes())
	}
	body := visitOf(c).edge.options.Gate.Hide(k.Bytes())
	if k.Len() == recordedBytes+secretBytes {
		body = body[:max(0, len(body)-secretBytes)] // in which the beginning of one may be
	}
	return bytes.Clone(body[:min(len(body), recordedBytes)])
}

// recordedBody keeps what is read of a request.
type recordedBody struct {
	io.ReadCloser
	kept
	size int64  // as the request states it; -1 if it does not
	done int64  // bytes read
	read func() // called when the body has been read
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.keep(p[:n])
	if b.done += int64(n); err != nil || b.done == b.size {
		b.read()
	}
	return n, err
}

// recordedWriter keeps a copy of the response.
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
