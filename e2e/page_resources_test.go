package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

func TestPageResources_GoesFromTypeToVersion(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources")
	b.sees(t, ".types a", "Patient")
	b.looks(t, "resources-types")
	b.click(t, `//nav[@aria-label="Types"]//a[contains(., "Encounter")]`)
	b.sees(t, ".rows-of-type a", "mateo")
	b.looks(t, "resources-ids")
	b.click(t, `//ul[contains(@class, "rows-of-type")]//a[contains(., "mateo")]`)
	b.sees(t, ".one .json", "Patient/mateo")
	b.sees(t, ".versions a", "version 1")
	b.looks(t, "resources-one")

	// A reference is a link to its target.
	b.click(t, `//section[@class="one"]//a[contains(., "Patient/mateo")]`)
	b.sees(t, ".lede", "Patient/mateo")
	b.sees(t, ".one .json", "Mateo")

	// A write by another client appears by itself, and the previous version stays.
	must(t, s, http.MethodPut, "Patient/mateo", `{"resourceType":"Patient","id":"mateo","name":[{"text":"Mateo Anew"}]}`)
	b.sees(t, ".versions a", "version 2")
	b.sees(t, ".one .json", "Mateo Anew")
	b.click(t, `//nav[@aria-label="Versions"]//a[contains(., "version 1")]`)
	b.sees(t, ".lede", "_history/1")
	var json string
	b.within(t, "version 1", chromedp.Text(".one .json", &json, chromedp.ByQuery))
	if strings.Contains(json, "Mateo Anew") {
		t.Error("version 1 shows what version 2 says")
	}
}

func TestPageResources_FindsByAPartOfTheIDAndMarksWhatIsDeleted(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources/Patient")
	b.sees(t, ".rows-of-type a", "ingrid")
	b.do(t, chromedp.SendKeys(".ids input", "ATE", chromedp.ByQuery))
	// There is one with AT, too, whose link keeps that search.
	b.within(t, "one patient", chromedp.Poll(`document.querySelectorAll(".rows-of-type a").length === 1 && document.querySelector(".rows-of-type a").href.endsWith("find=ATE")`, nil))
	b.click(t, ".rows-of-type a")
	b.sees(t, ".lede", "Patient/mateo")
	b.within(t, "the search to go on", chromedp.Poll(`document.querySelector(".ids input").value === "ATE" && document.querySelectorAll(".rows-of-type a").length === 1`, nil))
	b.do(t, chromedp.SendKeys(".ids input", "x", chromedp.ByQuery))
	b.sees(t, ".rows-of-type", "No Patient has an id with “ATEx”")

	must(t, s, http.MethodDelete, "Patient/mei", "")
	b.open(t, s, "/resources/Patient/mei")
	b.sees(t, ".one", "deleted")
	b.sees(t, ".rows-of-type [data-deleted]", "mei")
	b.looks(t, "resources-deleted")
	b.click(t, `//nav[@aria-label="Versions"]//a[contains(., "version 1")]`)
	b.sees(t, ".one .json", "Mei")
	b.tolerate("404")
	b.open(t, s, "/resources/Patient/nobody")
	b.sees(t, ".one .error", "nobody")
	// It shows as soon as it is there.
	must(t, s, http.MethodPut, "Patient/nobody", `{"resourceType":"Patient","id":"nobody","active":true}`)
	b.sees(t, ".one .json", "active")
}

