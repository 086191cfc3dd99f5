package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

func TestPageTimeline_ShowsWhatHappensAndOpensIt(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	client := listen(t, s.URL, "--subscription", "admission-full")
	client.says("handshake")
	b.open(t, s, "/timeline")
	b.sees(t, ".row", "handshake") // what was before the page
	s.Trigger(testkit.Trigger{Subscription: "admission-full"})
	client.says("#1")
	b.sees(t, ".row", "event-notification #1")
	b.sees(t, ".row", "POST /mock/trigger")

	b.within(t, "a frame to open", chromedp.Evaluate(`[...document.querySelectorAll(".row")].find((r) => r.textContent.includes("event-notification #1")).click()`, nil))
	b.sees(t, ".detail", "the subscription is active, 1 events since its start")
	b.sees(t, ".detail .says", "event #1 about Encounter/example")
	b.sees(t, ".detail .json", "SubscriptionStatus")
	var at string
	b.do(t, chromedp.Location(&at))
	if !strings.Contains(at, "/timeline/") {
		t.Errorf("the address is %s, want that of the entry", at)
	}
	b.looks(t, "timeline-open")

	// The address opens the same entry again.
	b.do(t, chromedp.Navigate(at))
	b.sees(t, ".detail .says", "event #1 about Encounter/example")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.within(t, "the entry to close", chromedp.WaitNotVisible(".detail", chromedp.ByQuery))
	b.looks(t, "timeline")
}

func TestPageTimeline_FiltersAndKeepsTheFilterInItsAddress(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/timeline?text=lab-full")
	s.Trigger(testkit.Trigger{Subscription: "lab-full"})
	s.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.sees(t, ".row", "lab-full")
	b.sees(t, ".hint", "hidden by the filter")
	var rows []string
	shown := `[...document.querySelectorAll(".row")].map((r) => r.textContent)`
	b.evaluate(t, shown, &rows)
	for _, row := range rows {
		if !strings.Contains(row, "lab-full") {
			t.Errorf("the filter lets %q pass", row)
		}
	}
	b.do(t, chromedp.Evaluate(`(() => { const text = document.querySelector(".filters input"); text.value = ""; text.dispatchEvent(new Event("input")); })()`, nil))
	b.sees(t, ".row", "admission-empty")
	b.do(t, chromedp.Click("[data-group=requests]", chromedp.ByQuery))
	b.within(t, "requests to go", chromedp.Poll(`![...document.querySelectorAll(".row .kind")].some((k) => k.textContent === "http")`, nil))
	var at, har string
	b.do(t, chromedp.Location(&at))
	b.evaluate(t, `[...document.querySelectorAll("a")].find((a) => a.textContent === "HAR").href`, &har)
	if !strings.Contains(at, "show=frames") || !strings.Contains(har, "format=har") {
		t.Errorf("the address is %s, the export %s", at, har)
	}
	res, err := http.Get(har)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("the export: got %v %v", res, err)
	}
	res.Body.Close()
}

func TestPageTimeline_PausesWithoutLosing(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/timeline")
	b.sees(t, ".hint", "entries")
	b.do(t, chromedp.Click(`//button[text()="Pause"]`))
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Count: 3})
	b.sees(t, ".hint", "wait while paused")
	var rows int
	count := `[...document.querySelectorAll(".row")].filter((r) => r.textContent.includes("event #")).length`
	b.evaluate(t, count, &rows)
	if rows != 0 {
		t.Errorf("%d events are shown while paused", rows)
	}
	b.do(t, chromedp.Click(`//button[text()="Pause"]`))
	b.within(t, "the three events", chromedp.Poll(count+" === 3", nil))
}

