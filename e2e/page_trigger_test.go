package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The sections of the view.
const (
	fireEvents    = "[aria-label='Fire events']"
	writeResource = "[aria-label='Write a resource']"
)

// fill puts a text in the control with a label, as typing does.
func (b *browser) fill(t *testing.T, section, label, text string) {
	t.Helper()
	b.do(t, chromedp.Evaluate(fmt.Sprintf(`(() => {
		const field = [...document.querySelectorAll(%q)].find((f) => f.querySelector("label").textContent === %q);
		const control = field.querySelector("input, select, textarea");
		control.value = %q;
		for (const kind of ["input", "change"]) control.dispatchEvent(new Event(kind));
	})()`, section+" .field", label, text), nil))
}

// value returns the text of the control with a label.
func (b *browser) value(t *testing.T, section, label string) string {
	t.Helper()
	var text string
	b.evaluate(t, fmt.Sprintf(`[...document.querySelectorAll(%q)].find((f) => f.querySelector("label").textContent === %q).querySelector("input, select, textarea").value`, section+" .field", label), &text)
	return text
}

// The editor, in the page.
const editor = `document.querySelector("[aria-label='Write a resource'] textarea")`

// holds waits until the editor contains a text.
func (b *browser) holds(t *testing.T, text string) {
	t.Helper()
	b.within(t, "the editor to hold "+text, chromedp.PollFunction(`(text) => `+editor+`?.value.includes(text)`, nil, chromedp.WithPollingArgs(text)))
}

// edits changes the text of the editor by a method of it, such as replace("a", "b").
func (b *browser) edits(t *testing.T, change string) {
	t.Helper()
	b.do(t, chromedp.Evaluate(`{ const e = `+editor+`; e.value = e.value.`+change+`; e.dispatchEvent(new Event("input", { bubbles: true })); }`, nil))
}

// submit presses the main button of a section.
func (b *browser) submit(t *testing.T, section string) {
	t.Helper()
	b.click(t, section+" button[type=submit]")
}

// refuses waits until the control with a label is marked and shows what is wrong.
func (b *browser) refuses(t *testing.T, section, label, text string) {
	t.Helper()
	b.within(t, label+" to be refused with "+text, chromedp.PollFunction(`(selector, label, text) => {
		const field = [...document.querySelectorAll(selector)].find((f) => f.querySelector("label").textContent === label);
		return field.querySelector("[aria-invalid=true]") && field.querySelector(".error").textContent.includes(text);
	}`, nil, chromedp.WithPollingArgs(section+" .field", label, text)))
}

func TestPageTrigger_FiresAndShowsWhichSubscriptionsGotTheEvent(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/trigger")
	b.sees(t, "option", "Admission")
	b.sees(t, ".wire pre", "SubscriptionTopic/admission")
	b.looks(t, "trigger")
	b.submit(t, fireEvents)
	b.sees(t, ".set-off", "admission-id-only got event #1")

	// One subscription, several events, a given resource.
	b.fill(t, fireEvents, "For", "subscription admission-full")
	b.fill(t, fireEvents, "How many", "3")
	b.fill(t, fireEvents, "About", "focus")
	b.fill(t, fireEvents, "Resource", `{"resourceType":"Encounter","status":"in-progress","class":[{"text":"<b>own</b>"}]}`)
	b.sees(t, fireEvents+" .wire pre", `"count": 3`)
	b.submit(t, fireEvents)
	b.sees(t, ".set-off", "admission-full got event #2–4")
}

func TestPageTrigger_ShowsARefusalBesideTheFieldAndKeepsWhatWasTyped(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("400")
	b.open(t, s, "/trigger")
	b.sees(t, ".wire pre", "SubscriptionTopic/admission")
	b.fill(t, fireEvents, "Time between", "soon")
	b.submit(t, fireEvents)
	b.refuses(t, fireEvents, "Time between", "soon")
	b.fill(t, fireEvents, "Time between", "1s")
	b.fill(t, fireEvents, "How many", "many")
	b.submit(t, fireEvents)
	b.refuses(t, fireEvents, "How many", "whole number")
	b.fill(t, fireEvents, "How many", "2")
	b.fill(t, fireEvents, "About", "reference")
	b.fill(t, fireEvents, "Reference", "nobody")
	b.submit(t, fireEvents)
	b.refuses(t, fireEvents, "Reference", "nobody")
	b.fill(t, fireEvents, "About", "focus")
	focus := "{\n  \"resourceType\": \"Encounter\",\n  \"status\": \"unheard-of\"\n}"
	b.fill(t, fireEvents, "Resource", focus)
	b.submit(t, fireEvents)
	b.refuses(t, fireEvents, "Resource", "line 3: got \"unheard-of\"")
	b.looks(t, "trigger-fire-refused")
	for label, want := range map[string]string{"Time between": "1s", "How many": "2", "Reference": "nobody", "Resource": focus} {
		if got := b.value(t, fireEvents, label); got != want {
			t.Errorf("%s: holds %q after the refusals, want %q", label, got, want)
		}
	}
}