func TestPageResources_TurnsThePagesOfALargeType(t *testing.T) {
	t.Parallel()
	const many = 20_000
	file := filepath.Join(t.TempDir(), "large.json")
	resources := make([]string, many)
	for i := range resources {
		resources[i] = fmt.Sprintf(`{"resourceType":"Patient","id":"p-%05d","name":[{"text":"Number %d"}]}`, i, i)
	}
	if err := os.WriteFile(file, []byte(`{"resources":[`+strings.Join(resources, ",")+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ := openPage(t, "/resources/Patient", testkit.WithSeed(file))
	b.sees(t, ".types a", "20,000")
	b.sees(t, ".ids .hint", "1 to 50 of 20,000")
	b.do(t, chromedp.Focus(`//button[text()="Older"]`), chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".ids .hint", "51 to 100 of 20,000")
	b.sees(t, ":focus", "Older")
	b.looks(t, "resources-large")

	// The list stays on its page while a resource of it is open, and after a reload.
	b.click(t, ".rows-of-type li:nth-child(3) a")
	b.sees(t, ".one .json", "Number")
	b.sees(t, ".ids .hint", "51 to 100 of 20,000")
	b.do(t, chromedp.Reload())
	b.sees(t, ".ids .hint", "51 to 100 of 20,000")
	var took float64
	b.evaluate(t, `(async () => { const start = performance.now(); await (await fetch("/mock/resources?type=Patient&text=19")).json(); return performance.now() - start; })()`, &took)
	t.Logf("a search among %d resources took %.0f ms", many, took)
	b.do(t, chromedp.SendKeys(".ids input", "-19999", chromedp.ByQuery))
	b.within(t, "the one", chromedp.Poll(`document.querySelectorAll(".rows-of-type a").length === 1 && document.querySelector(".rows-of-type a").textContent.includes("Number 19999")`, nil))
}

func TestPageResources_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources/Encounter")
	b.sees(t, ".rows-of-type a", "mei")
	b.do(t, chromedp.Focus(".rows-of-type a", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".one .json", "Encounter")
	// The focus stays in the list where it was, even if the list changes.
	focused := func(what, expression string) {
		t.Helper()
		b.within(t, what, chromedp.Poll(expression, nil))
	}
	focused("the row to have the focus", `document.activeElement.matches(".rows-of-type a[aria-current]")`)
	must(t, s, http.MethodPut, "Encounter/new", `{"resourceType":"Encounter","id":"new","status":"planned"}`)
	b.sees(t, ".rows-of-type a", "new")
	focused("the row to keep the focus", `document.activeElement.matches(".rows-of-type a[aria-current]")`)

	b.do(t, chromedp.Focus(".one summary", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.within(t, "the tree to close", chromedp.Poll(`!document.querySelector(".one details").open`, nil))
	must(t, s, http.MethodDelete, "Encounter/new", "")
	b.sees(t, ".rows-of-type [data-deleted]", "new")
	var open bool
	b.evaluate(t, `document.querySelector(".one details").open`, &open)
	if open {
		t.Error("a change of another resource opened the tree again")
	}
	b.do(t, chromedp.KeyEvent(kb.Enter), chromedp.Focus(".one .json a", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".lede", "Patient/")
	focused("its row to have the focus", `document.activeElement.matches(".rows-of-type a[aria-current]")`)

	// On a phone one pane shows at a time, and the focus goes with it.
	b.size(t, 375, 812, true)
	b.open(t, s, "/resources")
	b.sees(t, ".types a", "Patient")
	b.do(t, chromedp.Focus(`//nav[@aria-label="Types"]//a[contains(., "Patient")]`), chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".rows-of-type a", "mateo")
	focused("the view to have the focus", `document.activeElement.id === "view"`)
	b.do(t, chromedp.Focus(".rows-of-type a", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	focused("the resource to have the focus", `document.activeElement.matches(".one")`)
}

func TestPageResources_ShowsHostileContentAsText(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	must(t, s, http.MethodPut, "Patient/evil", `{"resourceType":"Patient","id":"evil","name":[{"text":"<img src=x onerror=window.owned=1><script>window.owned=1</script>"}],"generalPractitioner":[{"reference":"javascript:alert(1)/Patient/x"},{"reference":"https://elsewhere.example/fhir/Practitioner/x"},{"reference":"Practitioner/lin"}]}`)
	b.open(t, s, "/resources/Patient/evil")
	b.sees(t, ".one .json", "<img src=x")
	b.harmless(t)
	var links []string
	b.evaluate(t, `[...document.querySelectorAll(".one .json a")].map((a) => a.pathname)`, &links)
	if len(links) != 1 || links[0] != "/resources/Practitioner/lin" {
		t.Errorf("got links to %v, want only links to this server", links)
	}
	b.click(t, `//button[text()="Raw"]`)
	b.sees(t, ".one pre", "<img src=x")

	// Huge and deep; the editor and the list show them too.
	nested := strings.Repeat(`{"url":"u","extension":[`, 24) + `{"url":"end","valueString":"bottom"}` + strings.Repeat(`]}`, 24)
	must(t, s, http.MethodPut, "Patient/huge", `{"resourceType":"Patient","id":"huge","extension":[`+nested+`],"name":[{"text":"`+strings.Repeat("wide ", 40_000)+`"}]}`)
	b.open(t, s, "/resources/Patient/huge")
	b.sees(t, ".one .json button", "more characters")
	b.sees(t, ".rows-of-type a", "wide wide")
	b.looks(t, "resources-huge")
	for _, id := range []string{"evil", "huge"} {
		b.open(t, s, "/trigger?type=Patient&id="+id)
		b.within(t, "the editor to hold it", chromedp.Poll(`document.querySelector("[aria-label='Write a resource'] textarea")?.value.includes('"`+id+`"')`, nil))
		b.submit(t, writeResource)
		b.sees(t, ".effect", "Patient/"+id+" as version 2")
		b.accessible(t)
	}
	b.harmless(t)
}

// What comes from the server does not replace an element that is being clicked: the click
// would be lost.
func TestPageResources_KeepsWhatIsPressed(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources")
	link := `//nav[@aria-label="Types"]//a[contains(., "Patient")]`
	var at struct{ X, Y float64 }
	b.within(t, "the link", chromedp.WaitVisible(link))
	b.evaluate(t, fmt.Sprintf(`(() => {
		window.pressed = document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue;
		const { x, y, width, height } = pressed.getBoundingClientRect();
		return { X: x + width / 2, Y: y + height / 2 };
	})()`, link), &at)
	b.do(t, input.DispatchMouseEvent(input.MousePressed, at.X, at.Y).WithButton(input.Left).WithClickCount(1))
	var since float64
	b.evaluate(t, `performance.now()`, &since)
	must(t, s, http.MethodPut, "Patient/new", `{"resourceType":"Patient","id":"new"}`)
	b.within(t, "the page to learn of the patient", chromedp.PollFunction(`(since) => performance.getEntriesByType("resource").some((e) => e.name.endsWith("/mock/state") && e.startTime > since && e.responseEnd > 0)`, nil, chromedp.WithPollingArgs(since)))
	var there bool
	b.evaluate(t, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(pressed.isConnected))))`, &there)
	if !there {
		t.Error("the link was replaced while it was pressed")
	}
	b.do(t, input.DispatchMouseEvent(input.MouseReleased, at.X, at.Y).WithButton(input.Left).WithClickCount(1))
	b.sees(t, ".rows-of-type a", "new")
	b.sees(t, ".types a[aria-current]", "Patient")
}

func TestPageResources_HasATabForEachRelease(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources")
	b.sees(t, ".tabs [aria-current]", "R5")
	b.sees(t, ".types a", "SubscriptionTopic")
	b.click(t, `//div[@aria-label="FHIR release"]//a[text()="R4"]`)
	b.sees(t, ".lede", "/fhir/R4")
	if status, response := send(t, http.MethodPut, s.URL+"/fhir/R4/Patient/four", []byte(`{"resourceType":"Patient","id":"four","name":[{"text":"Four"}],"generalPractitioner":[{"reference":"Practitioner/lin"}]}`)); status != http.StatusCreated {
		t.Fatalf("got %d %v", status, response)
	}
	b.click(t, `//nav[@aria-label="Types"]//a[contains(., "Patient")]`)
	b.click(t, `//ul[contains(@class, "rows-of-type")]//a[contains(., "four")]`)
	b.sees(t, ".one .json", "Four")
	var to string
	b.evaluate(t, `document.querySelector(".one .json a").search`, &to)
	if to != "?release=R4" {
		t.Errorf("a reference of R4 leads to %q", to)
	}
	// Edit stays in the release.
	b.click(t, `//section[@class="one"]//a[text()="Edit"]`)
	b.sees(t, writeResource+" h3", "PUT /fhir/R4/Patient/four")
	b.holds(t, `"Four"`)
	b.accessible(t)

	only := testkit.StartProcess(t, testkit.WithArgs("--release", "R4"))
	b.open(t, only, "/resources")
	b.sees(t, ".lede", "/fhir/R4")
	b.open(t, only, "/trigger")
	b.sees(t, writeResource+" h3", "/fhir/R4/Encounter")
}
