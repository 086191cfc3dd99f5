// Package httpsignin is the development sign-in. Medplum's client subscribes only
// after a sign-in, so there is one. It is open to everybody: it checks nothing,
// and no other route reads the Authorization header.
package httpsignin

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/httpedge"
)

// The one project and person everybody signs in to and as.
const (
	devProject    = "Project/dev"
	devPerson     = "Practitioner/dev"
	devPersonName = "Development sign-in"
)

// tokenTTL is the lifetime a development token states. It is long, since renewing
// it gains nothing.
const tokenTTL = 24 * time.Hour

// Token serves POST /oauth2/token. It accepts any grant and any secret. The token
// carries the client_id of the request, which Medplum's client compares with its
// own.
func Token(c echo.Context) error {
	form, err := c.FormParams()
	if httpedge.ReadError(err) != nil {
		return err
	} else if err != nil {
		return refuse(c, "the body is not a form: "+err.Error())
	}
	if form.Get("grant_type") == "" {
		return refuse(c, "the form has no grant_type; send grant_type=client_credentials&client_id=ID&client_secret=ANYTHING as application/x-www-form-urlencoded")
	}
	client := form.Get("client_id")
	if user, _, basic := c.Request().BasicAuth(); client == "" && basic {
		client = user
	}
	type reference struct {
		Reference string `json:"reference"`
		Display   string `json:"display,omitempty"`
	}
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresIn   int       `json:"expires_in"` // seconds
		Scope       string    `json:"scope"`
		Project     reference `json:"project"`
		Profile     reference `json:"profile"`
	}{
		token(httpedge.Root(c), client, httpedge.Room(c).Clock().Now()),
		"Bearer", int(tokenTTL.Seconds()), "openid",
		reference{devProject, "signalfhir"}, reference{devPerson, devPersonName},
	})
}

// refuse writes an error as RFC 6749, section 5.2, has it. OAuth clients read that
// and no OperationOutcome.
func refuse(c echo.Context, why string) error {
	return httpedge.WriteJSON(c, http.StatusBadRequest, "application/json", map[string]string{"error": "invalid_request", "error_description": why})
}

// token returns a JWT for a client. It states that nobody signed it (alg none).
// From login_id Medplum's client concludes that the server has /auth/me.
func token(issuer, client string, now time.Time) string {
	claims := struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
		LoginID  string `json:"login_id"`
		Profile  string `json:"profile"`
		Scope    string `json:"scope"`
		IssuedAt int64  `json:"iat"` // seconds since 1970
		Expires  int64  `json:"exp"`
	}{issuer, client, client, "dev", devPerson, "openid", now.Unix(), now.Add(tokenTTL).Unix()}
	payload, _ := json.Marshal(claims) // strings and numbers always encode
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
}

// Me serves GET /auth/me: who is signed in, and what the project may do.
// useSubscription of @medplum/react-hooks does nothing without the feature.
func Me(c echo.Context) error {
	type object map[string]any
	_, person, _ := strings.Cut(devPerson, "/")
	_, project, _ := strings.Cut(devProject, "/")
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", object{
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

// Logout serves POST /oauth2/logout. There is no session to end.
func Logout(c echo.Context) error {
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", struct{}{})
}
