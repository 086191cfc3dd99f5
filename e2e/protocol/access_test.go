package protocol

import (
	"encoding/base64"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/internal/wiretest"
)

const accessToken = "a-token.of~the_test-1"

// startLocked runs a process that lets in only who has the token.
func startLocked(t *testing.T) *server {
	t.Helper()
	return start(t, "--auth-token", accessToken)
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestAccess_WhatOpensTheServer(t *testing.T) {
	t.Parallel()
	s, other := startLocked(t), start(t, "--auth-token", "the-token-of-another-server")
	signed := s.signIn("grant_type=client_credentials&client_id=me&client_secret=" + url.QueryEscape(accessToken))
	if signed.Status != 200 {
		t.Fatalf("the sign-in: got %d %s", signed.Status, signed.Raw)
	}
	jwt := signed.Body["access_token"].(string)
	cookie, _, _ := strings.Cut(signed.Header.Get("Set-Cookie"), ";")
	name, value, _ := strings.Cut(cookie, "=")
	parts := strings.Split(jwt, ".")
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	foreign := other.signIn("grant_type=client_credentials&client_secret=the-token-of-another-server").Body["access_token"].(string)
	for what, row := range map[string]struct {
		headers []string
		query   string
		says    string // in the refusal; "" if the request is let in
	}{
		"nothing":                     {nil, "", "Authorization: Bearer TOKEN"},
		"the token":                   {bearer(accessToken), "", ""},
		"in another case":             {[]string{"Authorization", "bearer " + accessToken}, "", ""},
		"what the sign-in returned":   {bearer(jwt), "", ""},
		"an old one of it":            {bearer(jwt), "?_id=1", ""},
		"the cookie":                  {[]string{"Cookie", cookie}, "", ""},
		"the token as a cookie":       {[]string{"Cookie", name + "=" + accessToken}, "", ""},
		"another cookie":              {[]string{"Cookie", "signalfhir=" + value}, "", "signs in on the page"},
		"a cookie of another token":   {[]string{"Cookie", name + "=" + foreign}, "", "sign in again"},
		"two cookies":                 {[]string{"Cookie", name + "=x; " + cookie}, "", ""},
		"a foreign page's token":      {append(bearer(accessToken), "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), "", ""},
		"the cookie, a local page":    {[]string{"Cookie", cookie, "Origin", "http://localhost:3000"}, "", ""},
		"another token":               {bearer("another-token-of-the-test"), "", "not that of this server"},
		"a part of it":                {bearer(accessToken[:20]), "", "not that of this server"},
		"no token":                    {[]string{"Authorization", "Bearer"}, "", "not that of this server"},
		"a wrong token, right cookie": {append(bearer("x"), "Cookie", cookie), "", "not that of this server"},
		"a token nobody signed":       {bearer(unsigned), "", "not that of this server"},
		"of another server":           {bearer(foreign), "", "not that of this server"},
		"with other claims":           {bearer(parts[0] + "." + encode([]byte(`{"sub":"x"}`)) + "." + parts[2]), "", "not that of this server"},
		"without a signature":         {bearer(parts[0] + "." + parts[1] + "."), "", "not that of this server"},
		"Basic":                       {[]string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+accessToken))}, "", "no other Authorization than Bearer"},
		"in the address":              {nil, "?access_token=" + url.QueryEscape(accessToken), "access_token in the address is not read"},
		"in the address too":          {bearer(accessToken), "?access_token=x", "access_token in the address is not read"},
	} {
		for _, path := range []string{"/fhir/R5/Patient", "/mock/state", "/metrics", "/rooms", "/auth/me"} {
			a := s.Do("GET", path+row.query, nil, row.headers...)
			switch {
			case row.says == "" && a.Status == 401, row.says == "" && row.query == "" && a.Status != 200:
				t.Errorf("%s, %s: got %d %s, want it let in", what, path, a.Status, a.Raw)
			case row.says != "" && (a.Status != 401 || !strings.Contains(strings.ReplaceAll(string(a.Raw), `\"`, `"`), row.says)):
				t.Errorf("%s, %s: got %d %s, want 401 with %q", what, path, a.Status, a.Raw, row.says)
			case row.says != "" && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), `Bearer realm="signalfhir"`):
				t.Errorf("%s, %s: the challenge is %q", what, path, a.Header.Get("WWW-Authenticate"))
			}
		}
	}
	for _, path := range []string{"Patient", "/metrics", "/auth/me"} { // others refuse foreign pages in any case
		if a := s.Do("GET", path, nil, "Cookie", cookie, "Origin", "http://evil.example"); a.Status != 401 || !strings.Contains(string(a.Raw), "counts only for pages") {
			t.Errorf("%s with the cookie of a foreign page: got %d %s, want 401", path, a.Status, a.Raw)
		}
	}
	a := s.Do("GET", "metadata", nil, bearer("x")...)
	if !strings.Contains(string(a.Raw), `"code":"login"`) || !strings.Contains(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("a wrong token: got %s with the challenge %q", a.Raw, a.Header.Get("WWW-Authenticate"))
	}
	if a := s.Do("GET", "/mock/journal", nil); a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a control route: got %s, want problem details", a.Header.Get("Content-Type"))
	}
}

