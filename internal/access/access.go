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

// secretPattern is what a secret consists of. No address, form or JSON string escapes
// these characters, so a secret looks the same wherever it stands.
var secretPattern = regexp.MustCompile(`^[A-Za-z0-9._~-]{16,1000}$`)

// Check reports what is wrong with a secret.
func Check(secret string) error {
	if !secretPattern.MatchString(secret) {
		return errors.New("expected at least 16 letters, digits or any of - . _ ~, as openssl rand -hex 32 prints them")
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

const plainChallenge = `Bearer realm="signalfhir"`

// IsOpen reports whether everybody is let in.
func (g *Gate) IsOpen() bool { return g.secret == "" }

// The header of the tokens that [Gate.Sign] makes, encoded.
var (
	signedHeader   = encode([]byte(`{"alg":"HS256","typ":"JWT"}`))
	unsignedHeader = encode([]byte(`{"alg":"none","typ":"JWT"}`))
	signedPattern  = regexp.MustCompile(signedHeader + `\.[\w-]*\.?[\w-]*`)
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

// IsSecret reports whether a text is the secret. For an open gate, any is.
func (g *Gate) IsSecret(text string) bool {
	// Sums are compared, so the time says nothing about the secret, nor about its length.
	return g.IsOpen() || hmac.Equal(g.sum(text), g.sum(g.secret))
}

// opens reports whether a credential is the secret or was made by [Gate.Sign].
func (g *Gate) opens(credential string) bool {
	if g.IsSecret(credential) {
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
// that [Gate.Sign] made; an empty value ends it. Scripts cannot read it. Only over https
// do pages of other sites send it.
func (g *Gate) Cookie(value string, secure bool) *http.Cookie {
	c := &http.Cookie{Name: g.cookie, Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
	if secure {
		c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// Admit returns nil if a request carries the secret, and otherwise a [*Refusal]. The
// cookie counts only if the caller trusts the page that made the browser send it.
func (g *Gate) Admit(r *http.Request, trusts func(*http.Request) bool) *Refusal {
	if g.IsOpen() {
		return nil
	}
	const remedy = `send the token of --auth-token as "Authorization: Bearer TOKEN"; a browser signs in on the page, or by POST /oauth2/token with the token as client_secret, and has a cookie then`
	header := r.Header.Get("Authorization")
	scheme, credential, _ := strings.Cut(header, " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	cookies := r.CookiesNamed(g.cookie)
	why, challenge := "this server lets in only those who have its token; ", plainChallenge
	switch {
	case bearer && g.opens(strings.TrimSpace(credential)):
		return nil
	case bearer:
		why = "the bearer token is not that of this server; "
		challenge += `, error="invalid_token"`
	case header != "":
		why = "the server reads no other Authorization than Bearer; "
	case len(cookies) > 0 && !trusts(r):
		why = "the cookie of the sign-in counts only for pages of this machine, of the server and of --allow-origin; "
	case g.holdsOne(cookies):
		return nil
	case r.Header.Get("Sec-WebSocket-Protocol") != "":
		why = "a socket of a browser carries the cookie of the sign-in; the server does not look for a token in the subprotocol; "
	case len(cookies) > 0:
		why = "the cookie is of another token than the server has now; sign in again: "
	}
	return refuse(challenge, why+remedy)
}

// Refusal says why a request is not let in.
type Refusal struct {
	Challenge string // value of WWW-Authenticate
	Error     *fhir.Error
}

func refuse(challenge, why string) *Refusal {
	return &Refusal{challenge, fhir.Refuse(http.StatusUnauthorized, fhir.CodeLogin, "%s", why)}
}

// holdsOne reports whether a cookie opens the gate. There may be several of the name,
// from other paths or parents of the host.
func (g *Gate) holdsOne(cookies []*http.Cookie) bool {
	for _, c := range cookies {
		if g.opens(c.Value) {
			return true
		}
	}
	return false
}

// RefuseAddress refuses a request whose address has a token, whether or not it is the
// right one.
func (g *Gate) RefuseAddress(r *http.Request) *Refusal {
	if g.IsOpen() || !r.URL.Query().Has("access_token") {
		return nil
	}
	return refuse(plainChallenge, `access_token in the address is not read, for addresses end up in logs and histories; send it as "Authorization: Bearer TOKEN"`)
}

// Hide returns a text without the secret and without what [Gate.Sign] made. It returns a
// text without them as it is.
func (g *Gate) Hide(text []byte) []byte {
	if g.IsOpen() {
		return text
	}
	if bytes.Contains(text, []byte(g.secret)) {
		text = bytes.ReplaceAll(text, []byte(g.secret), []byte("…"))
	}
	if bytes.Contains(text, []byte(signedHeader)) {
		text = signedPattern.ReplaceAll(text, []byte("…"))
	}
	return text
}
