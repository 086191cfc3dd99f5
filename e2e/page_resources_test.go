package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

// must sends a request to the FHIR base of a server, which has to succeed.
func must(t *testing.T, s *testkit.Server, method, path, body string) {
	t.Helper()
	if status, answer := send(t, method, s.FHIR+"/"+path, []byte(body)); status >= 300 {
		t.Fatalf("%s %s: got %d %v", method, path, status, answer)
	}
}

func TestPageResources_GoesFromTypeToVersion(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/resources")
	b.sees(t, ".types a", "Patient")
	b.looks(t, "resources-types")
	b.do(t, chromedp.Click(`//nav[@aria-label="Types"]//a[contains(., "Encounter")]`))
	b.sees(t, ".rows-of-type a", "mateo")
	b.looks(t, "resources-ids")
	b.do(t, chromedp.Click(`//ul[contains(@class, "rows-of-type")]//a[contains(., "mateo")]`))
	b.sees(t, ".one .json", "Patient/mateo")
	b.sees(t, ".versions a", "version 1")
	b.looks(t, "resources-one")

	// A reference leads to what it names.
	b.do(t, chromedp.Click(`//section[@class="one"]//a[contains(., "Patient/mateo")]`))
	b.sees(t, ".lede", "Patient/mateo")
	b.sees(t, ".one .json", "Mateo")

	// A write elsewhere shows by itself, and the version before stays.
	must(t, s, http.MethodPut, "Patient/mateo", `{"resourceType":"Patient","id":"mateo","name":[{"text":"Mateo Anew"}]}`)
	b.sees(t, ".versions a", "version 2")
	b.sees(t, ".one .json", "Mateo Anew")
	b.do(t, chromedp.Click(`//nav[@aria-label="Versions"]//a[contains(., "version 1")]`))
	b.sees(t, ".lede", "_history/1")
	var json string
	b.within(t, "version 1", chromedp.Text(".one .json", &json, chromedp.ByQuery))
	if strings.Contains(json, "Mateo Anew") {
		t.Error("version 1 shows what version 2 says")
	}
}

func TestPageResources_FindsByIDAndTellsWhatIsDeleted(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/resources/Patient")
	b.sees(t, ".rows-of-type a", "ingrid")
	b.do(t, chromedp.SendKeys(".ids input", "mei", chromedp.ByQuery))
	b.within(t, "one patient", chromedp.Poll(`document.querySelectorAll(".rows-of-type a").length === 1`, nil))
	must(t, s, http.MethodDelete, "Patient/mei", "")
	b.open(t, s, "/resources/Patient/mei")
	b.sees(t, ".one", "deleted")
	b.tolerate("404")
	b.open(t, s, "/resources/Patient/nobody")
	b.sees(t, ".one .error", "nobody")
}

func TestPageResources_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	b.open(t, s, "/resources/Encounter")
	b.sees(t, ".rows-of-type a", "mei")
	b.do(t, chromedp.Focus(".rows-of-type a", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".one .json", "Encounter")
	b.do(t, chromedp.Focus(".one summary", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.within(t, "the tree to close", chromedp.Poll(`!document.querySelector(".one details").open`, nil))
}

func TestPageResources_ShowsHostileContentAsText(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	must(t, s, http.MethodPut, "Patient/evil", `{"resourceType":"Patient","id":"evil","name":[{"text":"<img src=x onerror=window.owned=1><script>window.owned=1</script>"}],"generalPractitioner":[{"reference":"javascript:alert(1)/Patient/x"}]}`)
	b.open(t, s, "/resources/Patient/evil")
	b.sees(t, ".one .json", "<img src=x")
	var owned bool
	b.evaluate(t, `window.owned === 1 || document.querySelector("main img, main script, main a[href^='javascript']") !== null`, &owned)
	if owned {
		t.Error("the page executed what a resource holds")
	}
}
