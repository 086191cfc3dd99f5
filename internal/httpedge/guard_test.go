package httpedge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// Each row is a request as a browser sends it.
func TestGuardOrigin(t *testing.T) {
	t.Parallel()
	const let = ""
	type headers map[string]string
	fromEvil := headers{"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
	for name, row := range map[string]struct {
		method  string
		needs   Needs
		headers headers
		says    string // in the refusal; "" if the request is let in
	}{
		"no browser":                         {"POST", Needs{}, nil, let},
		"no browser, a GET that acts":        {"GET", Needs{Acts: true}, nil, let},
		"a foreign page writes":              {"POST", Needs{}, fromEvil, "--allow-origin http://evil.example"},
		"with a made-up method":              {"SMASH", Needs{}, fromEvil, "pages of http://evil.example"},
		"from an old browser":                {"DELETE", Needs{}, headers{"Origin": "http://evil.example"}, "--allow-origin http://evil.example"},
		"a foreign page reads":               {"GET", Needs{}, fromEvil, let},
		"a foreign page asks for permission": {"OPTIONS", Needs{}, fromEvil, let},
		"a foreign page reads what is ours":  {"GET", Needs{OwnPages: true}, fromEvil, "--allow-origin http://evil.example"},
		"a foreign page's image acts": {"GET", Needs{Acts: true},
			headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "--allow-origin https://app.example.org"},
		"the image has a Referer": {"GET", Needs{Acts: true},
			headers{"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.example/x?y"}, "--allow-origin http://evil.example"},
		"an image of a page of this machine": {"GET", Needs{Acts: true},
			headers{"Sec-Fetch-Site": "cross-site", "Referer": "http://localhost:3000/"}, let},
		"a link to what acts":        {"GET", Needs{Acts: true}, headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": "http://evil.example/"}, "http://evil.example"},
		"a link to what shows":       {"GET", Needs{OwnPages: true}, headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": "http://evil.example/"}, let},
		"a script of a foreign page": {"GET", Needs{OwnPages: true}, headers{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "Sec-Fetch-Site: cross-site"},
		"a sandboxed frame":          {"POST", Needs{}, headers{"Origin": "null", "Sec-Fetch-Site": "cross-site"}, "--allow-origin null"},
		"a file, an old browser":     {"POST", Needs{}, headers{"Origin": "null"}, "a file or a sandboxed frame"},
		"our own form, no referrer":  {"POST", Needs{}, headers{"Origin": "null", "Sec-Fetch-Site": "same-origin"}, let},
		"the user reloads":           {"GET", Needs{Acts: true}, headers{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, let},
		"a neighbour of the server":  {"POST", Needs{}, headers{"Origin": "https://app.dev.example", "Sec-Fetch-Site": "same-site"}, "--allow-origin https://app.dev.example"},
		"our own page":               {"POST", Needs{}, headers{"Origin": "http://dev.example:8080"}, let},
		"another port of our host":   {"POST", Needs{}, headers{"Origin": "http://dev.example:8081"}, "http://dev.example:8081"},
		"our page behind a proxy":    {"POST", Needs{}, headers{"Origin": "https://public.example"}, let},
		"localhost":                  {"POST", Needs{}, headers{"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}, let},
		"localhost by https":         {"POST", Needs{}, headers{"Origin": "https://localhost", "Sec-Fetch-Site": "cross-site"}, let},
		"127.1.2.3":                  {"POST", Needs{}, headers{"Origin": "http://127.1.2.3:9", "Sec-Fetch-Site": "cross-site"}, let},
		"[::1]":                      {"POST", Needs{}, headers{"Origin": "http://[::1]:3000", "Sec-Fetch-Site": "cross-site"}, let},
		"a name like localhost":      {"POST", Needs{}, headers{"Origin": "http://localhost.evil.example"}, "localhost.evil.example"},
		"an allowed page":            {"POST", Needs{}, headers{"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}, let},
		"its other port":             {"POST", Needs{}, headers{"Origin": "https://app.example:444", "Sec-Fetch-Site": "cross-site"}, "https://app.example:444"},
	} {
		edge := New(echo.New(), Options{Address: "http://127.0.0.1:8080", PublicURL: "https://public.example/dev", AllowOrigin: []string{"https://app.example"}})
		r := httptest.NewRequest(row.method, "http://dev.example:8080/x", nil)
		for name, value := range row.headers {
			r.Header.Set(name, value)
		}
		c := edge.echo.NewContext(r, httptest.NewRecorder())
		c.Set(visitKey, &visit{edge: edge, needs: row.needs})
		err := edge.GuardOrigin(func(echo.Context) error { return nil })(c)
		switch {
		case row.says == let && err != nil:
			t.Errorf("%s: %v", name, err)
		case row.says != let && (err == nil || Refusal(err).Status != http.StatusForbidden || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: got %v, want 403 with %q", name, err, row.says)
		}
	}
}

func TestGuardOrigin_AnyOrigin(t *testing.T) {
	t.Parallel()
	edge := New(echo.New(), Options{AllowOrigin: []string{"*"}})
	for _, headers := range []http.Header{
		{"Origin": {"http://evil.example"}},
		{"Origin": {"null"}, "Sec-Fetch-Site": {"cross-site"}},
		{"Sec-Fetch-Site": {"cross-site"}},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header = headers
		if origin, foreign := edge.foreignPage(r, edge.allowsOrigin); foreign {
			t.Errorf("%v: got a foreign page %q, want it let in by *", headers, origin)
		}
	}
}
