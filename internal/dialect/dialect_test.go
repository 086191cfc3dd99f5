package dialect_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/dialect"
	"signalfhir/internal/fhir"
)

// refusal is the expected content of a command without a verb.
func refusal(spoken, code, says string) dialect.Command {
	return dialect.Command{Dialect: spoken, Problem: fhir.Refuse(400, fhir.IssueCode(code), "%s", says)}
}

func TestParse_ReadsEverySpelling(t *testing.T) {
	t.Parallel()
	const token = "aB3-_x" // its case must survive
	ig := dialect.Command{Verb: dialect.Bind, Token: token, Dialect: dialect.IG}
	colon := dialect.Command{Verb: dialect.Bind, Token: token, Dialect: dialect.IGColon}
	medplum := dialect.Command{Verb: dialect.Bind, Token: token, Dialect: dialect.Medplum}
	unbind := dialect.Command{Verb: dialect.Unbind, Token: token, Dialect: dialect.IG}
	unbindColon := dialect.Command{Verb: dialect.Unbind, Token: token, Dialect: dialect.IGColon}
	unbindMedplum := dialect.Command{Verb: dialect.Unbind, Token: token, Dialect: dialect.Medplum}
	ping := dialect.Command{Verb: dialect.Ping, Dialect: dialect.IG}
	legacy := dialect.Command{Verb: dialect.LegacyBind, ID: "aB3", Dialect: dialect.Legacy}
	other := func(token string) dialect.Command {
		return dialect.Command{Verb: dialect.Bind, Token: token, Dialect: dialect.IG}
	}

	rows := []struct {
		name, frame string
		want        []dialect.Command
	}{
		// WS-15: the text form, with and without colon, white space and quotes.
		{"the canonical form", "bind-with-token aB3-_x", []dialect.Command{ig}},
		{"white space around and between", " \t bind-with-token \t\u00a0 aB3-_x \n", []dialect.Command{ig}},
		{"line feed at the end", "bind-with-token aB3-_x\n", []dialect.Command{ig}},
		{"carriage return and line feed at the end", "bind-with-token aB3-_x\r\n", []dialect.Command{ig}},
		{"a verb in capitals", "BIND-WITH-TOKEN aB3-_x", []dialect.Command{ig}},
		{"a verb in mixed case", "Bind-With-Token aB3-_x", []dialect.Command{ig}},
		{"a token in quotes", `bind-with-token "aB3-_x"`, []dialect.Command{ig}},
		{"a colon and a space", "bind-with-token: aB3-_x", []dialect.Command{colon}},
		{"a colon only", "bind-with-token:aB3-_x", []dialect.Command{colon}},
		{"a colon between spaces", "bind-with-token : aB3-_x", []dialect.Command{colon}},
		{"a colon before the token", "bind-with-token :aB3-_x", []dialect.Command{colon}},
		{"a colon and capitals", "BIND-WITH-TOKEN:aB3-_x", []dialect.Command{colon}},
		{"a colon and quotes", `bind-with-token:"aB3-_x"`, []dialect.Command{colon}},
		{"a token with colons after a colon", "bind-with-token:urn:x:", []dialect.Command{{Verb: dialect.Bind, Token: "urn:x:", Dialect: dialect.IGColon}}},
		{"a token with colons after a space", "bind-with-token urn:x:", []dialect.Command{other("urn:x:")}},
		{"a token with one quote only", `bind-with-token "a`, []dialect.Command{other(`"a`)}},
		{"a token that is a quote", `bind-with-token "`, []dialect.Command{other(`"`)}},
		{"a token with quotes inside", `bind-with-token a"b`, []dialect.Command{other(`a"b`)}},

		// WS-16: the JSON form.
		{"JSON bind", `{"type":"bind-with-token","payload":{"token":"aB3-_x"}}`, []dialect.Command{medplum}},
		{"JSON bind over several lines", "\n {\n\"payload\": {\"token\": \"aB3-_x\"},\r\n\"type\": \"bind-with-token\"\n}\n", []dialect.Command{medplum}},
		{"JSON bind with more members", `{"type":"bind-with-token","id":1,"payload":{"token":"aB3-_x","x":[]}}`, []dialect.Command{medplum}},
		{"JSON bind with white space around the token", `{"type":"bind-with-token","payload":{"token":" aB3-_x\n"}}`, []dialect.Command{medplum}},
		{"JSON unbind as Medplum says it", `{"type":"unbind-from-token","payload":{"token":"aB3-_x"}}`, []dialect.Command{unbindMedplum}},
		{"JSON unbind as the text form says it", `{"type":"unbind-with-token","payload":{"token":"aB3-_x"}}`, []dialect.Command{unbindMedplum}},
		{"JSON ping", `{"type":"ping"}`, []dialect.Command{{Verb: dialect.Ping, Dialect: dialect.Medplum}}},

		// WS-17: unbind.
		{"unbind", "unbind-with-token aB3-_x", []dialect.Command{unbind}},
		{"unbind in Medplum's word", "unbind-from-token aB3-_x", []dialect.Command{unbind}},
		{"unbind with a colon", "Unbind-With-Token:aB3-_x", []dialect.Command{unbindColon}},
		{"unbind with quotes", `unbind-from-token: "aB3-_x"`, []dialect.Command{unbindColon}},

		// WS-18: one command a line.
		{"several lines", "bind-with-token aB3-_x\nbind-with-token: aB3-_x\r\n\r\n  \nping\nunbind-with-token aB3-_x\n", []dialect.Command{ig, colon, ping, unbind}},
		{"the same line twice", "bind-with-token aB3-_x\nbind-with-token aB3-_x", []dialect.Command{ig, ig}},
		{"a bad line between good ones", "bind-with-token a\nbind-with-token\nbind-with-token b", []dialect.Command{
			other("a"), refusal(dialect.IG, "required", "bind-with-token needs a token: bind-with-token TOKEN"), other("b")}},
		{"nothing", "", nil},
		{"white space only", " \t\r\n\u2028\n ", nil},

		// WS-20: ping.
		{"ping", "ping", []dialect.Command{ping}},
		{"ping with white space around", " ping\n", []dialect.Command{ping}},
		{"ping in capitals", "PING", []dialect.Command{ping}},

		// WSL-2, WSL-7: bind of R4.
		{"legacy bind", "bind aB3", []dialect.Command{legacy}},
		{"legacy bind in capitals", "BIND aB3", []dialect.Command{legacy}},
		{"legacy bind of a reference", "bind Subscription/aB3", []dialect.Command{legacy}},
		{"legacy bind of several", "bind aB3,Subscription/aB3", []dialect.Command{legacy, legacy}},
		{"legacy unbind", "Unbind aB3", []dialect.Command{{Verb: dialect.LegacyUnbind, ID: "aB3", Dialect: dialect.Legacy}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(row.want, dialect.Parse(row.frame)); diff != "" {
				t.Errorf("%q is parsed wrongly (-want +got):\n%s", row.frame, diff)
			}
		})
	}
}

