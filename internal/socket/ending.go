package socket

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/gorilla/websocket"
	"github.com/olahol/melody"
)

// CloseReason is one row of the table of close codes: a reason why a socket ends.
// docs/protocol.md lists the table.
type CloseReason struct {
	Code int
	Name string
	Text string // the reason, with verbs of package fmt
	By   string // who ends the socket: "server", "client" or "nobody"
}

// The table of close codes. Rows with code 1006 are only for the journal: no
// close frame says that a connection broke.
var (
	ServerStopping = CloseReason{websocket.CloseGoingAway, "server stopping", "the server is stopping", byServer}
	RoomClosed     = CloseReason{websocket.CloseGoingAway, "room closed", "the room %s was closed: %s", byServer}

	// gorilla/websocket sends the close frame of these two; the one of FrameTooBig
	// has no reason.
	ProtocolError = CloseReason{websocket.CloseProtocolError, "protocol error", "%s", byServer}
	FrameTooBig   = CloseReason{websocket.CloseMessageTooBig, "frame too big", "a frame has more than %d bytes", byServer}

	BinaryFrame = CloseReason{websocket.CloseUnsupportedData, "binary frame", "frames have to be text; this one was binary", byServer} // WS-19
	InvalidText = CloseReason{websocket.CloseInvalidFramePayloadData, "invalid text", "the text frame is not valid UTF-8", byServer}

	ConnectionBroke = CloseReason{websocket.CloseAbnormalClosure, "connection broke", "the connection broke", byNobody}
	NoPong          = CloseReason{websocket.CloseAbnormalClosure, "no pong", "no pong for %s: the client is gone or does not read", byServer} // WS-13
	WriteTimeout    = CloseReason{websocket.CloseAbnormalClosure, "write timeout", "a frame was not written within the timeout of its subscription, or within %s if it has none: the client does not read; $events has what it missed", byServer}

	NoBindingLeft = CloseReason{websocket.ClosePolicyViolation, "no binding left", "no binding is left: %s", byServer}                                                       // WS-33
	TooManyErrors = CloseReason{websocket.ClosePolicyViolation, "too many errors", "%d messages in a row were refused", byServer}                                            // WS-31
	URLToken      = CloseReason{websocket.ClosePolicyViolation, "token in the URL", "the token in the URL was refused; the OperationOutcome sent before says why", byServer} // WS-10

	ServerFailed = CloseReason{websocket.CloseInternalServerErr, "server failed", "the server failed; please report this", byServer}

	// A client that does not keep up. These reasons name the option that sets the limit.
	Stalled       = CloseReason{websocket.CloseTryAgainLater, "stalled", "%d frames wait and none left for %s (--slow-after): read faster, then recover with $events", byServer}
	QueueFull     = CloseReason{websocket.CloseTryAgainLater, "queue full", "%d bytes wait at most (--queue-bytes): read faster, then recover with $events", byServer}
	AllQueuesFull = CloseReason{websocket.CloseTryAgainLater, "all queues full", "%d bytes wait at most on all sockets (--queue-bytes-total): read faster, then use $events", byServer}
)

const (
	byServer = "server"
	byClient = "client"
	byNobody = "nobody"

	// Not of a reason in the table: a test gives code and reason.
	byControl = "control API"
)

// CloseReasons returns the table of close codes.
func CloseReasons() []CloseReason {
	return []CloseReason{
		ServerStopping, RoomClosed,
		ProtocolError,
		BinaryFrame,
		ConnectionBroke, NoPong, WriteTimeout,
		InvalidText,
		NoBindingLeft, TooManyErrors, URLToken,
		FrameTooBig,
		ServerFailed,
		Stalled, QueueFull, AllQueuesFull,
	}
}

// With returns the ending of a socket for reason r. args fill the verbs of its
// text.
func (r CloseReason) With(args ...any) Ending {
	return Ending{Code: r.Code, Reason: fmt.Sprintf(r.Text, args...), By: r.By}
}

// Ending says how one socket ended.
type Ending struct {
	Code   int
	Reason string
	By     string

	why string // for the journal, if the reason that the client gets does not say it
}

// whole returns why the socket ended.
func (e *Ending) whole() string { return cmp.Or(e.why, e.Reason) }

// maxReason is the longest reason in bytes: a control frame has at most 125
// bytes, and two are the code (RFC 6455, 5.5).
const maxReason = 123

// payload returns the payload of a close frame. A reason that is too long is cut
// before the rune that does not fit.
func (e Ending) payload() []byte {
	return melody.FormatCloseMessage(e.Code, strings.ToValidUTF8(e.Reason[:min(len(e.Reason), maxReason)], ""))
}

// endingOf returns the ending that an error of a connection means. It returns false if
// another error is more precise.
func (o *Options) endingOf(err error) (Ending, bool) {
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(err, &closed):
		return Ending{Code: closed.Code, Reason: closed.Text, By: byClient}, true
	case errors.Is(err, websocket.ErrReadLimit):
		return FrameTooBig.With(o.MaxMessage), true
	case errors.As(err, &network):
		switch {
		case !network.Timeout():
			return Ending{}, false
		case strings.HasPrefix(err.Error(), "write "): // only the text distinguishes the deadlines
			return WriteTimeout.With(o.WriteWait), true
		}
		return NoPong.With(o.PongWait), true
	case errors.Is(err, websocket.ErrCloseSent):
		return Ending{}, false // a frame was queued when the client closed
	}
	if broken, is := strings.CutPrefix(err.Error(), "websocket: "); is {
		return ProtocolError.With(broken), true
	}
	return Ending{}, false
}
