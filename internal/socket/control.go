package socket

import (
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// What the control API does to a socket.

// CloseWith closes the socket with a code and a reason of the control API, as
// [Socket.Close] does. It refuses a code that no close frame may have, a reason of more
// than 123 bytes, and a socket that closes already.
func (s *Socket) CloseWith(code int, reason string) error {
	switch {
	case !fault.MayClose(code):
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d, expected a code that a close frame may have: 1000 to 1003, 1007 to 1014, or 3000 to 4999; cut=true ends the connection without a close frame, which is 1006 to the client", code).At("code")
	case len(reason) > maxReason:
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %d bytes, a close frame has room for %d", len(reason), maxReason).At("reason")
	case !utf8.ValidString(reason):
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "expected UTF-8").At("reason")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return s.alreadyClosing("cut=true cuts the connection")
	}
	s.closeLocked(Ending{Code: code, Reason: reason, By: byControl})
	return nil
}

func (s *Socket) alreadyClosing(remedy string) error {
	how := ""
	if e := s.end.Load(); e != nil {
		how = fmt.Sprintf(" with %d", e.Code)
	}
	return fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "socket %s closes already%s; %s", s.id, how, remedy)
}

// CutOff ends the connection without a close frame, for the control API. Frames that are
// not written yet are not sent.
func (s *Socket) CutOff() {
	s.mu.Lock()
	s.endAs(&Ending{Code: websocket.CloseAbnormalClosure, Reason: "the connection was cut", By: byControl})
	s.endsLocked()
	s.mu.Unlock()
	s.Cut()
}

// SendText queues text frames of the control API, as they are and in order, behind what
// waits. It refuses a socket that is closing, or that had no room for all of them.
func (s *Socket) SendText(texts ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, text := range texts {
		f := subscription.Frame{Bytes: []byte(text), Type: subscription.Custom}
		if s.faulty() {
			if !s.sendFaultyLocked(f, s.recordText) {
				return s.alreadyClosing(fmt.Sprintf("%d of %d frames were queued", i, len(texts)))
			}
			continue
		}
		if !s.takesLocked(f) {
			return s.alreadyClosing(fmt.Sprintf("%d of %d frames were queued", i, len(texts)))
		}
		s.recordText(s.id, f)
		s.pushLocked(f)
	}
	return nil
}

func (s *Socket) recordText(id string, f subscription.Frame) {
	s.room.Record(journal.Entry{Kind: journal.Sent, Socket: id, Type: string(subscription.Custom), Frame: f.Bytes})
}