// Section 7.6: the texts of refusals, and the dialect each is sent in.
func TestParse_RefusesWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	const (
		understood     = "; this server understands bind-with-token TOKEN, unbind-with-token TOKEN and ping"
		understoodJSON = "; this server understands bind-with-token, unbind-from-token and ping"
		expectedJSON   = `, expected {"type":"bind-with-token","payload":{"token":"TOKEN"}}`
	)
	rows := []struct{ name, frame, dialect, code, says string }{
		{"no token", "bind-with-token", dialect.IG, "required", "bind-with-token needs a token: bind-with-token TOKEN"},
		{"no token after a colon", "bind-with-token:", dialect.IGColon, "required", "bind-with-token needs a token: bind-with-token TOKEN"},
		{"no token after a space and a colon", "Bind-With-Token :", dialect.IGColon, "required", "bind-with-token needs a token: bind-with-token TOKEN"},
		{"empty quotes", `bind-with-token ""`, dialect.IG, "required", "bind-with-token needs a token: bind-with-token TOKEN"},
		{"unbind without token", "unbind-with-token", dialect.IG, "required", "unbind-with-token needs a token: unbind-with-token TOKEN"},
		{"unbind without token, in Medplum's word", "unbind-from-token: ", dialect.IGColon, "required", "unbind-from-token needs a token: unbind-from-token TOKEN"},
		{"two tokens", "bind-with-token a b", dialect.IG, "structure", "bind-with-token takes one token, got 2 words; send one message for each token"},
		{"three tokens after a colon", "bind-with-token:a b c", dialect.IGColon, "structure", "bind-with-token takes one token, got 3 words; send one message for each token"},
		{"white space inside the quotes", `bind-with-token " a "`, dialect.IG, "structure", "bind-with-token takes one token, got 3 words; send one message for each token"},
		{"unbind of two tokens", "unbind-with-token a b", dialect.IG, "structure", "unbind-with-token takes one token, got 2 words; send one message for each token"},

		{"unknown verb", "subscribe me", dialect.IG, "not-supported", `unknown message "subscribe me"` + understood},
		{"unknown verb with a colon", "subscribe: me", dialect.IGColon, "not-supported", `unknown message "subscribe: me"` + understood},
		{"no verb before the colon", ": a", dialect.IGColon, "not-supported", `unknown message ": a"` + understood},
		{"no space before the token", "bind-with-tokenaB3", dialect.IG, "not-supported", `unknown message "bind-with-tokenaB3"` + understood},
		{"a token alone", "aB3-_x", dialect.IG, "not-supported", `unknown message "aB3-_x"` + understood},
		{"a command in quotes", `"bind-with-token a"`, dialect.IG, "not-supported", `unknown message "\"bind-with-token a\""` + understood},
		{"JSON that is not an object", "[1]", dialect.IG, "not-supported", `unknown message "[1]"` + understood},
		{"a ping of something", "ping abc", dialect.IG, "not-supported", `unknown message "ping abc"` + understood},
		{"a ping with a colon", "ping:", dialect.IGColon, "not-supported", `unknown message "ping:"` + understood},
		{"legacy bind of nothing", "bind", dialect.IG, "not-supported", `unknown message "bind"` + understood},
		{"legacy bind of an empty reference", "bind Subscription/", dialect.IG, "not-supported", `unknown message "bind Subscription/"` + understood},
		{"legacy bind of a list with a hole", "bind a,,b", dialect.IG, "not-supported", `unknown message "bind a,,b"` + understood},
		{"legacy bind of two words", "bind a b", dialect.IG, "not-supported", `unknown message "bind a b"` + understood},
		{"legacy bind with a colon", "bind: a", dialect.IGColon, "not-supported", `unknown message "bind: a"` + understood},
		{"a long message is cut", strings.Repeat("x", 61), dialect.IG, "not-supported", `unknown message "` + strings.Repeat("x", 60) + `…"` + understood},
		{"a message of the longest length is not", strings.Repeat("x", 60), dialect.IG, "not-supported", `unknown message "` + strings.Repeat("x", 60) + `"` + understood},
		{"a cut falls between letters", "x" + strings.Repeat("é", 40), dialect.IG, "not-supported", `unknown message "x` + strings.Repeat("é", 29) + `…"` + understood},
		// The lower case of İ is shorter than İ, which once put the colon outside of the verb.
		{"letters that shrink in lower case", "İİİİİ:x", dialect.IGColon, "not-supported", `unknown message "İİİİİ:x"` + understood},

		{"JSON that breaks off", `{"type":"ping"`, dialect.Medplum, "structure", "invalid JSON message: unexpected end of JSON input"},
		{"invalid JSON", "{oops", dialect.Medplum, "structure", "invalid JSON message: invalid character 'o' looking for beginning of object key string"},
		{"two JSON messages in a frame", `{"type":"ping"}` + "\n" + `{"type":"ping"}`, dialect.Medplum, "structure", "invalid JSON message: invalid character '{' after top-level value"},
		{"JSON with a number for the type", `{"type":1}`, dialect.Medplum, "structure", "type in the JSON message: got a JSON number" + expectedJSON},
		{"JSON with a token for the payload", `{"type":"bind-with-token","payload":"a"}`, dialect.Medplum, "structure", "payload in the JSON message: got a JSON string" + expectedJSON},
		{"JSON with a number for the token", `{"type":"bind-with-token","payload":{"token":1}}`, dialect.Medplum, "structure", "payload.token in the JSON message: got a JSON number" + expectedJSON},
		{"JSON without type", `{"payload":{"token":"a"}}`, dialect.Medplum, "not-supported", "the JSON message has no type" + understoodJSON},
		{"an empty JSON object", `{}`, dialect.Medplum, "not-supported", "the JSON message has no type" + understoodJSON},
		{"JSON with null for the type", `{"type":null}`, dialect.Medplum, "not-supported", "the JSON message has no type" + understoodJSON},
		{"JSON of an unknown type", `{"type":"hello"}`, dialect.Medplum, "not-supported", `unknown type "hello" in the JSON message` + understoodJSON},
		{"JSON type in capitals", `{"type":"PING"}`, dialect.Medplum, "not-supported", `unknown type "PING" in the JSON message` + understoodJSON},
		{"JSON pong", `{"type":"pong"}`, dialect.Medplum, "not-supported", `unknown type "pong" in the JSON message` + understoodJSON},
		{"JSON bind without payload", `{"type":"bind-with-token"}`, dialect.Medplum, "required", "bind-with-token needs a token in payload.token"},
		{"JSON bind without token", `{"type":"bind-with-token","payload":{}}`, dialect.Medplum, "required", "bind-with-token needs a token in payload.token"},
		{"JSON bind with the token beside the payload", `{"type":"bind-with-token","token":"a"}`, dialect.Medplum, "required", "bind-with-token needs a token in payload.token"},
		{"JSON bind with an empty token", `{"type":"bind-with-token","payload":{"token":" "}}`, dialect.Medplum, "required", "bind-with-token needs a token in payload.token"},
		{"JSON unbind without token", `{"type":"unbind-from-token","payload":null}`, dialect.Medplum, "required", "unbind-from-token needs a token in payload.token"},
		{"JSON bind of two tokens", `{"type":"bind-with-token","payload":{"token":"a b"}}`, dialect.Medplum, "structure", "bind-with-token takes one token, got 2 words in payload.token; send one message for each token"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			want := []dialect.Command{refusal(row.dialect, row.code, row.says)}
			if diff := cmp.Diff(want, dialect.Parse(row.frame)); diff != "" {
				t.Errorf("%q is refused wrongly (-want +got):\n%s", row.frame, diff)
			}
		})
	}
}

