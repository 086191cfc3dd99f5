package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

// chooses clicks on the newest visible row that contains a text.
func (b *browser) chooses(t *testing.T, text string) {
	t.Helper()
	b.within(t, "a row to choose that says "+text, chromedp.PollFunction(`(text) => {
		const row = [...document.querySelectorAll(".rows-space .row")].findLast((r) => r.textContent.includes(text));
		row?.click();
		return Boolean(row);
	}`, nil, chromedp.WithPollingArgs(text)))
}

// copies presses a copy button of the chosen entry and returns the copied text.
func (b *browser) copies(t *testing.T, button, part string) string {
	t.Helper()
	var copied string
	b.evaluate(t, fmt.Sprintf(`new Promise((done) => {
		Object.defineProperty(navigator.clipboard, "writeText", { configurable: true, value: async (text) => done(text) });
		[...document.querySelectorAll(".detail button")].find((e) => e.textContent === %q && (e.closest("section")?.textContent ?? "").includes(%q)).click();
	})`, button, part), &copied)
	return copied
}

func TestPageTimeline_ShowsWhatHappensAndOpensIt(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	client := listens(t, s, "admission-full")
	b.open(t, s, "/timeline")
	b.sees(t, ".row", "handshake") // what was before the page
	s.Trigger(testkit.Trigger{Subscription: "admission-full"})
	client.says("#1")
	b.sees(t, ".row", "event-notification #1")
	b.sees(t, ".row", "POST /mock/trigger")

	b.chooses(t, "event-notification #1")
	b.sees(t, ".detail", "the subscription is active, 1 event since its start")
	b.sees(t, ".detail .says", "event #1 about Encounter/example")
	b.sees(t, ".detail .json", "SubscriptionStatus")
	var at string
	b.do(t, chromedp.Location(&at))
	if !strings.Contains(at, "/timeline/") {
		t.Errorf("the address is %s, want that of the entry", at)
	}
	b.looks(t, "timeline-open")

	// The address opens the same entry again, and the list is where it is.
	b.do(t, chromedp.Navigate(at))
	b.sees(t, ".detail .says", "event #1 about Encounter/example")
	b.sees(t, ".row[aria-selected=true]", "event-notification #1")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.within(t, "the entry to close", chromedp.WaitNotVisible(".detail", chromedp.ByQuery))
	b.looks(t, "timeline")
}

func TestPageTimeline_FiltersAndKeepsTheFilterInItsAddress(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/timeline?text=lab-full")
	s.Trigger(testkit.Trigger{Subscription: "lab-full"})
	s.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.sees(t, ".row", "lab-full")
	b.sees(t, ".hint", "hidden by the filter")
	var rows []string
	shown := `[...document.querySelectorAll(".rows-space .row")].map((r) => r.textContent)`
	b.evaluate(t, shown, &rows)
	for _, row := range rows {
		// The body of the first request has the text too; its row does not show it.
		if !strings.Contains(row, "lab-full") && !strings.Contains(row, "/mock/trigger") {
			t.Errorf("the filter lets %q pass", row)
		}
	}
	b.do(t, chromedp.Evaluate(`(() => { const text = document.querySelector(".filters input"); text.value = ""; text.dispatchEvent(new Event("input")); })()`, nil))
	b.sees(t, ".row", "admission-empty")
	b.click(t, "[data-group=requests]")
	b.within(t, "requests to go", chromedp.Poll(`![...document.querySelectorAll(".rows-space .kind")].some((k) => k.textContent === "http")`, nil))
	var at, har string
	b.do(t, chromedp.Location(&at))
	b.evaluate(t, `[...document.querySelectorAll("a")].find((a) => a.textContent === "HAR").href`, &har)
	if !strings.Contains(at, "kind=frames,heartbeats") || !strings.Contains(har, "format=har") {
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
	b, s := openPage(t, "/timeline")
	b.sees(t, ".hint", "entries")
	b.click(t, `//button[text()="Pause"]`)
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Count: 3})
	b.sees(t, ".hint", "wait while paused")
	var rows int
	count := `[...document.querySelectorAll(".rows-space .row")].filter((r) => r.textContent.includes("event #")).length`
	b.evaluate(t, count, &rows)
	if rows != 0 {
		t.Errorf("%d events are shown while paused", rows)
	}
	b.click(t, `//button[text()="Pause"]`)
	b.within(t, "the three events", chromedp.Poll(count+" === 3", nil))

	// Clear empties this page and nothing else.
	b.click(t, `//button[text()="Clear"]`)
	b.sees(t, ".list .empty", "Nothing has happened since")
	s.Trigger(testkit.Trigger{Subscription: "lab-full"})
	b.sees(t, ".row", "event #4")
	b.evaluate(t, count, &rows)
	if rows != 1 {
		t.Errorf("%d events are shown, want the one after Clear", rows)
	}
	b.do(t, chromedp.Reload())
	b.within(t, "all four events again", chromedp.Poll(count+" === 4", nil))
}

