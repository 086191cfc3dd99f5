package socket

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/token"
)

// Receive handles one frame of the client, on melody's reader.
func (s *Socket) Receive(data []byte, binary bool) {
	s.options.Observer.FrameIn()
	valid := utf8.Valid(data)
	switch {
	case binary && (s.options.Strict || !valid):
		s.room.Record(journal.Entry{Kind: journal.Received, Socket: s.id, Type: "binary", Text: strconv.Itoa(len(data)) + " bytes"})
		s.Close(BinaryFrame.With())
		return
	case !valid:
		s.room.Record(journal.Entry{Kind: journal.Received, Socket: s.id, Type: "not UTF-8", Text: strconv.Itoa(len(data)) + " bytes"})
		s.Close(InvalidText.With())
		return
	}
	text := string(data)
	commands := dialect.Parse(text)
	shown, shownText := s.recordReceived(text, commands)
	if m := s.room.Manners(); m != nil && m.LegacyMessages {
		commands, shown = []dialect.Command{dialect.Whole(text)}, []dialect.Command{dialect.Whole(shownText)}
	}
	for i, command := range commands {
		command.Message, shown[i].Message = text, shownText
		if !s.take(command, shown[i]) {
			return
		}
	}
}

// recordReceived writes a frame to the journal before the frame has any effect.
// It returns the commands and the frame as they may be shown: without a secret.
func (s *Socket) recordReceived(frame string, commands []dialect.Command) (shown []dialect.Command, shownFrame string) {
	frame = token.RedactLong(dialect.Redact(frame, token.Fingerprint))
	shown = dialect.Parse(frame)
	for i, command := range commands {
		if len(shown) != len(commands) || command.Token != "" && shown[i].Token == command.Token {
			// JSON can spell a token in a way that only its parser recognizes.
			shown, frame = commands, string(command.Verb)+" "+token.Fingerprint(command.Token)
			break
		}
	}
	e := journal.Entry{Kind: journal.Received, Socket: s.id, Type: "empty", Frame: []byte(frame)}
	if len(commands) > 0 { // the entry has the type of the first
		first := commands[0]
		e.Type, e.Dialect = string(first.Verb), first.Dialect
		if first.Token != "" {
			e.Token = token.Fingerprint(first.Token)
		}
		if first.Problem != nil {
			e.Type = "unknown"
		}
	}
	const most = 200
	e.Text = strings.Clone(strings.ToValidUTF8(frame[:min(len(frame), most)], "")) // not the memory of the frame
	s.room.Record(e)
	return shown, frame
}

// execute executes one command; journal and log show it as shown. If a fault refuses it, no
// more is done. execute reports whether the socket stays open.
func (s *Socket) execute(command, shown dialect.Command, refusal error) bool {
	if m := s.room.Manners(); m != nil && refusal == nil {
		if known, open := s.behave(m, command, shown); !known {
			return open
		}
	}
	if command.Problem == nil {
		s.noteDialect(command)
	}
	done := true
	switch verb := command.Verb; {
	case refusal != nil:
		done = false
		s.refuse(refusal)
	case verb == dialect.Bind:
		done = s.bind(command)
	case verb == dialect.Unbind:
		s.room.Unbind(s, command.Token)
	case verb == dialect.Ping:
		s.pong(command)
	case verb == dialect.LegacyBind:
		if err := s.room.BindLegacy(s, command.ID); err != nil {
			done = false
			s.refuse(err)
		}
	case verb == dialect.LegacyUnbind:
		s.room.UnbindLegacy(s, command.ID)
	default:
		done = false
		s.refuseShown(command.Problem, cmp.Or(shown.Problem, command.Problem))
	}
	switch {
	case done:
		s.refused = 0
		if command.Verb == dialect.Bind || command.Verb == dialect.LegacyBind {
			s.binds++
		}
		return true
	case command.Dialect == dialect.URL: // there is nobody to try again
		s.Close(URLToken.With())
		return false
	}
	s.refused++
	if s.refused < s.options.MaxErrors {
		return true
	}
	s.refuse(fhir.Refuse(0, fhir.CodeThrottled, "%d messages in a row were refused; the socket closes", s.refused))
	s.Close(TooManyErrors.With(s.refused))
	return false
}

// noteDialect stores the dialect of a command. A ping does not replace it, since dialects
// share their pings.
func (s *Socket) noteDialect(command dialect.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if command.Verb != dialect.Ping || s.dialect == "" {
		s.dialect = command.Dialect
	}
}

func (s *Socket) pong(ping dialect.Command) {
	pong := []byte(ping.Pong())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sayLocked("pong", pong, pong)
}

// bind binds the socket through a token and sends what was refused. It reports
// whether anything was bound.
func (s *Socket) bind(command dialect.Command) bool {
	bound, refused := s.room.Bind(s, command.Token, command.Dialect)
	s.noteDialect(command)
	for _, err := range refused {
		s.refuse(err)
	}
	return bound > 0
}

// refuse tells the client what was wrong (WS-30).
func (s *Socket) refuse(err error) { s.refuseShown(err, err) }

// refuseShown is refuse for an error that quotes the client: journal and log show
// it as shown, without a secret.
func (s *Socket) refuseShown(err, shown error) {
	code, why := fhir.CodeOf(err), token.RedactLong(shown.Error())
	s.room.Record(journal.Entry{Kind: journal.Refused, Socket: s.id, Type: string(code), Text: why})
	s.options.Logger.Info("refused", "socket", s.id, "code", code, "why", why)
	frame := fhir.EncodeOutcome(fhir.IssuesOf(err))
	kept := frame     // for the journal
	if shown != err { //nolint:errorlint // whether it is the same one
		kept = fhir.EncodeOutcome(fhir.IssuesOf(shown))
	}
	kept = token.RedactLong(kept) // "bind TOKEN" takes it for an id
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sayLocked("outcome", frame, kept)
}