func TestPageTrigger_RunsGeneratorsByKeyboard(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/trigger")
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
	// Writes in between do not move the focus.
	b.do(t, chromedp.Focus("[data-generator=ward] > .hint a", chromedp.ByQuery))
	b.within(t, "another write", chromedp.Poll(`(() => { const n = Number(document.querySelector("[data-generator=ward] > .hint").textContent.replaceAll(",", "").split(" ")[0]); window.seen ??= n; return n > window.seen; })()`, nil))
	b.within(t, "the link to keep the focus", chromedp.Poll(`document.activeElement.matches("[data-generator=ward] > .hint a")`, nil))

	b.do(t, chromedp.Focus("[data-run=ward]", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	b.sees(t, "[data-generator=ward] .state", "stopped")
	b.do(t, chromedp.Focus(".more-generators summary", chromedp.ByQuery), chromedp.KeyEvent(kb.Enter), chromedp.SendKeys(".more-generators input", "night\r", chromedp.ByQuery))
	b.sees(t, "[data-generator=night] .state", "running")
	b.do(t, chromedp.Focus(`//button[@aria-label="Remove night"]`), chromedp.KeyEvent(kb.Enter))
	b.within(t, "it to go", chromedp.WaitNotPresent("[data-generator=night]", chromedp.ByQuery))
	b.within(t, "the focus to go on", chromedp.Poll(`document.activeElement.matches(".more-generators summary")`, nil))

	b.tolerate("400")
	b.fill(t, ".more-generators", "Name", "no name")
	b.click(t, `//button[text()="Add and start"]`)
	b.refuses(t, ".more-generators", "Name", "hyphens")
}

func TestPageTrigger_WritesAndShowsTheEffects(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	client := listens(t, s, "admission-full")
	b.open(t, s, "/trigger?type=Encounter&id=mateo")
	b.holds(t, `"planned"`)

	b.edits(t, `replace('"planned"', '"planned",')`)
	b.refuses(t, writeResource, "Resource", "line 10, column 23: expected a name in quotes")
	b.edits(t, `replace(',,', ',')`)
	b.edits(t, `replace('"planned"', '"unheard-of"')`)
	b.edits(t, `replace('"IMP"', '7')`)
	b.tolerate("400")
	b.tolerate("422")
	b.submit(t, writeResource)
	b.sees(t, ".issues li", "unheard-of")
	b.sees(t, ".issues li:last-child", "Encounter.class[0].coding[0].code")
	b.looks(t, "trigger-refused")
	// The button shows the line.
	b.click(t, ".issues li:last-child button")
	var line string
	b.evaluate(t, `(({ value, selectionStart, selectionEnd }) => value.slice(selectionStart, selectionEnd))(`+editor+`)`, &line)
	if strings.TrimSpace(line) != `"code": 7,` {
		t.Errorf("the button shows the line %q, want that of the code", line)
	}
	b.edits(t, `replace('"unheard-of"', '"in-progress"').replace('code": 7', 'code": "IMP"')`)
	b.submit(t, writeResource)
	b.sees(t, ".set-off", "Topic admission fired")
	b.sees(t, ".set-off", "admission-full got event #1, sent to a socket")
	b.sees(t, ".set-off", "admission-id-only got event #1: no socket is bound; $events has the event")
	b.sees(t, ".set-off", "Topic discharge did not fire")
	client.says("#1")
	b.looks(t, "trigger-saved")

	// The effects of the write of another client are not shown.
	must(t, s, http.MethodPut, "Encounter/mateo", `{"resourceType":"Encounter","id":"mateo","status":"completed"}`)
	b.open(t, s, "/trigger?type=Patient&id=mateo")
	b.holds(t, `"Patient"`)
	b.submit(t, writeResource)
	b.sees(t, ".effect", "No topic is about Patient")
	b.click(t, `//button[text()="Delete"]`)
	b.sees(t, ".effect", "Deleted Patient/mateo")
	b.sees(t, ".effect", "No topic is about Patient")
	b.click(t, `//button[text()="Delete"]`)
	b.sees(t, ".effect", "Nothing changed")
	if status, _ := send(t, http.MethodGet, s.FHIR.R5+"/Patient/mateo", nil); status != http.StatusGone {
		t.Errorf("reading the deleted resource returned %d, want 410", status)
	}
	// What was deleted is still in the editor and can be written again.
	b.submit(t, writeResource)
	b.sees(t, ".effect", "Created Patient/mateo as version 4")
}

func TestPageTrigger_ShowsOnlyTheEffectsOfItsOwnWrite(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/trigger?type=Encounter&id=mateo")
	b.holds(t, `"planned"`)
	var response any
	s.Post(s.URL+"/mock/generators", `{"name":"busy","scenario":"admission-to-discharge","rate":"100/s","patients":8,"running":true}`, &response)
	b.sees(t, "[data-generator=busy]", "writes")
	b.fill(t, writeResource, "Resource", strings.Replace(b.value(t, writeResource, "Resource"), "planned", "in-progress", 1))
	b.submit(t, writeResource)
	b.sees(t, ".effect", "Topic discharge did not fire")
	var lines []string
	b.evaluate(t, `[...document.querySelectorAll(".effect li")].map((li) => li.textContent)`, &lines)
	kinds := map[string]int{}
	for _, line := range lines {
		switch {
		case strings.Contains(line, "admission fired"):
			kinds["fired"]++
		case strings.Contains(line, "got event"):
			kinds["event"]++
		case strings.Contains(line, "did not fire"):
			kinds["not fired"]++
		}
	}
	if kinds["fired"] != 1 || kinds["event"] != 3 || kinds["not fired"] != 1 || len(lines) != 5 {
		t.Errorf("the write caused %q, want one topic that fired, three events, one topic that did not fire", lines)
	}
}

func TestPageTrigger_CreatesFromAnExample(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/trigger")
	b.holds(t, `"Encounter"`)
	b.fill(t, writeResource, "Type", "Observation")
	b.holds(t, `"Observation"`)
	for _, mine := range []string{`"id":`, "versionId", "lastUpdated"} {
		if got := b.value(t, writeResource, "Resource"); strings.Contains(got, mine) {
			t.Errorf("the example has %s, which the server sets:\n%s", mine, got)
		}
	}
	b.sees(t, writeResource+" .wire pre", "-X POST")
	b.submit(t, writeResource)
	b.sees(t, ".effect", "Created Observation/")
	// The field offers the existing ids.
	b.fill(t, writeResource, "Type", "Patient")
	b.do(t, chromedp.Focus("[list=ids-held]", chromedp.ByQuery))
	b.within(t, "ids to choose from", chromedp.Poll(`[...document.querySelectorAll("#ids-held option")].some((o) => o.value === "mateo")`, nil))
}

func TestPageTrigger_LosesNothingThatWasTyped(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/trigger?type=Encounter&id=mateo")
	b.holds(t, `"planned"`)
	mine := strings.ReplaceAll(b.value(t, writeResource, "Resource"), "planned", "on-hold")
	b.fill(t, writeResource, "Resource", mine)

	b.open(t, s, "/trigger") // as a reload
	b.holds(t, `"on-hold"`)
	b.open(t, s, "/trigger?type=Encounter&id=mateo")
	b.holds(t, `"on-hold"`)
	b.click(t, `//button[text()="Load what is stored"]`)
	b.holds(t, `"planned"`)
	b.click(t, `//button[text()="Put it back"]`)
	b.holds(t, `"on-hold"`)
	b.fill(t, writeResource, "Type", "Patient")
	b.holds(t, `"Patient"`)
	b.click(t, `//button[text()="Put it back"]`)
	if got := b.value(t, writeResource, "Resource"); got != mine {
		t.Errorf("what was typed came back as\n%s\nwant\n%s", got, mine)
	}

	// The server goes away while the user writes.
	b.fill(t, writeResource, "Type", "Encounter")
	b.holds(t, `"planned"`)
	b.fill(t, writeResource, "Resource", mine)
	b.loses(t, s)
	b.submit(t, writeResource)
	b.refuses(t, writeResource, "Resource", "does not respond")
	if got := b.value(t, writeResource, "Resource"); got != mine {
		t.Errorf("without a server the editor holds\n%s", got)
	}
	restart(t, s)
	b.live(t)
	b.submit(t, writeResource)
	b.sees(t, ".effect", "Encounter/mateo as version")
}

func TestPageTrigger_EditorIsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/trigger?type=Patient&id=mei")
	b.holds(t, `"mei"`)
	b.do(t, chromedp.Focus(writeResource+" textarea", chromedp.ByQuery),
		chromedp.Evaluate(editor+`.setSelectionRange(0, 0)`, nil),
		chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.Tab))
	if got := b.value(t, writeResource, "Resource"); !strings.HasPrefix(got, "  {") {
		t.Errorf("Tab made %.20q of it, want two spaces before", got)
	}
	b.sees(t, ":focus", "Save")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".effect", "Saved Patient/mei as version 2")
	b.sees(t, ":focus", "Save") // the keyboard goes on where it was
}

// The effects of a save are shown before it is saved.
func TestPageTrigger_ShowsTheEffectsOfASaveBefore(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	client := listens(t, s, "admission-full")
	b.open(t, s, "/trigger?type=Encounter&id=mateo")
	b.holds(t, `"planned"`)
	b.press(t, "What would it do?")
	b.sees(t, ".effect", "nobody would be notified")
	b.edits(t, `replace('"planned"', '"in-progress"')`)
	b.press(t, "What would it do?")
	b.sees(t, ".effect", "Topic admission fires")
	b.sees(t, ".effect", "admission-full it gets event 1, sent to 1 socket")
	b.accessible(t)
	var stored map[string]any
	getJSON(t, s.FHIR.R5+"/Encounter/mateo", &stored)
	if stored["status"] != "planned" {
		t.Errorf("the encounter is %v, want it left alone", stored["status"])
	}
	b.press(t, "Save")
	b.sees(t, ".effect", "Topic admission fired")
	client.says("#1")
}
