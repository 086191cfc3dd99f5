package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const accessToken = "the-token-of-this-test"

// The page asks for the token of the server, and everything on it works then: its stream,
// its requests, sockets, and a view that is loaded anew.
func TestPage_SignsIn(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	p := startProgram(t, "--auth-token", accessToken, "--listen", "127.0.0.1:0")
	b.tolerate("401 (Unauthorized)")
	t.Cleanup(func() { b.tolerate("net::ERR_") })
	field := "dialog input[type=password]"
	b.within(t, "the sign-in", chromedp.Navigate(p.url+"/timeline"), chromedp.WaitVisible(field, chromedp.ByQuery))
	b.sees(t, "#link", "not signed in")
	b.looks(t, "signin")
	b.within(t, "the wrong token", chromedp.SendKeys(field, "wrong"+kb.Enter, chromedp.ByQuery))
	b.sees(t, "dialog .error", "not the token of this server")
	b.do(t, chromedp.Evaluate(fmt.Sprintf(`document.querySelector(%q).value = ""`, field), nil))
	b.within(t, "the right token", chromedp.SendKeys(field, accessToken+kb.Enter, chromedp.ByQuery), isLive)
	b.sees(t, ".hint", "entries")
	b.within(t, "the page to be live again", chromedp.Navigate(p.url+"/"), isLive)
	var got string
	b.evaluate(t, `new Promise((r) => { const w = new WebSocket("ws" + location.origin.slice(4) + "/ws"); w.onopen = () => r("open"); w.onerror = () => r("refused"); })`, &got)
	if got != "open" {
		t.Errorf("a socket of the page: %s, want it open", got)
	}
	b.evaluate(t, `import("/ui/kernel/api.js").then((api) => api.curl("GET", "/mock/state"))`, &got)
	if !strings.Contains(got, `-H "Authorization: Bearer $SIGNALFHIR_AUTH_TOKEN"`) || strings.Contains(got, accessToken) {
		t.Errorf("the command is %s, want it with a variable for the token", got)
	}
	b.evaluate(t, `document.cookie + JSON.stringify(localStorage) + document.body.textContent`, &got)
	if strings.Contains(got, accessToken) || strings.Contains(got, "eyJ") {
		t.Errorf("the page keeps the token where scripts see it: %s", got)
	}
}

// A page of a local port signs in for its socket as the documentation says.
func TestPage_OfTheDeveloperSignsIn(t *testing.T) {
	t.Parallel()
	port, resolve := foreignPages(t)
	b := startBrowser(t, resolve)
	b.tolerate("no valid credentials")
	p := startProgram(t, "--auth-token", accessToken, "--listen", "127.0.0.1:0")
	server := strings.Replace(p.url, "127.0.0.1", "localhost", 1)
	b.do(t, chromedp.Navigate("http://localhost:"+port+"/"))
	const socket = `new Promise((r) => { const w = new WebSocket("ws" + server.slice(4) + "/ws"); w.onopen = () => r("open"); w.onerror = () => r("refused"); })`
	var before, after string
	b.evaluate(t, fmt.Sprintf(`{ const server = %q; %s }`, server, socket), &before)
	b.evaluate(t, fmt.Sprintf(`(async () => {
		const server = %q;
		await fetch(server + "/oauth2/token", { method: "POST", credentials: "include", body: new URLSearchParams({ grant_type: "client_credentials", client_secret: %q }) });
		return await %s;
	})()`, server, accessToken, socket), &after)
	if before != "refused" || after != "open" {
		t.Errorf("a socket is %s before and %s after the sign-in, want refused and open", before, after)
	}
}

func TestListen_SignsIn(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	p := startProgram(t, "--auth-token", accessToken, "--tls-cert", cert, "--tls-key", key, "--listen", "127.0.0.1:0")
	flow := []string{"--subscription", "admission-id-only", "--auth-token", accessToken}
	for _, trust := range [][]string{{"-k"}, {"--insecure"}, {"--tls-ca", cert}} {
		listen(t, p.url, append(trust, flow...)...).says("handshake")
	}
	for _, row := range map[string]struct {
		args []string
		says string
	}{
		"no trust":       {flow, "-k any"},
		"no token":       {[]string{"-k", "--subscription", "admission-id-only"}, "listen sends the token of --auth-token"},
		"a wrong token":  {[]string{"-k", "--subscription", "admission-id-only", "--auth-token", "another-token-of-the-test"}, "not that of this server"},
		"no such token":  {[]string{"-k", "--subscription", "admission-id-only", "--auth-token", "line\n"}, "expected at least 16"},
		"both":           {append([]string{"-k", "--tls-ca", cert}, flow...), "give either"},
		"no file":        {append([]string{"--tls-ca", "/nowhere.pem"}, flow...), "/nowhere.pem"},
		"no certificate": {append([]string{"--tls-ca", key}, flow...), "a PEM file with certificates"},
	} {
		listen(t, p.url, row.args...).says(row.says)
	}
}

func TestProgram_WarnsByWhatProtectsIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		args    []string
		says    string
		without string
	}{
		{[]string{"--auth-token", accessToken}, "does not encrypt", "no authentication"},
		{[]string{"--tls-self-signed"}, "no authentication", "does not encrypt"},
		{[]string{"--tls-self-signed", "--auth-token", accessToken}, `-k -H "Authorization: Bearer $SIGNALFHIR_AUTH_TOKEN"`, "WARNING"},
	} {
		p := startProgram(t, append(row.args, "--listen", "0.0.0.0:0", "--exit-on-stdin-close")...)
		p.stdin.Close()
		_ = p.command.Wait()
		if text := p.stderr.String(); !strings.Contains(text, row.says) || strings.Contains(text, row.without) || strings.Contains(text, accessToken) {
			t.Errorf("%v: want %q and not %q in\n%s", row.args, row.says, row.without, text)
		}
	}
	for _, short := range []string{"", "short", "fifteen-letters", "with a blank in it", "with-ümlauts-in-it"} {
		if got := run(t, nil, "--auth-token", short); got.code != 2 || !strings.Contains(got.stderr, "expected at least 16") || short != "" && strings.Contains(got.stderr, short) {
			t.Errorf("%q: got exit %d and %q", short, got.code, got.stderr)
		}
	}
}
