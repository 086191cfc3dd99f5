package main

import (
	"cmp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/token"
)

// What a client says on its socket, and what becomes of it.

// received handles one frame of the client, on melody's reader.
func (c *client) received(data []byte, binary bool) {
	if c.hub.options.Observer != nil {
		c.hub.options.Observer.FrameIn()
	}
	valid := utf8.Valid(data)
	switch {
	case binary && (c.hub.options.Strict || !valid):
		c.binder.Record(journal.Entry{Kind: journal.Received, Socket: c.id, Type: "binary", Text: strconv.Itoa(len(data)) + " bytes"})
		c.close(websocket.CloseUnsupportedData, "frames have to be text; this one was binary") // WS-19
		return
	case !valid:
		c.binder.Record(journal.Entry{Kind: journal.Received, Socket: c.id, Type: "not UTF-8", Text: strconv.Itoa(len(data)) + " bytes"})
		c.close(websocket.CloseInvalidFramePayloadData, "the text frame is not valid UTF-8")
		return
	}
	commands := dialect.Parse(string(data))
	shown := c.recordReceived(string(data), commands)
	for i, command := range commands {
		if !c.obey(command, shown[i]) {
			return
		}
	}
}

// recordReceived writes a frame to the journal before it has any effect. It
// answers the commands as they may be shown: without a secret.
func (c *client) recordReceived(frame string, commands []dialect.Command) (shown []dialect.Command) {
	frame = token.RedactLong(dialect.Redact(frame, token.Fingerprint))
	shown = dialect.Parse(frame)
	for i, command := range commands {
		if len(shown) != len(commands) || command.Token != "" && shown[i].Token == command.Token {
			// A spelling of JSON that only its parser sees through.
			shown, frame = commands, string(command.Verb)+" "+token.Fingerprint(command.Token)
			break
		}
	}
	e := journal.Entry{Kind: journal.Received, Socket: c.id, Type: "empty", Frame: []byte(frame)}
	if len(commands) > 0 { // what the first one says is shown
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
	e.Text = strings.ToValidUTF8(frame[:min(len(frame), most)], "")
	c.binder.Record(e)
	return shown
}

// obey carries out one command, which is shown as shown; it tells whether the
// socket goes on.
func (c *client) obey(command, shown dialect.Command) bool {
	c.mu.Lock()
	if command.Problem == nil && (command.Verb != dialect.Ping || c.dialect == "") {
		c.dialect = command.Dialect
	}
	c.mu.Unlock()
	done := true
	switch command.Verb {
	case dialect.Bind:
		done = c.bind(command)
	case dialect.Unbind:
		c.unbound(c.binder.Unbind(c, command.Token)...)
	case dialect.Ping:
		pong := []byte(command.Pong())
		c.mu.Lock()
		c.sayLocked("pong", pong, pong)
		c.mu.Unlock()
	case dialect.LegacyBind:
		if err := c.binder.BindLegacy(c, command.ID); err != nil {
			done = false
			c.refuse(err)
		}
	case dialect.LegacyUnbind:
		if c.binder.UnbindLegacy(c, command.ID) {
			c.unbound(command.ID)
		}
	default:
		done = false
		c.refuseShown(command.Problem, cmp.Or(shown.Problem, command.Problem))
	}
	if done {
		c.errors = 0
		return true
	}
	c.errors++
	if c.errors < c.hub.options.MaxErrors {
		return true
	}
	c.refuse(fhir.Refuse(0, "throttled", "%d messages in a row were refused; the socket closes", c.errors))
	c.close(websocket.ClosePolicyViolation, strconv.Itoa(c.errors)+" messages in a row were refused")
	return false
}

// bind binds the socket through a token and shows what was refused. It tells
// whether anything was bound.
func (c *client) bind(command dialect.Command) bool {
	bound, refused := c.binder.Bind(c, command.Token, command.Dialect)
	c.mu.Lock()
	c.dialect = command.Dialect
	c.mu.Unlock()
	for _, err := range refused {
		c.refuse(err)
	}
	return bound > 0
}

// refuse shows the client what was wrong (WS-30).
func (c *client) refuse(err *fhir.Error) { c.refuseShown(err, err) }

// refuseShown is refuse for what quotes the client: the journal and the log show
// it without a secret.
func (c *client) refuseShown(err, shown *fhir.Error) {
	why := shown.Error()
	c.binder.Record(journal.Entry{Kind: journal.Refused, Socket: c.id, Type: err.Code(), Text: why})
	c.hub.options.Logger.Info("refused", "socket", c.id, "code", err.Code(), "why", why)
	frame := fhir.EncodeOutcome(err.Issues)
	kept := frame
	if shown != err {
		kept = fhir.EncodeOutcome(shown.Issues)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sayLocked("outcome", frame, kept)
}

// sayLocked queues a frame that is no notification; the journal keeps it as kept.
func (c *client) sayLocked(kind string, data, kept []byte) {
	if c.queueLocked(data, 0) {
		c.binder.Record(journal.Entry{Kind: journal.Sent, Socket: c.id, Type: kind, Frame: kept})
	}
}