func TestPageTimeline_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	s.Trigger(testkit.Trigger{Subscription: "lab-full"})
	b.open(t, s, "/timeline?subscription=lab-full")
	b.sees(t, ".row", "event #1")
	b.do(t, chromedp.Focus(".rows", chromedp.ByQuery), chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.End))
	b.within(t, "an active row", chromedp.WaitReady(".rows[aria-activedescendant]", chromedp.ByQuery))
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.within(t, "the entry, with the focus", chromedp.Poll(`document.activeElement.matches(".detail h2")`, nil))
	b.sees(t, ".detail", "lab-full")
	title := func() (text string) {
		b.evaluate(t, `document.querySelector(".detail h2").textContent`, &text)
		return text
	}
	newest := title()

	// To the entry before and back; the button keeps the focus.
	b.do(t, chromedp.KeyEvent(kb.Tab))
	for _, step := range []string{"-1", "1"} {
		b.do(t, chromedp.Focus(`[data-step="`+step+`"]`, chromedp.ByQuery))
		was := title()
		b.do(t, chromedp.KeyEvent(kb.Enter))
		b.within(t, "another entry", chromedp.PollFunction(`(was, step) => document.querySelector(".detail h2").textContent !== was && document.activeElement.dataset.step === step`, nil, chromedp.WithPollingArgs(was, step)))
	}
	if got := title(); got != newest {
		t.Errorf("one back and one on shows %q, want %q", got, newest)
	}
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.within(t, "the list, with the focus", chromedp.Poll(`document.activeElement.matches(".rows")`, nil))

	// While an entry is open, the arrows show others and stay in the list.
	b.chooses(t, "event #1")
	b.sees(t, ".detail h2", "event #1")
	b.do(t, chromedp.Focus(".rows", chromedp.ByQuery), chromedp.KeyEvent(kb.Home))
	b.within(t, "the first entry", chromedp.Poll(`!document.querySelector(".detail h2").textContent.includes("event #1")`, nil))
	b.within(t, "the list, with the focus", chromedp.Poll(`document.activeElement.matches(".rows")`, nil))
}

func TestPageTimeline_TakesTenThousandRows(t *testing.T) {
	t.Parallel()
	b, s := startPage(t, testkit.WithArgs("--journal-size", "20000"))
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
	// A visible row stays the same element while others come, so that a click is not lost.
	b.do(t, chromedp.Evaluate(`window.kept = document.querySelector("#row-0"); 0`, nil))
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x"})
	b.sees(t, ".newer", "newer")
	var kept bool
	b.evaluate(t, `window.kept === document.querySelector("#row-0")`, &kept)
	if !kept {
		t.Error("the visible rows were replaced because of an entry beyond them")
	}
	b.click(t, ".newer")
	b.sees(t, ".row", "#6001")
}

func TestPageTimeline_ShowsARestart(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	s.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.open(t, s, "/timeline?subscription=admission-empty")
	b.sees(t, ".row", "event #1")
	b.loses(t, s)
	again := restart(t, s)
	again.Trigger(testkit.Trigger{Subscription: "admission-empty"})
	b.sees(t, ".row.note", "the server was restarted")
	b.within(t, "the event of before and that of after", chromedp.Poll(`[...document.querySelectorAll(".rows-space .row")].filter((r) => r.textContent.includes("event #1")).length === 2`, nil))
	b.shot(t, "timeline-restart")
	var beyond int
	b.evaluate(t, `Math.ceil(document.querySelector(".list").getBoundingClientRect().bottom - innerHeight)`, &beyond)
	if beyond > 0 {
		t.Errorf("below the notice, the list ends %d pixels beyond the screen", beyond)
	}
}

