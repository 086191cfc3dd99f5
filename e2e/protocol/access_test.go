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

const accessToken = "a-token.of~the+test/1=="

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
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+accessToken))
	for form, headers := range map[string][]string{
		"grant_type=client_credentials":                                 nil,
		"grant_type=client_credentials&client_secret=anything":          nil,
		"grant_type=password&username=me&password=" + accessToken + "x": nil,
		"grant_type=client_credentials&client_id=me":                    {"Authorization", "Basic bWU6eA=="},
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
		"a subprotocol": {websocket.DialOptions{Subprotocols: []string{"bearer", "a-token.of~the+test"}}, "", false},
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
	token := at200(t, s.Must(200, "POST", "Subscription/abc/$get-ws-binding-token", nil, in...))
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

// at200 returns the token of a response of $get-ws-binding-token.
func at200(t *testing.T, a response) string {
	t.Helper()
	for _, p := range asList(a.Body["parameter"]) {
		if part := p.(map[string]any); part["name"] == "token" {
			return part["valueString"].(string)
		}
	}
	t.Fatalf("no token in %s", a.Raw)
	return ""
}

// The token is shown nowhere, wherever a client puts it.
func TestAccess_TokenIsHidden(t *testing.T) {
	t.Parallel()
	s := start(t, "--auth-token", accessToken, "--log-level", "debug")
	in := bearer(accessToken)
	escaped := url.QueryEscape(accessToken)
	s.Do("GET", "Patient?access_token="+escaped, nil)
	s.Do("GET", "Patient?access_token="+accessToken, nil)
	s.Do("GET", "Patient/"+escaped+"?x="+escaped, nil, in...)
	s.Do("GET", "/nothing/"+accessToken, nil, in...)
	s.Do("GET", "Patient", nil, append(in, "Sec-WebSocket-Protocol", "bearer, "+accessToken, "X-Api-Key", accessToken, "Cookie", "x="+accessToken)...)
	s.Do("POST", "Patient", `{"resourceType":"Patient","id":"`+accessToken+`"}`, in...)
	s.signIn("grant_type=client_credentials&client_secret=" + escaped)
	s.Do("POST", "/mock/trigger", `{"subscription":"`+accessToken+`"}`, in...)
	for _, path := range []string{"/mock/journal", "/mock/journal?format=har", "/mock/state", "/metrics"} {
		a := s.Must(200, "GET", path, nil, in...)
		if text := string(a.Raw); strings.Contains(text, accessToken) || strings.Contains(text, escaped) || len(text) < 100 {
			t.Errorf("%s shows the token:\n%s", path, text)
		}
	}
	if log := s.log(); strings.Contains(log, accessToken) || strings.Contains(log, escaped) || !strings.Contains(log, "/nothing/") {
		t.Errorf("the log shows the token:\n%s", log)
	}
}
