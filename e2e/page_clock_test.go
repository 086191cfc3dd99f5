package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The rows of the tables of the view Live.
const (
	liveSubscription = `[aria-label="Subscriptions"] tbody tr`
	liveSocket       = `[aria-label="Sockets"] tbody tr`
	liveToken        = `[aria-label="Tokens"] tbody tr`
)

// Ages and the time left are by the clock of the room, which stands still until it is moved.
func TestPage_FollowsTheClockOfTheRoom(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	s.SetClock(time.Date(2101, 1, 1, 8, 0, 0, 0, time.UTC))
	// It has no heartbeats, so it gets nothing while time passes.
	s.Put(`{"resourceType":"Subscription","id":"mine","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"code":"websocket"},"contentType":"application/fhir+json","content":"id-only"}`)
	s.Post(s.URL+"/mock/generators/ward/step", map[string]any{"count": 1}, nil)

	b.open(t, s, "/try?subscription=mine")
	b.press(t, "Do all of it")
	b.sees(t, ".result", "bound")
	b.sees(t, ".result", "30:00 left")
	b.sees(t, tryState, "open for 0 ms")
	s.Advance(10 * time.Minute)
	b.sees(t, ".result", "20:00 left")
	b.sees(t, tryState, "open for 10 min")

	b.click(t, `//nav//a[text()="Live"]`)
	b.sees(t, liveSubscription, "10 min ago")
	b.sees(t, liveSocket, "10 min")
	b.sees(t, liveToken, "20 min")
	s.Advance(2 * time.Minute)
	b.sees(t, liveSubscription, "12 min ago")
	b.sees(t, liveSocket, "12 min")
	b.sees(t, liveToken, "18 min")

	// However late it becomes in the browser, the ages that it writes again stay.
	var left string
	b.evaluate(t, `new Promise((done) => {
		const real = Date.now;
		Date.now = () => real() + 3600e3;
		new MutationObserver((changes) => {
			const cell = changes.map((c) => c.target).find((e) => e.matches('`+liveToken+` [data-aged]'));
			if (!cell) return;
			Date.now = real;
			done(cell.textContent);
		}).observe(document.querySelector("main"), { childList: true, subtree: true });
	})`, &left)
	if left != "18 min" {
		t.Errorf("the page shows %q although the clock stands still", left)
	}

	b.click(t, `//nav//a[text()="Trigger"]`)
	b.sees(t, ".generators", "12 min ago")
	s.Advance(2 * time.Minute)
	b.sees(t, ".generators", "14 min ago")
	b.open(t, s, "/resources/Subscription/mine")
	b.sees(t, ".rows-of-type [aria-current] time", "14 min ago")
	b.sees(t, ".versions time", "14 min ago")
	s.Advance(2 * time.Minute)
	b.sees(t, ".rows-of-type [aria-current] time", "16 min ago")
	b.sees(t, ".versions time", "16 min ago")
	s.SetClock(time.Date(2101, 1, 1, 8, 1, 30, 0, time.UTC)) // back
	b.sees(t, ".versions time", "90 s ago")
}

// The clock of the browser may show another time than that of the server.
func TestPage_DoesNotNeedTheClockOfTheBrowser(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.do(t, chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(`{ const real = Date.now; Date.now = () => real() + 5 * 3600e3; }`).Do(ctx)
		return err
	}))
	s.Token("admission-full")
	b.open(t, s, "/")
	b.sees(t, liveToken, " min")
	b.open(t, s, "/try?subscription=admission-full")
	b.press(t, "Take a token")
	b.sees(t, ".result", " left")
}