// Markup in a resource is shown and never takes effect.
func TestPageTimeline_ShowsHostileContentAsText(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	listens(t, s, "admission-full")
	hostile := `<img src=x onerror="window.owned=1"><script>window.owned=1</script>`
	// As deep as a resource may be.
	deep := strings.Repeat(`{"url":"http://example.org/x","extension":[`, 29) + `{"url":"http://example.org/x","valueString":"end"}` + strings.Repeat(`]}`, 29)
	s.Create(fmt.Sprintf(`{"resourceType":"Patient","extension":[%s],"name":[{"text":%q},{"text":%q}]}`, deep, hostile, strings.Repeat("long ", 8000)))
	b.open(t, s, "/timeline")
	b.chooses(t, "POST /fhir/R5/Patient")
	b.sees(t, ".detail .json", "more characters")
	b.sees(t, ".detail .json", "<img src=x onerror=")
	b.do(t, chromedp.Evaluate(`(() => { for (let closed; (closed = document.querySelectorAll(".detail .json details:not([open])")).length; ) for (const d of closed) { d.open = true; d.dispatchEvent(new Event("toggle")); } })()`, nil))
	b.sees(t, ".detail .json", `"end"`)
	b.shot(t, "timeline-hostile")
	b.harmless(t)
	b.accessible(t)

	// A frame of a megabyte.
	s.Trigger(testkit.Trigger{Subscription: "admission-full", Focus: json.RawMessage(fmt.Sprintf(
		`{"resourceType":"Encounter","id":"huge","status":"in-progress","extension":[{"url":"http://example.org/x","valueString":%q},{"url":"http://example.org/y","valueString":%q}]}`,
		strings.Repeat("x", 1<<20), hostile))})
	b.chooses(t, "event-notification #1")
	b.sees(t, ".detail .says", "event #1 about Encounter/huge")
	b.click(t, `//aside//button[text()="Raw"]`)
	b.sees(t, ".detail pre", strings.Repeat("x", 1000))
	if copied := b.copies(t, "Copy as fixture", "Frame"); len(copied) < 1<<20 || !json.Valid([]byte(copied)) {
		t.Errorf("the fixture has %d bytes, valid JSON: %v", len(copied), json.Valid([]byte(copied)))
	}
	b.harmless(t)

	// The text of a client's message is shown, too.
	b.do(t, chromedp.Evaluate(fmt.Sprintf(`{ const socket = new WebSocket(%q); socket.onopen = () => socket.send(%q); window.socket = socket; } 0`, s.WS, hostile), nil))
	b.chooses(t, "<img src=x")
	b.sees(t, ".detail h2", "<img src=x")
	b.harmless(t)
}

func TestPageTimeline_CopiesWhatRepeatsIt(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	sent := `{"resourceType":"Observation","status":"final","code":{"text":"it's \"{[,:]}\""},"valueQuantity":{"value":1.10},"note":[]}`
	sent = strings.Replace(sent, `,"note":[]`, "", 1)
	s.Create(sent)
	b.open(t, s, "/timeline")
	b.chooses(t, "POST /fhir/R5/Observation")
	b.sees(t, ".detail", "Request body")
	fixture := b.copies(t, "Copy as fixture", "Request body")
	want := "{\n  \"resourceType\": \"Observation\",\n  \"status\": \"final\",\n  \"code\": {\n    \"text\": \"it's \\\"{[,:]}\\\"\"\n  },\n  \"valueQuantity\": {\n    \"value\": 1.10\n  }\n}"
	if fixture != want {
		t.Errorf("the fixture is\n%s\nwant\n%s", fixture, want)
	}

	command := b.copies(t, "Copy as curl", "")
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
	var created struct{ ResourceType, ID string }
	if err != nil || json.Unmarshal(out, &created) != nil || created.ResourceType != "Observation" || created.ID == "" {
		t.Errorf("%s\nreturned %v %s", command, err, out)
	}
	b.sees(t, ".row", "create Observation/"+created.ID)
}