func TestPageTimeline_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	s.Trigger(testkit.Trigger{Subscription: "lab-full"})
	b.open(t, s, "/timeline?subscription=lab-full")
	b.sees(t, ".row", "event #1")
	b.do(t, chromedp.Focus(".rows", chromedp.ByQuery), chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.End))
	b.within(t, "an active row", chromedp.WaitReady(".rows[aria-activedescendant]", chromedp.ByQuery))
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.within(t, "the entry, with the focus", chromedp.Poll(`document.activeElement.matches(".detail h2")`, nil))
	b.sees(t, ".detail", "lab-full")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.within(t, "the list, with the focus", chromedp.Poll(`document.activeElement.matches(".rows")`, nil))
}

func TestPageTimeline_TakesTenThousandRows(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t, testkit.WithArgs("--journal-size", "20000"))
	quiet(s)
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x", Count: 6000}) // an event and why it was not sent
	b.open(t, s, "/timeline")
	b.within(t, "twelve thousand entries", chromedp.Poll(`Number(document.querySelector(".rows")?.getAttribute("aria-rowcount")) > 12000`, nil))
	b.sees(t, ".row", "#6000")
	for _, to := range []string{"0", "100000", "1e9"} {
		var rows int
		b.evaluate(t, fmt.Sprintf(`new Promise((done) => {
			const list = document.querySelector(".rows");
			list.scrollTop = %s;
			requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(() => done(document.querySelectorAll(".row").length))));
		})`, to), &rows)
		if rows == 0 || rows > 100 {
			t.Errorf("scrolled to %s: %d rows exist, want those in sight", to, rows)
		}
	}
	b.do(t, chromedp.Focus(".rows", chromedp.ByQuery), chromedp.KeyEvent(kb.Home))
	b.within(t, "the first row", chromedp.WaitReady("#row-0[aria-selected=true]", chromedp.ByQuery))
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x"})
	b.sees(t, ".newer", "newer")
	b.do(t, chromedp.Click(".newer", chromedp.ByQuery))
	b.sees(t, ".row", "#6001")
}

func TestPageTimeline_ShowsARestart(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	b.tolerate("net::ERR_")
	s := testkit.Start(t)
	quiet(s)
	s.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.open(t, s, "/timeline?subscription=admission-empty")
	b.sees(t, ".row", "event #1")
	address := s.URL[len("http://"):]
	s.Stop()
	b.within(t, "the lost connection", chromedp.WaitVisible("#link[data-state=lost]", chromedp.ByQuery))
	again := testkit.Start(t, testkit.WithArgs("--listen", address))
	quiet(again)
	again.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.sees(t, ".row.note", "the server was restarted")
	b.within(t, "the event of before and that of after", chromedp.Poll(`[...document.querySelectorAll(".row")].filter((r) => r.textContent.includes("event #1")).length === 2`, nil))
}

// Markup in a resource is shown and never takes effect.
func TestPageTimeline_ShowsHostileContentAsText(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	hostile := `<img src=x onerror="window.owned=1"><script>window.owned=1</script>`
	deep := strings.Repeat(`{"url":"http://example.org/x","extension":[`, 25) + `{"url":"http://example.org/x","valueString":"end"}` + strings.Repeat(`]}`, 25)
	s.Create(fmt.Sprintf(`{"resourceType":"Patient","extension":[%s],"name":[{"text":%q},{"text":%q}]}`, deep, hostile, strings.Repeat("long ", 8000)))
	b.open(t, s, "/timeline")
	b.within(t, "the write", chromedp.Evaluate(`new Promise((done) => { const look = () => { const row = [...document.querySelectorAll(".row")].find((r) => r.textContent.includes("POST /fhir/R5/Patient")); row ? (row.click(), done()) : requestAnimationFrame(look); }; look(); })`, nil, awaits))
	b.sees(t, ".detail .json", "characters more")
	b.sees(t, ".detail .json", "<img src=x onerror=")
	var owned bool
	b.evaluate(t, `window.owned === 1 || document.querySelector(".detail img, .detail script") !== null`, &owned)
	if owned {
		t.Error("the page executed what a resource holds")
	}
	b.accessible(t)
}