func TestAccess_SignInChecksTheSecret(t *testing.T) {
	t.Parallel()
	s := startLocked(t)
	signed := s.signIn("grant_type=client_credentials&client_secret=" + accessToken).Body["access_token"].(string)
	if a := s.Do("POST", "/oauth2/token?grant_type=client_credentials&client_secret="+accessToken, "", "Content-Type", formType); a.Status != 401 {
		t.Errorf("a secret in the address: got %d %s, want 401", a.Status, a.Raw)
	}
	for _, path := range []string{"/?access_token=x", "/healthz?access_token=x", "/oauth2/token?access_token=x", "/rooms/none/?access_token=x"} {
		if a := s.Do("GET", path, nil); a.Status != 401 || !strings.Contains(string(a.Raw), "access_token in the address") {
			t.Errorf("%s: got %d %s, want 401", path, a.Status, a.Raw)
		}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+accessToken))
	for form, headers := range map[string][]string{
		"grant_type=client_credentials":                                 nil,
		"grant_type=client_credentials&client_secret=anything":          nil,
		"grant_type=password&username=me&password=" + accessToken + "x": nil,
		"grant_type=client_credentials&client_id=me":                    {"Authorization", "Basic bWU6eA=="},
		"grant_type=client_credentials&client_secret=" + signed:         nil,
	} {
		a := s.signIn(form, headers...)
		if a.Status != 401 || a.Body["error"] != "invalid_client" || a.Header.Get("Set-Cookie") != "" || (a.Header.Get("WWW-Authenticate") != "") != (headers != nil) {
			t.Errorf("%s: got %d %v %s, want 401 invalid_client", form, a.Status, a.Header, a.Raw)
		}
	}
	a := s.signIn("grant_type=client_credentials&client_id=me", "Authorization", basic)
	if a.Status != 200 || a.Body["client_id"] != nil {
		t.Errorf("with Basic: got %d %s", a.Status, a.Raw)
	}
	cookie := a.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "Path=/", "SameSite=Lax"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q has no %s", cookie, want)
		}
	}
	if a := s.Do("POST", "/oauth2/logout", nil); a.Status != 200 || !strings.Contains(a.Header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("the logout: got %d with the cookie %q", a.Status, a.Header.Get("Set-Cookie"))
	}
	if a := start(t).signIn("grant_type=client_credentials&client_secret=anything"); a.Status != 200 || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("a server without a token: got %d, with the cookie %q", a.Status, a.Header.Get("Set-Cookie"))
	}
}