func TestPageTimeline_ShowsTheIssuesOfARefusal(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	res, err := http.Post(s.FHIR.R5+"/Patient", "application/fhir+json", strings.NewReader(`{"resourceType":"Patient","birthDate":7}`))
	if err != nil || res.StatusCode < 400 {
		t.Fatalf("got %v %v, want a refusal", res, err)
	}
	res.Body.Close()
	b.open(t, s, "/timeline?kind=refusals")
	b.chooses(t, "POST /fhir/R5/Patient")
	b.sees(t, ".detail .issues", "birthDate")
	b.looks(t, "timeline-refusal")
}

// A text in a frame or a body is found, also in later entries, and the export has the same
// entries.
func TestPageTimeline_FindsTextInFramesAndBodies(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	s.Create(`{"resourceType":"Patient","name":[{"family":"Needlewoman"}]}`)
	s.Create(`{"resourceType":"Patient","name":[{"family":"Other"}]}`)
	b.open(t, s, "/timeline?text=needlewoman")
	found := `document.querySelector(".rows")?.getAttribute("aria-rowcount") === `
	b.within(t, "the one write", chromedp.Poll(found+`"2"`, nil)) // and the titles
	b.sees(t, ".row", "POST /fhir/R5/Patient")
	s.Create(`{"resourceType":"Patient","name":[{"family":"Needlewoman"}]}`)
	b.within(t, "the other one", chromedp.Poll(found+`"3"`, nil))
	var export string
	b.evaluate(t, `fetch([...document.querySelectorAll("a")].find((a) => a.textContent === "NDJSON").href).then((r) => r.text())`, &export)
	if lines := strings.Count(export, "\n"); lines != 2 {
		t.Errorf("the export has %d entries, want the two that are shown:\n%s", lines, export)
	}
}

func TestPageTimeline_FiltersBySubscriptionAndSocket(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	listens(t, s, "admission-full")
	b.open(t, s, "/timeline")
	choose := func(label, value string) {
		t.Helper()
		b.within(t, "a choice of "+value, chromedp.PollFunction(`(label, value) => {
			const select = document.querySelector("select[aria-label=" + label + "]");
			if (![...select?.options ?? []].some((o) => o.value === value)) return false;
			select.value = value;
			select.dispatchEvent(new Event("change"));
			return true;
		}`, nil, chromedp.WithPollingArgs(label, value)))
	}
	choose("Socket", "s1")
	b.within(t, "entries of the socket alone", chromedp.Poll(`(() => { const rows = [...document.querySelectorAll(".rows-space .row .socket")]; return rows.length > 3 && rows.every((r) => r.textContent === "s1"); })()`, nil))
	choose("Subscription", "admission-full")
	b.sees(t, ".row", "handshake")
	choose("Subscription", "lab-full")
	b.sees(t, ".list .empty", "Nothing passes the filter")
	b.shot(t, "timeline-empty")
	var at string
	b.do(t, chromedp.Location(&at))
	if !strings.HasSuffix(at, "/timeline?subscription=lab-full&socket=s1") {
		t.Errorf("the address is %s", at)
	}
	// An address that names something that no longer exists, or never did, still filters.
	b.open(t, s, "/timeline?socket=s99&kind=frames")
	b.sees(t, ".list .empty", "Nothing passes the filter")
	b.sees(t, "option:checked", "s99")
}

// If the first request for the journal fails, the page shows that and tries again.
func TestPageTimeline_FillsOnceThereIsAConnection(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/resources")
	b.do(t, chromedp.Evaluate(`import("/ui/views/timeline.js").then(() => 0)`, nil, awaits)) // is here, as after any look at it
	b.loses(t, s)
	b.click(t, `nav a[href="/timeline"]`)
	b.sees(t, ".row.note", "does not respond")
	restart(t, s)
	b.sees(t, ".row", "reset")
	var doubles int
	b.evaluate(t, `[...document.querySelectorAll(".rows-space .row")].filter((r) => r.textContent.includes("reset")).length - 1`, &doubles)
	if doubles != 0 {
		t.Errorf("the reset is there %d times too often", doubles)
	}
}

func TestPageTimeline_SaysThatAnEntryIsGone(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("404")
	b.open(t, s, "/timeline/999999")
	b.sees(t, ".row.note", "entry 999999 is not kept")
	b.within(t, "no entry to be open", chromedp.WaitNotVisible(".detail", chromedp.ByQuery))
}

