// Package dialect parses what a client sends on its socket. The standard shows
// one message, bind-with-token, without a grammar; clients in the field use
// several dialects. Parse reads all of them into the same commands, each with the
// name of its dialect.
//
// The package is pure: it knows neither sockets nor tokens.
package dialect

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode"

	"signalfhir/internal/fhir"
)

// The dialects.
const (
	IG      = "ig"       // bind-with-token TOKEN
	IGColon = "ig-colon" // bind-with-token: TOKEN
	Medplum = "medplum"  // {"type":"bind-with-token","payload":{"token":"TOKEN"}}
	Legacy  = "legacy"   // bind ID, of R4
	URL     = "url"      // ?token=TOKEN in the address
)

// Verb is the request of a client.
type Verb string

// The verbs.
const (
	Bind         Verb = "bind-with-token"
	Unbind       Verb = "unbind-with-token"
	Ping         Verb = "ping"
	LegacyBind   Verb = "bind"
	LegacyUnbind Verb = "unbind"
	Unknown      Verb = "" // Problem says why
)

// Command is one request of a client.
type Command struct {
	Verb    Verb
	Token   string // of Bind and Unbind
	ID      string // of LegacyBind and LegacyUnbind
	Dialect string
	Problem error  // why it cannot be done; nil if it can
	Message string // the frame that it was in, if whoever parsed it says so
}

// Pong returns the reply to a ping, in the dialect of the ping (WS-16, WS-20).
func (c Command) Pong() string {
	if c.Dialect == Medplum {
		return `{"type":"pong"}`
	}
	return "pong"
}

// Parse parses a text frame: a JSON object, or one command per line (WS-15 to
// WS-18). A frame of white space has no commands.
func Parse(frame string) []Command {
	text := strings.TrimSpace(frame)
	if strings.HasPrefix(text, "{") {
		return []Command{parseJSON(text)}
	}
	var commands []Command
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			commands = append(commands, parseLine(line)...)
		}
	}
	return commands
}

// Whole parses a text frame as a server that has the messages of R4 only: it is one message,
// whatever is in it, and only "bind ID" means something.
func Whole(frame string) Command {
	if id, is := strings.CutPrefix(frame, "bind "); is {
		return Command{Verb: LegacyBind, ID: strings.TrimPrefix(strings.TrimSpace(id), "Subscription/"), Dialect: Legacy}
	}
	if commands := Parse(frame); len(commands) == 1 && commands[0].Verb != LegacyBind {
		return commands[0]
	}
	return refused(Legacy, fhir.CodeNotSupported, "unknown message %q; this server understands bind ID", shorten(frame))
}

func refused(dialect string, code fhir.IssueCode, format string, args ...any) Command {
	return Command{Dialect: dialect, Problem: fhir.Refuse(http.StatusBadRequest, code, format, args...)}
}

// parseLine parses one line: a verb in any case, white space or a colon or both,
// and the arguments, which keep their case.
func parseLine(line string) []Command {
	verb, rest := line, ""
	if i := strings.IndexFunc(line, func(r rune) bool { return r == ':' || unicode.IsSpace(r) }); i >= 0 {
		verb, rest = line[:i], strings.TrimSpace(line[i:])
	}
	verb = strings.ToLower(verb)
	dialect := IG
	if after, colon := strings.CutPrefix(rest, ":"); colon {
		dialect, rest = IGColon, after
	}
	words := strings.Fields(rest)
	switch Verb(verb) {
	case Bind, Unbind, "unbind-from-token":
		c := Command{Verb: Bind, Dialect: dialect}
		if Verb(verb) != Bind {
			c.Verb = Unbind
		}
		return []Command{withToken(c, verb, words)}
	case Ping:
		if len(words) == 0 && dialect == IG {
			return []Command{{Verb: Ping, Dialect: IG}}
		}
	case LegacyBind, LegacyUnbind:
		if len(words) == 1 && dialect == IG {
			if commands := legacy(Verb(verb), words[0]); commands != nil {
				return commands
			}
		}
	}
	return []Command{refused(dialect, fhir.CodeNotSupported, "unknown message %q; this server understands bind-with-token TOKEN, unbind-with-token TOKEN and ping", shorten(line))}
}

// legacy parses the ids of the R4 messages; Argonaut's client separates several
// by commas (WSL-7). It returns nil if one is empty.
func legacy(verb Verb, list string) []Command {
	var commands []Command
	for id := range strings.SplitSeq(list, ",") {
		if id = strings.TrimPrefix(id, "Subscription/"); id == "" {
			return nil
		}
		commands = append(commands, Command{Verb: verb, ID: id, Dialect: Legacy})
	}
	return commands
}

func withToken(c Command, verb string, words []string) Command {
	switch len(words) {
	case 0:
		return refused(c.Dialect, fhir.CodeRequired, "%s needs a token: %[1]s TOKEN", verb)
	case 1:
	default:
		return refused(c.Dialect, fhir.CodeStructure, "%s takes one token, got %d words; send one message for each token", verb, len(words))
	}
	c.Token = unquote(words[0])
	if c.Token == "" {
		return refused(c.Dialect, fhir.CodeRequired, "%s needs a token: %[1]s TOKEN", verb)
	}
	return c
}

func unquote(word string) string {
	if len(word) >= 2 && word[0] == '"' && word[len(word)-1] == '"' {
		return word[1 : len(word)-1]
	}
	return word
}

func shorten(text string) string {
	const most = 60
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// parseJSON parses a frame in the format of Medplum's client.
func parseJSON(text string) Command {
	var message struct {
		Type    string `json:"type"`
		Payload struct {
			Token string `json:"token"`
		} `json:"payload"`
	}
	if err := json.Unmarshal([]byte(text), &message); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return refused(Medplum, fhir.CodeStructure, `%s in the JSON message: got a JSON %s, expected {"type":"bind-with-token","payload":{"token":"TOKEN"}}`, wrong.Field, wrong.Value)
		}
		return refused(Medplum, fhir.CodeStructure, "invalid JSON message: %v", err)
	}
	switch message.Type {
	case "ping":
		return Command{Verb: Ping, Dialect: Medplum}
	case "bind-with-token", "unbind-from-token", "unbind-with-token":
		c := Command{Verb: Bind, Dialect: Medplum}
		if message.Type != "bind-with-token" {
			c.Verb = Unbind
		}
		// As in a line, a token has no white space in it.
		switch words := strings.Fields(message.Payload.Token); len(words) {
		case 0:
			return refused(Medplum, fhir.CodeRequired, "%s needs a token in payload.token", message.Type)
		case 1:
			c.Token = words[0]
			return c
		default:
			return refused(Medplum, fhir.CodeStructure, "%s takes one token, got %d words in payload.token; send one message for each token", message.Type, len(words))
		}
	case "":
		return refused(Medplum, fhir.CodeNotSupported, "the JSON message has no type; this server understands bind-with-token, unbind-from-token and ping")
	}
	return refused(Medplum, fhir.CodeNotSupported, "unknown type %q in the JSON message; this server understands bind-with-token, unbind-from-token and ping", shorten(message.Type))
}
