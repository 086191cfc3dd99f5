package protocol

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

const formType = "application/x-www-form-urlencoded"

// signIn posts a form to the token route.
func (s *server) signIn(form string, headers ...string) response {
	s.T.Helper()
	return s.Do("POST", "/oauth2/token", form, append([]string{"Content-Type", formType}, headers...)...)
}

// claims of a JWT, whose signature nobody checks.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// expire returns the token as it was if it had been issued two days before.
func expire(t *testing.T, token string) string {
	t.Helper()
	const days = 2 * 24 * 60 * 60
	c := claims(t, token)
	c["iat"], c["exp"] = c["iat"].(float64)-days, c["exp"].(float64)-days
	parts := strings.Split(token, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(compact(c)))
	return strings.Join(parts, ".")
}

func TestSignIn_AnswersWhatMedplumReads(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := s.now().Unix()
	a := s.signIn("grant_type=client_credentials&client_id=my-app&client_secret=anything")
	after := s.now().Unix()
	if a.Status != 200 || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %v\n%s", a.Status, a.Header, a.Raw)
	}
	if a.Body["token_type"] != "Bearer" || a.Body["expires_in"] != 86400.0 {
		t.Errorf("got %s", a.Raw)
	}
	if got := a.At("profile", "reference"); got != "Practitioner/dev" {
		t.Errorf("profile is %v", got)
	}
	if got := a.At("project", "reference"); got != "Project/dev" {
		t.Errorf("project is %v", got)
	}
	c := claims(t, a.Body["access_token"].(string))
	if _, is := c["login_id"].(string); !is {
		t.Error("login_id has to be a string, or Medplum's client does not know the server")
	}
	if c["client_id"] != "my-app" || c["iss"] != s.URL {
		t.Errorf("claims are %v", c)
	}
	const day = 24 * 60 * 60
	if issued := c["iat"].(float64); issued < float64(before) || issued > float64(after) || c["exp"] != issued+day {
		t.Errorf("claims are %v, want a token that was issued at %d to %d for a day", c, before, after)
	}
}

// TestSignIn_TakesEveryGrant goes through the ways @medplum/core 4 and 5 sign in.
func TestSignIn_TakesEveryGrant(t *testing.T) {
	t.Parallel()
	s := start(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("in-header:secret"))
	tests := map[string]struct {
		form    string
		headers []string
		client  string
	}{
		"client credentials":       {form: "grant_type=client_credentials&client_id=a&client_secret=b", client: "a"},
		"credentials in header":    {form: "grant_type=client_credentials", headers: []string{"Authorization", basic}, client: "in-header"},
		"both":                     {form: "grant_type=client_credentials&client_id=a", headers: []string{"Authorization", basic}, client: "a"},
		"code":                     {form: "grant_type=authorization_code&client_id=a&code=c&redirect_uri=http%3A%2F%2Flocalhost&code_verifier=v", client: "a"},
		"refresh":                  {form: "grant_type=refresh_token&client_id=a&refresh_token=r", client: "a"},
		"JWT bearer":               {form: "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&client_id=a&assertion=x&scope=openid", client: "a"},
		"client assertion, no id":  {form: "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=x", client: ""},
		"exchange of another JWT":  {form: "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&client_id=a&subject_token=x&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token", client: "a"},
		"with an old bearer token": {form: "grant_type=client_credentials&client_id=a&client_secret=b", headers: []string{"Authorization", "Bearer stale"}, client: "a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := s.signIn(test.form, test.headers...)
			if a.Status != 200 {
				t.Fatalf("got %d %s", a.Status, a.Raw)
			}
			if got := claims(t, a.Body["access_token"].(string))["client_id"]; got != test.client {
				t.Errorf("client_id is %v, want %s", got, test.client)
			}
		})
	}
}

func TestSignIn_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, a := range map[string]response{
		"empty":     s.signIn(""),
		"no grant":  s.signIn("client_id=a"),
		"JSON":      s.Do("POST", "/oauth2/token", `{"grant_type":"client_credentials"}`, "Content-Type", "application/json"),
		"malformed": s.signIn("grant_type=%zz"),
	} {
		if a.Status != 400 || a.Body["error"] != "invalid_request" || a.Body["error_description"] == "" {
			t.Errorf("%s: got %d %s, want the error of RFC 6749", name, a.Status, a.Raw)
		}
	}
}

func TestSignIn_TellsWhoIsSignedIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, headers := range map[string][]string{
		"with the token":   {"Authorization", "Bearer " + s.signIn("grant_type=client_credentials&client_id=a").Body["access_token"].(string)},
		"with another":     {"Authorization", "Bearer whatever"},
		"without any":      nil,
		"with credentials": {"Authorization", "Basic YTpi"},
	} {
		a := s.Do("GET", "/auth/me", nil, headers...)
		if a.Status != 200 {
			t.Fatalf("%s: got %d %s", name, a.Status, a.Raw)
		}
		for member, typ := range map[string]string{"project": "Project", "membership": "ProjectMembership", "profile": "Practitioner", "config": "UserConfiguration"} {
			resource, _ := a.Body[member].(map[string]any)
			if resource["resourceType"] != typ || resource["id"] == "" {
				t.Errorf("%s: %s is %v", name, member, resource)
			}
		}
		if features := asList(a.At("project", "features")); len(features) != 1 || features[0] != "websocket-subscriptions" {
			t.Errorf("%s: features are %v", name, features)
		}
	}
	if a := s.Do("POST", "/oauth2/logout", map[string]any{}); a.Status != 200 {
		t.Errorf("signing out: got %d %s", a.Status, a.Raw)
	}
}

// TestSignIn_IsNotNeeded: no other route looks at Authorization.
func TestSignIn_IsNotNeeded(t *testing.T) {
	t.Parallel()
	s := start(t)
	expired := expire(t, s.signIn("grant_type=client_credentials&client_id=a").Body["access_token"].(string))
	for _, header := range []string{"Bearer nonsense", "Basic !!!", "Bearer " + expired} {
		s.Must(200, "GET", "metadata", nil, "Authorization", header)
		s.Must(200, "GET", "/mock/subscriptions", nil, "Authorization", header)
	}
}

// TestSignIn_WorksFromAPage: Medplum's client sends credentials, so a browser
// wants the very origin and every header named (clients.md, 1.3).
func TestSignIn_WorksFromAPage(t *testing.T) {
	t.Parallel()
	s := start(t)
	const origin = "http://localhost:3000"
	for path, method := range map[string]string{"/oauth2/token": "POST", "/auth/me": "GET", "/fhir/R5/Subscription": "POST", "/fhir/R5/Subscription/a/$get-ws-binding-token": "GET"} {
		a := s.Do("OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization,content-type,x-medplum")
		allowed := strings.ToLower(a.Header.Get("Access-Control-Allow-Headers"))
		if a.Status != 204 || a.Header.Get("Access-Control-Allow-Origin") != origin || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s: got %d %v", path, a.Status, a.Header)
		}
		for _, header := range []string{"authorization", "content-type", "x-medplum"} {
			if !strings.Contains(allowed, header) {
				t.Errorf("%s: %s is not among %q", path, header, allowed)
			}
		}
	}
	a := s.Must(200, "GET", "/auth/me", nil, "Origin", origin)
	if a.Header.Get("Access-Control-Allow-Origin") != origin || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("got %v", a.Header)
	}
	if a := s.Do("GET", "/auth/me", nil, "Origin", "https://evil.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a foreign page may read")
	}
}