func TestPageTimeline_OnAPhoneAnEntryCoversTheListUntilItIsClosed(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Count: 100})
	b.size(t, 375, 812, true)
	b.open(t, s, "/timeline?subscription=lab-full")
	b.sees(t, ".row", "event #100")
	b.do(t, chromedp.Evaluate(`document.querySelector(".rows").scrollTop = 1000`, nil))
	b.sees(t, ".row", "event #20")
	b.chooses(t, "event #20")
	b.within(t, "the entry alone, with the focus", chromedp.Poll(`!document.querySelector(".rows").checkVisibility({ visibilityProperty: true }) && document.activeElement.matches(".detail h2")`, nil))
	b.accessible(t)
	b.click(t, `[aria-label="Close this entry"]`)
	b.within(t, "the list where it was", chromedp.Poll(`document.querySelector(".rows").checkVisibility({ visibilityProperty: true }) && Math.abs(document.querySelector(".rows").scrollTop - 1000) < 300`, nil))
	b.sees(t, ".row[aria-selected=true]", "event #20")
}

// A page that opens in the middle of a flow has each entry once. It keeps twenty thousand,
// and the visible rows do not move when older ones are removed.
func TestPageTimeline_FollowsAFlowWithoutDuplicatesAndRemovesOldEntries(t *testing.T) {
	t.Parallel()
	b, s := startPage(t, testkit.WithArgs("--journal-size", "60000"))
	flow := func(count int) { // two entries each: the event, and that it was not sent
		s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x", Count: count, Interval: "5ms"})
	}
	flow(400)
	b.open(t, s, "/timeline")
	b.sees(t, ".row", "event #400 ")
	b.within(t, "as many rows as entries", chromedp.Evaluate(`new Promise((done) => { const look = async () => {
		const { last } = await (await fetch("/mock/journal?limit=1")).json();
		if (Number(document.querySelector(".rows").getAttribute("aria-rowcount")) - 1 === last) done();
		else setTimeout(look, 50);
	}; look(); })`, nil, awaits))

	s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x", Count: 9200})
	b.open(t, s, "/timeline")
	b.within(t, "what the first fill brings", chromedp.Poll(`Number(document.querySelector(".rows")?.getAttribute("aria-rowcount")) >= 18000`, nil))
	b.do(t, chromedp.Evaluate(`document.querySelector(".rows").scrollTop = 9000 * 28`, nil))
	b.within(t, "the middle", chromedp.WaitReady("#row-9000", chromedp.ByQuery))
	b.do(t, chromedp.Evaluate(`window.looked = document.querySelector("#row-9003"); window.at = looked.getBoundingClientRect().top; 0`, nil))
	flow(1200)
	b.within(t, "older entries to go", chromedp.Poll(`window.looked.id !== "row-9003"`, nil))
	var moved float64
	b.evaluate(t, `window.looked.isConnected ? Math.abs(window.looked.getBoundingClientRect().top - window.at) : 1e6`, &moved)
	if moved > 1 {
		t.Errorf("the row that was looked at moved by %.0f pixels", moved)
	}
	b.do(t, chromedp.Focus(".rows", chromedp.ByQuery), chromedp.KeyEvent(kb.Home))
	b.sees(t, ".row.note", "this page has removed older entries")
}

// The page gets a thousand entries per second. It shows the number of the others.
func TestPageTimeline_StaysAliveInAFlood(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/timeline")
	b.sees(t, ".row", "reset")
	b.do(t, chromedp.Evaluate(`(() => {
		window.frames_ = 0; window.rowsMost = 0;
		const tick = () => { window.frames_++; window.rowsMost = Math.max(window.rowsMost, document.querySelectorAll(".row").length); requestAnimationFrame(tick); };
		tick();
	})()`, nil))
	for range 5 {
		s.Trigger(testkit.Trigger{Subscription: "lab-full", Reference: "Observation/x", Count: 1000})
	}
	b.sees(t, ".row", "event #5000 ")
	b.sees(t, "#notice", "came too fast")
	b.shot(t, "timeline-flood")
	var most, frames int
	b.evaluate(t, "window.rowsMost", &most)
	b.evaluate(t, "window.frames_", &frames)
	if most > 100 || frames < 3 {
		t.Errorf("%d rows existed at once, %d frames were drawn", most, frames)
	}
}