// A socket needs the header, or the cookie where there can be no header.
func TestAccess_Sockets(t *testing.T) {
	t.Parallel()
	s := startLocked(t)
	signed := s.signIn("grant_type=client_credentials&client_secret=" + url.QueryEscape(accessToken))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(at, (&http.Response{Header: signed.Header}).Cookies())
	header := http.Header{"Authorization": {"Bearer " + accessToken}}
	for name, row := range map[string]struct {
		options websocket.DialOptions
		query   string
		opens   bool
	}{
		"nothing":       {websocket.DialOptions{}, "", false},
		"the header":    {websocket.DialOptions{HTTPHeader: header}, "", true},
		"the cookie":    {websocket.DialOptions{HTTPClient: &http.Client{Jar: jar}}, "", true},
		"a subprotocol": {websocket.DialOptions{Subprotocols: []string{"bearer", accessToken}}, "", false},
		"the address":   {websocket.DialOptions{}, "?access_token=" + url.QueryEscape(accessToken), false},
	} {
		for _, path := range []string{"/ws", "/websocket", "/ws/subscriptions-r4"} {
			conn, res, err := websocket.Dial(t.Context(), s.URL+path+row.query, &row.options)
			if (err == nil) != row.opens || !row.opens && (res == nil || res.StatusCode != 401) {
				t.Errorf("%s, %s: got %v, want it open: %v", name, path, err, row.opens)
			}
			if err == nil {
				conn.CloseNow()
			}
		}
	}
	a := s.Do("GET", "/ws", nil, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", "bearer")
	if a.Status != 401 || !strings.Contains(string(a.Raw), "does not look for a token in the subprotocol") {
		t.Errorf("a subprotocol: got %d %s", a.Status, a.Raw)
	}
	// The flow, with the header.
	in := bearer(accessToken)
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic(), in...)
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL), in...)
	token := binding(t, s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil, in...))
	conn, _, err := websocket.Dial(t.Context(), s.WS, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	ws := &wiretest.Socket{T: t, Conn: conn}
	t.Cleanup(func() { conn.CloseNow() })
	ws.Send("bind-with-token " + token)
	if f := ws.Next(); f.Kind() != "handshake" {
		t.Errorf("got %s, want a handshake", f.Raw)
	}
}

// binding returns the token of a response of $get-ws-binding-token.
func binding(t *testing.T, a response) string {
	t.Helper()
	for _, p := range asList(a.Body["parameter"]) {
		if part := p.(map[string]any); part["name"] == "token" {
			return part["valueString"].(string)
		}
	}
	t.Fatalf("no token in %s", a.Raw)
	return ""
}

