// Package httpsignin is the development sign-in. Medplum's client subscribes only
// after a sign-in, so there is one. A room may tell several users apart by their client id;
// everybody else is one person. It checks nothing unless the server has a token
// (--auth-token): then that is the password of everybody, and browsers get a cookie for it.
package httpsignin

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/access"
	"signalfhir/internal/clock"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
)

// The one project everybody signs in to.
const devProject = "Project/dev"

// devPerson is everybody that the room does not tell apart.
var devPerson = room.User{Profile: "Practitioner/dev", Name: "Development sign-in"}

// userOf returns who a client is in a room, which may be nil.
func userOf(r *room.Room, client string) room.User {
	if r != nil {
		if u, known := r.UserOf(client); known {
			return u
		}
	}
	return devPerson
}

// tokenTTL is the lifetime a development token states. It is long, since renewing
// it gains nothing.
const tokenTTL = 24 * time.Hour

// SignIn has the handlers of the sign-in.
type SignIn struct {
	gate  *access.Gate
	clock clock.Clock
}

// New returns the sign-in to a gate. The times in its tokens are those of c.
func New(gate *access.Gate, c clock.Clock) *SignIn { return &SignIn{gate, c} }

// Token serves POST /oauth2/token. It accepts any grant, and any secret unless the gate
// has one. The token carries the client_id of the request, which Medplum's client compares
// with its own.
func (s *SignIn) Token(c echo.Context) error {
	form, err := c.FormParams()
	if httpedge.ReadError(err) != nil {
		return err
	} else if err != nil {
		return refuse(c, http.StatusBadRequest, "invalid_request", "the body is not a form: "+err.Error())
	}
	if form.Get("grant_type") == "" {
		return refuse(c, http.StatusBadRequest, "invalid_request", "the form has no grant_type; send grant_type=client_credentials&client_id=ID&client_secret=ANYTHING as application/x-www-form-urlencoded")
	}
	client, secret := form.Get("client_id"), c.Request().PostForm.Get("client_secret")
	user, password, basic := c.Request().BasicAuth()
	if basic {
		client, secret = cmp.Or(client, user), cmp.Or(secret, password)
	}
	if !s.gate.IsSecret(secret) {
		if basic { // RFC 6749, section 5.2; for a page that sent a form, a browser would ask
			c.Response().Header().Set("WWW-Authenticate", `Basic realm="signalfhir"`)
		}
		return refuse(c, http.StatusUnauthorized, "invalid_client", "the client_secret is not the token of this server; send the one of --auth-token, in the form or as the password of Basic authentication")
	}
	type reference struct {
		Reference string `json:"reference"`
		Display   string `json:"display,omitempty"`
	}
	in, leave := httpedge.RoomOfSignIn(c)
	defer leave()
	person := userOf(in, client)
	signed := s.gate.Sign(claims(httpedge.Root(c), client, person.Profile, s.clock.Now()))
	if !s.gate.IsOpen() {
		c.SetCookie(s.gate.Cookie(signed, isSecure(c)))
	}
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresIn   int       `json:"expires_in"` // seconds
		Scope       string    `json:"scope"`
		Project     reference `json:"project"`
		Profile     reference `json:"profile"`
	}{
		signed, "Bearer", int(tokenTTL.Seconds()), "openid",
		reference{devProject, "signalfhir"}, reference{person.Profile, person.Name},
	})
}

// isSecure reports whether clients reach the server by https, perhaps through a proxy.
func isSecure(c echo.Context) bool { return strings.HasPrefix(httpedge.ServerRoot(c), "https:") }

// refuse writes an error as RFC 6749, section 5.2, has it. OAuth clients read that
// and no OperationOutcome.
func refuse(c echo.Context, status int, code, why string) error {
	return httpedge.WriteJSON(c, status, "application/json", map[string]string{"error": code, "error_description": why})
}

// claims returns what the token of a client states. From login_id Medplum's client
// concludes that the server has /auth/me.
func claims(issuer, client, profile string, now time.Time) []byte {
	data, _ := json.Marshal(struct { // strings and numbers always encode
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		ClientID string `json:"client_id"`
		LoginID  string `json:"login_id"`
		Profile  string `json:"profile"`
		Scope    string `json:"scope"`
		IssuedAt int64  `json:"iat"` // seconds since 1970
		Expires  int64  `json:"exp"`
	}{issuer, client, client, "dev", profile, "openid", now.Unix(), now.Add(tokenTTL).Unix()})
	return data
}

// clientOf returns the client id that the bearer token of a request states, or "". It does
// not check the signature: the edge has let the client in, and an open gate has none.
func clientOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	parts := strings.Split(strings.TrimSpace(token), ".")
	if !strings.EqualFold(scheme, "Bearer") || len(parts) != 3 {
		return ""
	}
	var stated struct {
		ClientID string `json:"client_id"`
	}
	if data, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || json.Unmarshal(data, &stated) != nil {
		return ""
	}
	return stated.ClientID
}

// Me serves GET /auth/me: who is signed in, and what the project may do. The room says now
// who a client is, so a change of its users is a change of user.
// useSubscription of @medplum/react-hooks does nothing without the feature.
func (s *SignIn) Me(c echo.Context) error {
	type object map[string]any
	person := userOf(httpedge.Room(c), clientOf(c.Request()))
	typ, id, _ := strings.Cut(person.Profile, "/")
	_, project, _ := strings.Cut(devProject, "/")
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", object{
		"project": object{
			"resourceType": "Project", "id": project, "name": "signalfhir",
			"features": []string{"websocket-subscriptions"},
		},
		"membership": object{
			"resourceType": "ProjectMembership", "id": "dev",
			"project": object{"reference": devProject},
			"user":    object{"reference": person.Profile},
			"profile": object{"reference": person.Profile},
		},
		"profile": object{
			"resourceType": typ, "id": id,
			"name": []object{{"text": person.Name, "family": person.Name}},
		},
		"config": object{"resourceType": "UserConfiguration", "id": "dev"},
	})
}

// Logout serves POST /oauth2/logout. There is no session to end but the cookie of a
// browser.
func (s *SignIn) Logout(c echo.Context) error {
	if !s.gate.IsOpen() {
		c.SetCookie(s.gate.Cookie("", isSecure(c)))
	}
	return httpedge.WriteJSON(c, http.StatusOK, "application/json", struct{}{})
}
