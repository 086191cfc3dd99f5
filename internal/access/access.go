// Package access decides who may use a server that was started with a secret
// (--auth-token). Programs send the secret, or what the sign-in returned for it, as a
// bearer token (RFC 6750); browsers, which cannot add a header to a socket, have a cookie.
package access

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"signalfhir/internal/fhir"
)

// shortest is how many characters a secret has at least.
const shortest = 16

// secretPattern is what a bearer token may consist of (RFC 6750, section 2.1).
var secretPattern = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Check reports what is wrong with a secret.
func Check(secret string) error {
	if len(secret) < shortest || !secretPattern.MatchString(secret) {
		return errors.New("expected at least 16 letters, digits or any of - . _ ~ + /, as openssl rand -hex 32 prints them")
	}
	return nil
}

// Gate lets requests in that carry the secret. Create it with [New].
type Gate struct {
	secret string // "": everybody is let in
	cookie string // name of the cookie
}

// New returns a gate that a secret opens; "" means that it is open. The server is at
// address, a URL. Browsers do not tell the ports of a host apart when they send cookies,
// so the name of the cookie has the port.
func New(secret, address string) *Gate {
	g := &Gate{secret: secret, cookie: "signalfhir"}
	if u, err := url.Parse(address); err == nil && u.Port() != "" {
		g.cookie += "-" + u.Port()
	}
	return g
}

// IsOpen reports whether everybody is let in.
func (g *Gate) IsOpen() bool { return g.secret == "" }

// The header of the tokens that [Gate.Sign] makes, encoded.
var (
	signedHeader   = encode([]byte(`{"alg":"HS256","typ":"JWT"}`))
	unsignedHeader = encode([]byte(`{"alg":"none","typ":"JWT"}`))
)

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// Sign returns a JWT with these claims. It opens the gate for as long as the secret does,
// whatever its claims say of an end: whoever has it has been given the secret. An open
// gate has nothing to sign with, and the token says so (alg none).
func (g *Gate) Sign(claims []byte) string {
	if g.IsOpen() {
		return unsignedHeader + "." + encode(claims) + "."
	}
	text := signedHeader + "." + encode(claims)
	return text + "." + encode(g.sum(text))
}

func (g *Gate) sum(text string) []byte {
	mac := hmac.New(sha256.New, []byte(g.secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// Opens reports whether a credential is the secret or was made by [Gate.Sign]. An open
// gate takes any.
func (g *Gate) Opens(credential string) bool {
	if g.IsOpen() {
		return true
	}
	// Sums are compared, so the time says nothing about the secret, nor about its length.
	if hmac.Equal(g.sum(credential), g.sum(g.secret)) {
		return true
	}
	end := strings.LastIndexByte(credential, '.')
	if end < 0 || !strings.HasPrefix(credential, signedHeader+".") {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(credential[end+1:])
	return err == nil && hmac.Equal(signature, g.sum(credential[:end]))
}

// Cookie returns the cookie that opens the gate for a browser, with the value of a token
// that [Gate.Sign] made; an empty value ends it. Scripts cannot read it. Other sites send
// it only over https, where it may serve pages of --allow-origin; requests of pages that
// are not allowed are refused whether or not they carry it.
func (g *Gate) Cookie(value string, secure bool) *http.Cookie {
	c := &http.Cookie{Name: g.cookie, Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
	if secure {
		c.SameSite = http.SameSiteNoneMode
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// Admit returns nil if a request carries the secret, and otherwise the refusal with its
// challenge in out.
func (g *Gate) Admit(r *http.Request, out http.Header) error {
	if g.IsOpen() {
		return nil
	}
	const remedy = "send the token of --auth-token as \"Authorization: Bearer TOKEN\"; a browser signs in on the page, or by POST /oauth2/token with the token as client_secret, and has a cookie then"
	header := r.Header.Get("Authorization")
	scheme, credential, _ := strings.Cut(header, " ")
	cookie, noCookie := r.Cookie(g.cookie)
	why := "this server lets in only those who have its token; " + remedy
	challenge := `Bearer realm="signalfhir"`
	switch {
	case r.URL.Query().Has("access_token"):
		why = "access_token in the address is not read, for addresses end up in logs and histories; " + remedy
	case strings.EqualFold(scheme, "Bearer") && g.Opens(strings.TrimSpace(credential)), noCookie == nil && g.Opens(cookie.Value) && header == "":
		return nil
	case strings.EqualFold(scheme, "Bearer"):
		why = "the bearer token is not that of this server; " + remedy
		challenge += `, error="invalid_token"`
	case header != "":
		why = "the server reads no other Authorization than Bearer; " + remedy
	case r.Header.Get("Sec-WebSocket-Protocol") != "":
		why = "a socket of a browser carries the cookie of the sign-in; the server does not look for a token in the subprotocol; " + remedy
	case noCookie == nil:
		why = "the cookie is of another token than the server has now; sign in again: " + remedy
	}
	out.Set("WWW-Authenticate", challenge)
	return fhir.Refuse(http.StatusUnauthorized, fhir.CodeLogin, "%s", why)
}

// Hide returns a text without the secret.
func (g *Gate) Hide(text string) string {
	if g.IsOpen() {
		return text
	}
	return string(g.HideBytes([]byte(text)))
}

// HideBytes is [Gate.Hide] for a body. It returns a text without the secret as it is.
func (g *Gate) HideBytes(text []byte) []byte {
	if g.IsOpen() {
		return text
	}
	for _, spelling := range []string{g.secret, url.QueryEscape(g.secret)} {
		if bytes.Contains(text, []byte(spelling)) {
			text = bytes.ReplaceAll(text, []byte(spelling), []byte("…"))
		}
	}
	return text
}
