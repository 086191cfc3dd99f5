package socket

import (
	"cmp"

	"github.com/gorilla/websocket"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/manners"
	"signalfhir/internal/token"
)

// behave treats a command as a server with manners does. known reports whether the command
// is then carried out as usual; if not, open reports whether the socket stays open.
func (s *Socket) behave(m *manners.Manners, command, shown dialect.Command) (known, open bool) {
	switch {
	case m.JSONMessages && command.Dialect != dialect.Medplum:
		s.ignored("it is not JSON", "jsonMessages")
		return false, true
	case m.JSONMessages && command.Problem != nil:
		s.ignored(token.RedactLong(cmp.Or(shown.Problem, command.Problem).Error()), "jsonMessages")
		return false, true
	case m.LegacyMessages:
		return false, s.behaveLegacy(command, shown)
	case m.OneBind && s.binds > 0 && (command.Verb == dialect.Bind || command.Verb == dialect.LegacyBind):
		s.refuse(fhir.Refuse(0, fhir.CodeBusinessRule, "the socket is bound already, and a socket of this server is bound once (manners: oneBind); open another for another token"))
		return false, true
	}
	return true, true
}

// ignored notes that a message has no effect.
func (s *Socket) ignored(why, by string) {
	s.room.Record(journal.Entry{Kind: journal.Refused, Socket: s.id, Type: "manners", Text: "the message was ignored: " + why + " (manners: " + by + ")"})
}

// behaveLegacy carries out a command as a server that has the messages of R4 only: a socket
// is bound once, by its first "bind ID".
func (s *Socket) behaveLegacy(command, shown dialect.Command) (open bool) {
	switch {
	case command.Dialect == dialect.URL:
		s.ignored("tokens are unknown", "legacyMessages")
	case s.binds > 0:
		const text = "Unexpected client message: "
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sayLocked("outcome", []byte(text+command.Message), token.RedactLong([]byte(text+shown.Message)))
	case command.Verb != dialect.LegacyBind:
		s.ignored(`the socket is not bound, and only "bind ID" binds it`, "legacyMessages")
	default:
		s.noteDialect(command)
		if err := s.room.BindLegacy(s, command.ID); err != nil {
			s.Close(Ending{Code: websocket.CloseProtocolError, Reason: err.Error(), By: byServer})
			return false
		}
		s.binds++
	}
	return true
}
