package e2e

import (
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestPageLive_ShowsThePathOfAnEvent(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/")
	b.sees(t, ".stage", "admission-full")
	b.sees(t, ".stage", "No socket is open")
	client := listens(t, s, "admission-full")
	b.sees(t, ".item", "s1")
	b.sees(t, ".item", "handshake")

	// A click fires an event, and each stage shows it.
	b.within(t, "the button", chromedp.WaitEnabled(".head button.primary", chromedp.ByQuery))
	b.click(t, ".head button.primary")
	client.says("#1")
	b.sees(t, ".item", "triggered")
	b.sees(t, ".item", "event-notification")
	b.sees(t, "[data-key='sadmission-full']", "#1")
	b.within(t, "lines to the socket", chromedp.WaitReady(".pipeline path", chromedp.ByQuery))
	b.sees(t, "table", "admission-full")
	b.sees(t, "table", "ig")
	b.looks(t, "live")
}

func TestPageLive_SurvivesARestart(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/")
	b.sees(t, ".stage", "admission-full")
	b.loses(t, s)
	restart(t, s)
	b.live(t)
	b.sees(t, "#notice", "restarted")
	b.sees(t, ".stage", "admission-full")
}

func TestPageLive_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/")
	b.sees(t, ".stage", "admission-full")
	// The first Tab goes to the link that skips to the content.
	b.do(t, chromedp.KeyEvent("\t"))
	b.sees(t, ":focus", "Skip to content")
	b.do(t, chromedp.Focus(".head button.primary", chromedp.ByQuery), chromedp.KeyEvent("\r"))
	b.sees(t, "[data-key='sadmission-full']", "#1")
}

func TestPage_IsSmallAndConnectsOnlyToItsServer(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	// The size of all responses, including the samples.
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

// It does not matter whether the server goes away while the page fetches a view, or later.
func TestPage_LoadsItsViewOnceTheServerIsBack(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/")
	b.sees(t, ".stage", "admission-full")
	b.loses(t, s)
	b.click(t, `//nav//a[text()="Resources"]`)
	b.sees(t, ".empty", "could not be loaded")
	restart(t, s)
	// The page reloads itself, which ends a poll with an error.
	b.within(t, "the view", chromedp.WaitVisible(`//nav[@aria-label="Types"]//a[contains(., "Patient")]`))
}
