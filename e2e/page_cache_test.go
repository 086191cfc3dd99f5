package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// A page that reads a resource again sees what another client wrote meanwhile, also after
// a reset.
func TestPage_ReadsAreNeverOld(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.StartProcess(t)
	b.tolerate("favicon.ico")
	t.Cleanup(func() { b.tolerate("net::ERR_") })
	// A browser that is not told otherwise uses a resource for a tenth of its age. So the
	// resource seems a day older on its way to the browser.
	root, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	const age = 24 * time.Hour
	shift := func(h http.Header, name string, by time.Duration) {
		if at, err := http.ParseTime(h.Get(name)); err == nil {
			h.Set(name, at.Add(by).Format(http.TimeFormat))
		}
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(root)
			r.Out.Host = root.Host
			shift(r.Out.Header, "If-Modified-Since", age)
		},
		ModifyResponse: func(res *http.Response) error {
			shift(res.Header, "Last-Modified", -age)
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	write := func(family string) {
		s.Put(map[string]any{"resourceType": "Patient", "id": "p", "name": []any{map[string]any{"family": family}}})
	}
	sees := func(family string) {
		t.Helper()
		var got string
		b.evaluate(t, "fetch('/fhir/R5/Patient/p').then((r) => r.json()).then((p) => p.name[0].family)", &got)
		if got != family {
			t.Errorf("the page sees %q, want %q", got, family)
		}
	}
	b.do(t, chromedp.Navigate(proxy.URL+"/healthz"))
	write("one")
	sees("one")
	sees("one")
	write("two")
	sees("two")
	s.Reset()
	write("three")
	sees("three")
	write("four") // is version 2, as two was
	sees("four")
}
