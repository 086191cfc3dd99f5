package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// The development sign-in. Medplum's client subscribes only when somebody is
// signed in, so there is a door for it. It is open to everybody:
// nothing is checked, neither here nor elsewhere, and an Authorization header
// means nothing to any other route.

// The one person, project and membership everybody is.
const (
	devProject    = "Project/dev"
	devPerson     = "Practitioner/dev"
	devPersonName = "Development sign-in"
)

// devTokenLife is how long a development token says it is valid. Long, since a
// client that renews it gains nothing.
const devTokenLife = 24 * time.Hour

// oauthToken answers POST /oauth2/token. Any grant and any secret will do; the
// answer carries the client_id of the request, which Medplum's client compares
// with its own.
func (s *server) oauthToken(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	form, err := c.FormParams()
	if err != nil {
		return oauthRefusal(c, "the body is no form: "+err.Error())
	}
	if form.Get("grant_type") == "" {
		return oauthRefusal(c, "the form has no grant_type; send grant_type=client_credentials&client_id=ID&client_secret=ANYTHING as application/x-www-form-urlencoded")
	}
	client := form.Get("client_id")
	if user, _, basic := c.Request().BasicAuth(); client == "" && basic {
		client = user
	}
	type reference struct {
		Reference string `json:"reference"`
		Display   string `json:"display,omitempty"`
	}
	return answerJSON(c, struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresIn   int       `json:"expires_in"` // seconds
		Scope       string    `json:"scope"`
		Project     reference `json:"project"`
		Profile     reference `json:"profile"`
	}{
		devToken(s.rootOf(c), client, s.room.Clock().Now()),
		"Bearer", int(devTokenLife.Seconds()), "openid",
		reference{devProject, "signalfhir"}, reference{devPerson, devPersonName},
	})
}

// oauthRefusal answers the way of RFC 6749, section 5.2, which such a client
// reads and an OperationOutcome it does not.
func oauthRefusal(c echo.Context, why string) error {
	return answer(c, http.StatusBadRequest, "application/json", map[string]string{"error": "invalid_request", "error_description": why})
}

// devToken is a JWT for a client. It says itself that nobody signed it (alg
// none). login_id is how Medplum's client knows a server it may ask for /auth/me.
func devToken(issuer, client string, now time.Time) string {
	claims := struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
		LoginID  string `json:"login_id"`
		Profile  string `json:"profile"`
		Scope    string `json:"scope"`
		IssuedAt int64  `json:"iat"` // seconds since 1970
		Expires  int64  `json:"exp"`
	}{issuer, client, client, "dev", devPerson, "openid", now.Unix(), now.Add(devTokenLife).Unix()}
	payload, _ := json.Marshal(claims) // strings and numbers always encode
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
}

// authMe answers GET /auth/me: who is signed in, and what the project may do.
// useSubscription of @medplum/react-hooks does nothing without the feature.
func (s *server) authMe(c echo.Context) error {
	type object map[string]any
	_, person, _ := strings.Cut(devPerson, "/")
	_, project, _ := strings.Cut(devProject, "/")
	return answerJSON(c, object{
		"project": object{
			"resourceType": "Project", "id": project, "name": "signalfhir",
			"features": []string{"websocket-subscriptions"},
		},
		"membership": object{
			"resourceType": "ProjectMembership", "id": "dev",
			"project": object{"reference": devProject},
			"user":    object{"reference": devPerson},
			"profile": object{"reference": devPerson},
		},
		"profile": object{
			"resourceType": "Practitioner", "id": person,
			"name": []object{{"text": devPersonName, "family": devPersonName}},
		},
		"config": object{"resourceType": "UserConfiguration", "id": "dev"},
	})
}

// oauthLogout answers POST /oauth2/logout. There is nothing to end.
func (s *server) oauthLogout(c echo.Context) error { return answerJSON(c, struct{}{}) }
