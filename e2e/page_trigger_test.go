package e2e

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

func TestPageTrigger_FiresAndTellsWhoGotIt(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/trigger")
	b.sees(t, "option", "Admission")
	b.sees(t, ".wire pre", "SubscriptionTopic/admission")
	b.looks(t, "trigger")
	b.do(t, chromedp.Click(`//section[@aria-label="Fire events"]//button[@type="submit"]`))
	b.sees(t, ".set-off", "admission-id-only got event #1")

	// A refusal stands beside the field it is about, and nothing is lost.
	b.tolerate("400")
	b.do(t, chromedp.Evaluate(`(() => { const box = [...document.querySelectorAll(".field")].find((f) => f.textContent.includes("Time between")); const input = box.querySelector("input"); input.value = "soon"; input.dispatchEvent(new Event("input")); })()`, nil),
		chromedp.Click(`//section[@aria-label="Fire events"]//button[@type="submit"]`))
	b.sees(t, `[aria-label="Fire events"] .wire .error`, "soon")
	var typed string
	b.evaluate(t, `[...document.querySelectorAll("[aria-label='Fire events'] input")].map((i) => i.value).join()`, &typed)
	if typed != "1,soon," {
		t.Errorf("the form holds %q after the refusal", typed)
	}
}

func TestPageTrigger_RunsGeneratorsByKeyboard(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/trigger")
	b.sees(t, "[data-generator=ward] .state", "stopped")
	b.do(t, chromedp.Focus("[data-run=ward]", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, "[data-generator=ward] .state", "running")
	b.do(t, chromedp.Focus("[data-generator=ward] input", chromedp.ByQuery), chromedp.KeyEvent(kb.End))
	b.sees(t, "[data-generator=ward] output", "50/s")
	rate := func() string {
		var all struct {
			Generators []struct{ Name, Rate string }
		}
		getJSON(t, s.URL+"/mock/generators", &all)
		return all.Generators[0].Rate
	}
	b.within(t, "writes at the new rate", chromedp.Poll(`Number(document.querySelector("[data-generator=ward] > .hint").textContent.replaceAll(",", "").split(" ")[0]) > 20`, nil))
	if got := rate(); got != "50/s" {
		t.Errorf("the generator runs at %s, want 50/s", got)
	}
	b.do(t, chromedp.Focus("[data-run=ward]", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, "[data-generator=ward] .state", "stopped")
	b.do(t, chromedp.Focus(".more-generators summary", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter), chromedp.SendKeys(".more-generators input", "night\r", chromedp.ByQuery))
	b.sees(t, "[data-generator=night] .state", "running")
	b.do(t, chromedp.Click(`//button[@aria-label="Remove night"]`))
	b.within(t, "it to go", chromedp.WaitNotPresent("[data-generator=night]", chromedp.ByQuery))
}

func TestPageTrigger_WritesAndShowsWhatItSetOff(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	client := listen(t, s.URL, "--subscription", "admission-full")
	client.says("handshake")
	b.open(t, s, "/trigger?type=Encounter&id=mateo")
	text := `document.querySelector("[aria-label='Write a resource'] textarea")`
	b.within(t, "the resource", chromedp.Poll(text+`?.value.includes('"planned"')`, nil))
	edit := func(change string) {
		t.Helper()
		b.do(t, chromedp.Evaluate(`(() => { const text = `+text+`; text.value = text.value.`+change+`; text.dispatchEvent(new Event("input")); })()`, nil))
	}
	save := func() {
		t.Helper()
		b.do(t, chromedp.Click(`//section[@aria-label="Write a resource"]//button[@type="submit"]`))
	}

	edit(`replace('"planned"', '"planned",')`)
	b.sees(t, ".error", "line ")
	edit(`replace(',,', ',')`)
	edit(`replace('"planned"', '"unheard-of"')`)
	b.tolerate("400")
	b.tolerate("422")
	save()
	b.sees(t, ".issues li", "unheard-of")
	b.sees(t, ".issues li button", "line ")
	b.looks(t, "trigger-refused")
	edit(`replace('"unheard-of"', '"in-progress"')`)
	save()
	b.sees(t, ".set-off", "Topic admission fired")
	b.sees(t, ".set-off", "admission-full got event #1, sent to a socket")
	b.sees(t, ".set-off", "admission-id-only got event #1, for $events: no socket is bound")
	b.sees(t, ".set-off", "Topic discharge did not fire")
	client.says("#1")
	b.looks(t, "trigger-saved")

	// What was typed is there after a reload.
	edit(`replace('"in-progress"', '"on-hold"')`)
	b.open(t, s, "/trigger")
	b.within(t, "what was typed", chromedp.Poll(text+`?.value.includes('"on-hold"')`, nil))
	b.do(t, chromedp.Click(`//button[text()="Delete"]`))
	b.sees(t, "[role=status]", "Deleted Encounter/mateo")
	if status, _ := send(t, http.MethodGet, s.FHIR+"/Encounter/mateo", nil); status != http.StatusGone {
		t.Errorf("the resource answers %d after its deletion, want 410", status)
	}
}
