package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
)

func TestJournal_NeverShowsAToken(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	var secrets []string
	take := func() string {
		secrets = append(secrets, s.Token("abc"))
		return secrets[len(secrets)-1]
	}
	for _, spelling := range []string{"bind-with-token %s", "bind-with-token: %s", `{"type":"bind-with-token","payload":{"token":"%s"}}`, "BIND-WITH-TOKEN \"%s\""} {
		ws := s.Dial()
		ws.Send(fmt.Sprintf(spelling, take()))
		ws.Next()
	}
	s.Dial("?token=" + take()).Next()
	ws := s.Dial()
	for _, wrong := range []string{"bind-with-tokn %s", "bind-with-token %s and more", `{"type":"bind","payload":{"token":"%s"}}`, `{"token":"%s"`} {
		ws.Send(fmt.Sprintf(wrong, take()))
		ws.Next()
	}
	ws.Send("bind-with-token my-own-short-secret")
	ws.Next()
	s.Must(200, "GET", "/mock/tokens", nil)
	s.Must(204, "DELETE", "/mock/tokens/"+take(), nil)
	ws.Send("bind-with-token " + secrets[len(secrets)-1])
	ws.Next()
	s.Must(200, "GET", "Subscription/abc", nil, "Authorization", "Bearer in-a-header", "Cookie", "session=in-a-header")

	name, _, _ := s.Follow("", "x-0").Next()
	if name != "hello" {
		t.Errorf("the stream begins with %q, want hello", name)
	}
	var streamed strings.Builder
	st := s.Follow("?most=100000", "x-0")
	for end := s.Journal("")[len(s.Journal(""))-1].Seq; ; {
		_, id, data := st.Next()
		streamed.WriteString(data)
		if strings.HasSuffix(id, "-"+strconv.FormatUint(end, 10)) {
			break
		}
	}
	shown := map[string]string{"stream": streamed.String()}
	for _, format := range []string{"json", "ndjson", "har"} {
		shown[format] = string(s.Must(200, "GET", "/mock/journal?bodies=true&format="+format, nil).Raw)
	}
	for format, text := range shown {
		if !strings.Contains(text, token.Fingerprint(secrets[0])) && format != "har" {
			t.Errorf("%s does not have the fingerprint of a token", format)
		}
		for _, secret := range append(secrets, "in-a-header", "my-own-short-secret") {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s shows %s: …%.200s", format, secret, text[max(0, i-100):])
			}
		}
	}
}

// A secret is not shown in part either, in no spelling a client may come up
// with, and not in the log.
func TestJournal_ShowsNoPartOfAToken(t *testing.T) {
	t.Parallel()
	s := startProcess(t) // for its log
	s.Admission()
	var secrets []string
	take := func() string {
		secrets = append(secrets, s.Token("abc"))
		return secrets[len(secrets)-1]
	}
	escaped := func(secret, as string) string { return fmt.Sprintf(as, secret[0]) + secret[1:] }
	frames := []string{
		"bind-with-tokens-for-me-please " + take(), // cut in the refusal, within the token
		"bind-with-token" + take(),
		"bind-with-token-" + take(),
		"bind-with-token " + take() + " my-own-secret-1 more",
		"unbind-with-token my-own-secret-2\nbind-with-token: my-own-secret-3",
		take(),
		`{"type":"` + take() + `"}`,
		`{"type":"bind-with-token","payload":{"Token":"` + escaped(take(), `\u%04x`) + `"}}`,
		`{"type":"bind-with-token","payload":{"tok\u0065n":"` + take() + `"}}`,
		`{"type":"bind-with-token","payload":{"token":"my-own-secret-4 and more"}}`,
		`{"token":"my-own-secret-5`,
	}
	for _, frame := range frames {
		ws := s.Dial()
		ws.Send(frame)
		ws.Next()
	}
	for _, query := range []string{"?token=" + escaped(take(), "%%%02x"), "?token=my-own-secret-6", "?x=1&token=" + take() + "&token=" + take()} {
		s.Dial(query).Next()
	}
	revoked := take()
	s.Must(204, "DELETE", s.URL+"/mock/tokens/"+escaped(revoked, "%%%02x"), nil)
	s.Must(404, "DELETE", "/mock/tokens/"+revoked, nil)
	s.Must(404, "DELETE", "/mock/tokens/my-own-secret-7", nil)
	s.Must(404, "GET", "/mock/nothing/"+take(), nil)
	s.Must(400, "POST", "/mock/trigger", `{"token":"`+take()+`"}`)
	s.Must(404, "GET", "Patient/none?token="+take(), nil, "Referer", "http://127.0.0.1/page?token="+take())
	secrets = append(secrets, "my-own-secret")

	log := s.log()
	if !strings.HasPrefix(log, "signalfhir ") || !strings.Contains(log, "POST /mock/trigger status=400") {
		t.Errorf("the log is not whole:\n%s", log)
	}
	shown := map[string]string{"log": log}
	for _, format := range []string{"json", "ndjson", "har"} {
		shown[format] = string(s.Must(200, "GET", "/mock/journal?bodies=true&format="+format, nil).Raw)
	}
	for where, text := range shown {
		for n, secret := range secrets {
			for at := 0; at+12 <= len(secret); at++ {
				if i := strings.Index(text, secret[at:at+12]); i >= 0 {
					t.Errorf("%s shows a part of secret %d: …%.200s", where, n, text[max(0, i-150):])
					break
				}
			}
		}
	}
	if got := s.Journal("?kind=received&text=" + token.Fingerprint(secrets[0])); len(got) != 1 || got[0].Type != "unknown" {
		t.Errorf("the misspelt bind: got %v, want it under the fingerprint", got)
	}
}