// A JSON frame is one command, and only at the start of a frame (WS-16, WS-18).
func TestParse_JSONInALineIsNotACommand(t *testing.T) {
	t.Parallel()
	commands := dialect.Parse("ping\n" + `{"type":"ping"}`)
	if len(commands) != 2 {
		t.Fatalf("got %d commands, want 2", len(commands))
	}
	if commands[0].Verb != dialect.Ping || commands[0].Problem != nil {
		t.Errorf("first line: got %+v, want a ping", commands[0])
	}
	if problem := commands[1].Problem; problem == nil || fhir.CodeOf(problem) != "not-supported" {
		t.Errorf("second line: got %+v, want it refused as not-supported", commands[1])
	}
}

// WS-16, WS-20: the reply to a ping is in the dialect of the ping.
func TestPong_UsesTheDialectOfThePing(t *testing.T) {
	t.Parallel()
	for frame, want := range map[string]string{
		"ping":            "pong",
		`{"type":"ping"}`: `{"type":"pong"}`,
	} {
		commands := dialect.Parse(frame)
		if len(commands) != 1 || commands[0].Verb != dialect.Ping {
			t.Fatalf("%s: got %+v, want a ping", frame, commands)
		}
		if got := commands[0].Pong(); got != want {
			t.Errorf("the reply to %s is %s, want %s", frame, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", " \n", "ping", "PING\nping x\n: \n", "bind-with-token", "bind-with-token a", "Bind-With-Token:\"a\"\r\n", "bind-with-token : :a",
		"unbind-from-token a b", "unbind-with-token: \"\"a\"\"", "bind Subscription/", "bind a,b", "unbind a", "bİnd:İ", "bind-with-toKen a", "İİİİİ:x", "\xff:\xff", "::",
		`{"type":"ping"}`, `{"type":"bind-with-token","payload":{"token":"a b"}}`, `{"type":"unbind-from-token","payload":{"token":":\"a\u2028"}}`, `{"type":1}`, `{`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame string) {
		commands := dialect.Parse(frame)
		if blank := strings.TrimSpace(frame) == ""; blank != (len(commands) == 0) {
			t.Fatalf("%q: got %d commands", frame, len(commands))
		}
		if most := strings.Count(frame, "\n") + strings.Count(frame, ",") + 1; len(commands) > most {
			t.Fatalf("%q: got %d commands, want at most %d (WS-18, WSL-7)", frame, len(commands), most)
		}
		for _, command := range commands {
			if err := sound(command); err != nil {
				t.Fatalf("%q: %v in %+v", frame, err, command)
			}
			if command.Token != "" {
				readAgain(t, command)
			}
		}
	})
}

// sound reports what is wrong with a command: it must have what its verb needs and
// nothing else.
func sound(c dialect.Command) error {
	if c.Problem != nil {
		if c.Verb != dialect.Unknown || c.Token != "" || c.ID != "" {
			return fmt.Errorf("a refusal with a verb, token or id")
		}
		if fhir.CodeOf(c.Problem) == "" || c.Problem.Error() == "" {
			return fmt.Errorf("a refusal that says nothing")
		}
		return nil
	}
	for _, word := range []string{c.Token, c.ID} {
		if strings.ContainsFunc(word, unicode.IsSpace) {
			return fmt.Errorf("white space in %q", word)
		}
	}
	switch c.Verb {
	case dialect.Bind, dialect.Unbind:
		if c.Token == "" || c.ID != "" {
			return fmt.Errorf("not a token and only a token")
		}
	case dialect.LegacyBind, dialect.LegacyUnbind:
		if c.ID == "" || c.Token != "" || c.Dialect != dialect.Legacy {
			return fmt.Errorf("not an id and only an id, in the legacy dialect")
		}
	case dialect.Ping:
		if c.ID != "" || c.Token != "" {
			return fmt.Errorf("a ping with a token or an id")
		}
	default:
		return fmt.Errorf("neither a verb nor a problem")
	}
	switch c.Dialect {
	case dialect.IG, dialect.IGColon, dialect.Medplum, dialect.Legacy:
		return nil
	}
	return fmt.Errorf("an unknown dialect")
}

// readAgain writes a command with a token in the canonical form of WS-15, which
// must mean the same.
func readAgain(t *testing.T, c dialect.Command) {
	t.Helper()
	want := []dialect.Command{{Verb: c.Verb, Token: c.Token, Dialect: dialect.IG}}
	frames := []string{fmt.Sprintf(`%s "%s"`, c.Verb, c.Token)}
	if !strings.HasPrefix(c.Token, ":") && !strings.HasPrefix(c.Token, `"`) {
		frames = append(frames, fmt.Sprintf("%s %s", c.Verb, c.Token)) // unquoted, the colon or quote would not be part of the token
	}
	for _, frame := range frames {
		if diff := cmp.Diff(want, dialect.Parse(frame)); diff != "" {
			t.Fatalf("%+v written as %q is read differently (-want +got):\n%s", c, frame, diff)
		}
	}
}
