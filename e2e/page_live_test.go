package e2e

import (
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// open opens a view of the page and waits until it is live.
func (b *browser) open(t *testing.T, s *testkit.Server, path string) {
	t.Helper()
	t.Cleanup(func() { b.tolerate("net::ERR_") }) // the server stops before the browser
	b.within(t, "the page to be live", chromedp.Navigate(s.URL+path), chromedp.WaitVisible("#link[data-state=live]", chromedp.ByQuery))
}

// sees waits until an element holds a text.
func (b *browser) sees(t *testing.T, selector, text string) {
	t.Helper()
	b.within(t, selector+" to show "+text, chromedp.PollFunction(`(selector, text) => [...document.querySelectorAll(selector)].some((e) => e.textContent.includes(text))`, nil,
		chromedp.WithPollingArgs(selector, text)))
}

// looks runs a check of the view at phone and desktop size, light and dark, and
// leaves a picture of each.
func (b *browser) looks(t *testing.T, name string) {
	t.Helper()
	for _, screen := range []struct {
		name          string
		width, height int64
		mobile        bool
	}{{"desktop", 1440, 900, false}, {"phone", 375, 812, true}} {
		for _, dark := range []bool{false, true} {
			b.size(t, screen.width, screen.height, screen.mobile)
			b.dark(t, dark)
			colours := map[bool]string{false: "light", true: "dark"}[dark]
			b.accessible(t)
			b.shot(t, name+"-"+screen.name+"-"+colours)
		}
	}
	b.size(t, 1440, 900, false)
	b.dark(t, false)
}

func TestPageLive_ShowsTheWayOfAnEvent(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/")
	b.sees(t, ".station", "admission-full")
	b.sees(t, ".station", "No socket is open")
	client := listen(t, s.URL, "--subscription", "admission-full")
	client.says("handshake")
	b.sees(t, ".stop", "s1")
	b.sees(t, ".stop", "handshake")

	// A click fires an event, and each station shows it.
	b.within(t, "the button", chromedp.WaitEnabled(".head button.primary", chromedp.ByQuery), chromedp.Click(".head button.primary", chromedp.ByQuery))
	client.says("#1")
	b.sees(t, ".stop", "triggered")
	b.sees(t, ".stop", "event-notification")
	b.sees(t, "[data-key='sadmission-full']", "#1")
	b.within(t, "lines to the socket", chromedp.WaitReady(".street path", chromedp.ByQuery))
	b.sees(t, "table", "admission-full")
	b.sees(t, "table", "ig")
	b.looks(t, "live")
}

func TestPageLive_SurvivesARestart(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	b.tolerate("net::ERR_")
	s := testkit.StartProcess(t)
	quiet(s)
	b.open(t, s, "/")
	b.sees(t, ".station", "admission-full")
	address := s.URL[len("http://"):]
	s.Stop()
	b.within(t, "the lost connection", chromedp.WaitVisible("#link[data-state=lost]", chromedp.ByQuery))
	testkit.StartProcess(t, testkit.WithArgs("--listen", address))
	b.within(t, "the new server", chromedp.WaitVisible("#link[data-state=live]", chromedp.ByQuery))
	b.sees(t, "#notice", "restarted")
	b.sees(t, ".station", "admission-full")
}

func TestPageLive_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/")
	b.sees(t, ".station", "admission-full")
	// The first stop of the keyboard skips to the content.
	b.do(t, chromedp.KeyEvent("\t"))
	b.sees(t, ":focus", "Skip to content")
	b.do(t, chromedp.Focus(".head button.primary", chromedp.ByQuery), chromedp.KeyEvent("\r"))
	b.sees(t, "[data-key='sadmission-full']", "#1")
}

func TestPage_IsSmallAndTalksToNobody(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	// What goes over the wire, samples and all.
	whole := 0
	err := filepath.WalkDir("../web", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel("../web", path)
		if err != nil {
			return err
		}
		req, err := http.NewRequest(http.MethodGet, s.URL+"/ui/"+filepath.ToSlash(name), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: got %s, encoded %q", name, res.Status, res.Header.Get("Content-Encoding"))
		}
		whole += len(body)
		return err
	})
	t.Logf("%d bytes in all", whole)
	if err != nil || whole == 0 || whole > 150_000 {
		t.Errorf("the page takes %d bytes in all (%v), want at most 150 000", whole, err)
	}
	for _, view := range []string{"/", "/timeline", "/try", "/trigger", "/resources"} {
		b.open(t, s, view)
		var got struct {
			Size    float64
			Foreign []string
			Painted float64
		}
		b.evaluate(t, `(() => {
			const all = performance.getEntriesByType("resource");
			const files = all.filter((e) => new URL(e.name).pathname.startsWith("/ui/"));
			const page = performance.getEntriesByType("navigation")[0];
			return {
				Size: files.reduce((n, e) => n + e.decodedBodySize, page.decodedBodySize),
				Foreign: all.map((e) => e.name).filter((n) => new URL(n).origin !== location.origin),
				Painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1,
			};
		})()`, &got)
		t.Logf("%s: %.0f bytes, first content after %.0f ms", view, got.Size, got.Painted)
		if got.Size == 0 || got.Size > 150_000 {
			t.Errorf("%s takes %.0f bytes, want some and at most 150 000", view, got.Size)
		}
		if len(got.Foreign) > 0 {
			t.Errorf("%s asks elsewhere: %v", view, got.Foreign)
		}
	}
}

// A server that goes away while a view is being fetched is as good as one that
// goes away later.
func TestPage_LoadsItsViewOnceTheServerIsBack(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	b.tolerate("net::ERR_")
	s := testkit.StartProcess(t)
	quiet(s)
	b.open(t, s, "/")
	b.sees(t, ".station", "admission-full")
	address := s.URL[len("http://"):]
	s.Stop()
	b.within(t, "the lost connection", chromedp.WaitVisible("#link[data-state=lost]", chromedp.ByQuery))
	b.do(t, chromedp.Click(`//nav//a[text()="Resources"]`))
	b.sees(t, ".empty", "could not be loaded")
	quiet(testkit.StartProcess(t, testkit.WithArgs("--listen", address)))
	// The page loads itself anew, which a poll does not survive.
	b.within(t, "the view", chromedp.WaitVisible(`//nav[@aria-label="Types"]//a[contains(., "Patient")]`))
}
