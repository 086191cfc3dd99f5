package protocol

import (
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestToken_ParametersInEveryForm(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	s.Must(201, "PUT", "Subscription/def", websocketSubscription("def", admissionURL))
	const op = "Subscription/$get-ws-binding-token"
	body := func(values ...string) string {
		var list []string
		for _, value := range values {
			list = append(list, `{"name":"id",`+value+`}`)
		}
		return `{"resourceType":"Parameters","parameter":[` + strings.Join(list, ",") + `]}`
	}
	tests := map[string]struct {
		method, path string
		body         any
		want         string
	}{
		"GET":                     {"GET", op + "?id=abc", nil, "abc"},
		"repeated":                {"GET", op + "?id=def&id=abc", nil, "def abc"},
		"a comma list":            {"GET", op + "?id=def,abc", nil, "def abc"},
		"none: all of them":       {"POST", op, nil, "abc def"},
		"duplicates":              {"POST", op + "?id=abc&id=abc", nil, "abc"},
		"valueId":                 {"POST", op, body(`"valueId":"abc"`), "abc"},
		"valueString":             {"POST", op, body(`"valueString":"Subscription/abc"`), "abc"},
		"absolute":                {"POST", op, body(`"valueUri":"` + s.FHIR + `/Subscription/def"`), "def"},
		"body and query":          {"POST", op + "?id=def", body(`"valueId":"abc"`), "def abc"},
		"no parameters":           {"POST", op, `{"resourceType":"Parameters"}`, "abc def"},
		"unknown ones":            {"POST", op + "?idz=x&id=abc", nil, "abc"},
		"instance ignores ids":    {"POST", "Subscription/abc/$get-ws-binding-token?id=def", nil, "abc"},
		"percent-encoded":         {"POST", "Subscription/abc/%24get-ws-binding-token", nil, "abc"},
		"percent-encoded by type": {"GET", "Subscription/%24get-ws-binding-token?id=abc", nil, "abc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			a := s.Must(200, test.method, test.path, test.body)
			if got := strings.Join(a.Parameters("subscription"), " "); got != test.want {
				t.Errorf("got a token for %q, want %q", got, test.want)
			}
			fhirtest.Valid(t, fhir.R5, a.Raw)
		})
	}
	if a := s.Must(200, "GET", "Subscription/abc", nil); a.Header.Get("ETag") != `W/"1"` {
		t.Error("issuing tokens made a new version of the subscription (OPW-15)")
	}
	strict := vectorServer(t, fhir.R5, "--strict")
	if a := strict.Must(405, "GET", op+"?id=abc", nil); a.Header.Get("Allow") != "POST" {
		t.Errorf("--strict: Allow is %q, want POST (OP-3)", a.Header.Get("Allow"))
	}
}

func TestToken_WebsocketURLBehindAProxy(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	const op = "Subscription/abc/$get-ws-binding-token"
	for want, headers := range map[string][]string{
		"wss://fhir.example.org":     {"X-Forwarded-Proto", "https", "X-Forwarded-Host", "fhir.example.org"},
		"ws://fhir.example.org:8443": {"X-Forwarded-Host", "fhir.example.org:8443, inner"},
		"ws://localhost:1234":        {"Host", "localhost:1234"},
	} {
		want = want + s.Path() + "/ws"
		if got := s.Must(200, "POST", op, nil, headers...).Parameters("websocket-url"); !slices.Equal(got, []string{want}) {
			t.Errorf("%v: got %s, want %s (OPW-16)", headers, got, want)
		}
	}
}

// OPW-2: drafts had ids; it is taken, and said.
func TestToken_OldParameterNameIsTakenAndReported(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R4)
	s.Must(200, "GET", "Subscription/$get-ws-binding-token?ids=abc", nil)
	if got := s.Journal("?kind=lenient"); len(got) != 1 || !strings.Contains(got[0].Text, `"ids"`) {
		t.Errorf("got %v, want one entry that names ids", got)
	}
}

func TestToken_IsNotForASubscriptionCreatedAnewUnderItsID(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	old := s.Token("abc")
	s.Must(201, "POST", "Encounter", encounter("", "in-progress"))
	s.Must(204, "DELETE", "Subscription/abc", nil)
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL))
	ws := s.Dial()
	ws.Send("bind-with-token " + old)
	ws.Outcome("deleted")
	ws.Send("bind-with-token " + s.Token("abc"))
	if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "0" {
		t.Errorf("got %s with total %s, want a handshake that counts from 0 again (LC-13)", f.Kind(), f.Total())
	}
}