// Neither the token nor what the sign-in makes of it is shown, wherever a client puts it.
func TestAccess_TokenIsHidden(t *testing.T) {
	t.Parallel()
	s := start(t, "--auth-token", accessToken, "--log-level", "debug")
	in := bearer(accessToken)
	signed := s.signIn("grant_type=client_credentials&client_secret=" + accessToken).Body["access_token"].(string)
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic(), in...)
	s.Must(201, "PUT", "Subscription/abc", websocketSubscription("abc", admissionURL, "content", "full-resource"), in...)
	s.Must(201, "PUT", "/rooms/other", nil, in...)
	token := binding(t, s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil, in...))
	for _, secret := range []string{accessToken, signed} {
		s.Do("GET", "Patient?access_token="+secret, nil)
		s.Do("GET", "Patient?access_token="+secret, nil, in...)
		s.Do("GET", "Patient/"+secret+"?x="+secret, nil, in...)
		s.Do("GET", "Subscription/"+secret, nil, in...)
		s.Do("GET", "/nothing/"+secret, nil, in...)
		s.Do("GET", "/rooms/none/"+secret, nil)
		s.Do("GET", "/rooms/other/fhir/R5/"+secret, nil, in...)
		s.Do("GET", "Patient", nil, append(in, "Sec-WebSocket-Protocol", "bearer, "+secret, "X-Api-Key", secret, "Cookie", "x="+secret, "Referer", "http://x/"+secret)...)
		s.Do("GET", "Patient", nil, append(in, "X-"+accessToken, "1")...)
		s.Do("POST", "Patient", `{"resourceType":"Patient","id":"`+secret+`"}`, in...)
		s.Do("POST", "/mock/trigger", `{"subscription":"`+secret+`"}`, in...)
		s.Do("PUT", "Encounter/e", encounter("e", "in-progress", "identifier", []any{map[string]any{"value": secret}}), in...)
		conn, _, err := websocket.Dial(t.Context(), s.WS+"?x="+secret, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + accessToken}}})
		if err != nil {
			t.Fatal(err)
		}
		ws := &wiretest.Socket{T: t, Conn: conn}
		ws.Send("bind-with-token " + token)
		ws.Next()
		s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc", "focus": with(patient("p", "x"), "identifier", []any{map[string]any{"value": secret}})}, in...)
		ws.Next()
		for _, text := range []string{"hello " + secret, "bind " + secret, "ping " + secret, secret, `{"` + secret + `":1}`, `{"type":"` + secret + `"}`} {
			ws.Send(text)
			ws.Next()
		}
		_ = conn.Close(websocket.StatusNormalClosure, "bye "+accessToken)
	}
	s.Do(accessToken, "Patient", nil, in...)
	s.Do(accessToken, "Patient", nil)
	for _, path := range []string{"/mock/journal?bodies=true", "/mock/journal?format=har", "/mock/state", "/rooms/other/mock/journal?format=har", "/mock/explain?resource=Encounter/e", "/metrics"} {
		a := s.Must(200, "GET", path, nil, in...)
		if text := string(a.Raw); strings.Contains(text, accessToken) || strings.Contains(text, "eyJhbGciOiJIUzI1NiI") || len(text) < 100 {
			t.Errorf("%s shows the token:\n%s", path, around(text))
		}
	}
	log := s.log()
	if strings.Contains(log, accessToken) || strings.Contains(log, "eyJhbGciOiJIUzI1NiI") || !strings.Contains(log, "/nothing/") || !strings.Contains(log, "bye ") {
		t.Errorf("the log shows the token, or lacks what it should have:\n%s", around(log))
	}
}

// around returns the places of a text that show a token.
func around(text string) string {
	var places []string
	for _, secret := range []string{accessToken, "eyJhbGciOiJIUzI1NiI"} {
		for from := 0; ; {
			at := strings.Index(text[from:], secret)
			if at < 0 {
				break
			}
			at += from
			places = append(places, text[max(0, at-100):min(len(text), at+60)])
			from = at + len(secret)
		}
	}
	return strings.Join(places, "\n")
}

// Who is not let in enters no room: it neither learns whether there is one nor leaves a
// trace in its journal.
func TestAccess_StrangersEnterNoRoom(t *testing.T) {
	t.Parallel()
	s := startLocked(t)
	in := bearer(accessToken)
	s.Must(201, "PUT", "/rooms/there", nil, in...)
	for _, path := range []string{"", "/", "/timeline", "/mock/state", "/fhir/R5/Patient", "/ws", "/nothing", "/oauth2/token"} {
		there, none := s.Do("GET", "/rooms/there"+path, nil), s.Do("GET", "/rooms/none"+path, nil)
		if there.Status != none.Status || string(there.Raw) != strings.ReplaceAll(string(none.Raw), "/rooms/none", "/rooms/there") {
			t.Errorf("%s: got %d where there is a room and %d where there is none", path, there.Status, none.Status)
		}
	}
	s.Do("POST", "/fhir/R5/Patient", `{"resourceType":"Patient"}`)
	for _, room := range []string{"", "/rooms/there"} {
		if a := s.Must(200, "GET", room+"/mock/journal?kind=http", nil, in...); strings.Contains(string(a.Raw), "401") {
			t.Errorf("the journal of %q has requests of strangers: %s", room, a.Raw)
		}
	}
	if !strings.Contains(s.log(), "status=401") {
		t.Error("the log does not have the requests of strangers")
	}
}
