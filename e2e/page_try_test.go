package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"signalfhir/testkit"
)

// The parts of the steps the tests look at.
const (
	tryJSON     = ".step:nth-child(1) .wire pre"
	tryTalk     = ".step:nth-child(3) .frames li"
	tryState    = ".step:nth-child(3) .state"
	tryFrames   = ".step:nth-child(4) .frames li"
	tryRestored = ".step:nth-child(4) .frames li.recovered"
	trySample   = ".step:nth-child(5) pre"
)

func TestPageTry_FromTheFormToAReceivedEvent(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try")

	// The form, with the resource beside it.
	b.choose(t, b.fieldOf(t, "Topic"), "New laboratory result")
	b.sees(t, ".field .hint", "A laboratory result is there or was corrected")
	b.press(t, "Add a filter")
	b.do(t, chromedp.SendKeys(".filter input", "Patient/mei", chromedp.ByQuery))
	b.sees(t, tryJSON, `"value": "Patient/mei"`)
	b.click(t, `input[value="full-resource"]`)
	b.sees(t, tryJSON, `"content": "full-resource"`)
	b.click(t, ".step details > summary")
	b.do(t, chromedp.SendKeys(b.fieldOf(t, "id"), "mine", chromedp.ByQuery))
	b.sees(t, ".wire h3", "PUT /fhir/R5/Subscription/mine")
	b.press(t, "curl")
	b.sees(t, tryJSON, "curl -X PUT "+s.FHIR.R5+"/Subscription/mine")
	b.press(t, "Subscribe")
	b.sees(t, ".result", "mine, active")

	b.press(t, "Take a token")
	b.sees(t, ".step:nth-child(2) .wire .json", "websocket-url")
	b.sees(t, ".result", "29:5") // it runs down
	b.press(t, "Open a socket and bind")
	b.sees(t, ".result", "bound")
	s.AwaitBound("mine", 1)
	b.sees(t, tryTalk, "sentbind-with-token ")
	b.sees(t, tryTalk, "0 events so far")

	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#1 Observation/")
	// The write passes the filter of the form.
	b.press(t, "Do it with a write")
	b.sees(t, tryFrames, "#2 Observation/")
	b.click(t, tryFrames+" summary")
	b.sees(t, ".frames .json", "SubscriptionStatus")
	b.press(t, "Ping")
	b.sees(t, tryTalk, "pong")
	b.press(t, "Renew the token")
	s.AwaitSent("mine", "handshake", 2)

	// Events that occur while the socket is away are fetched when it is back.
	b.press(t, "Drop for 5 s")
	b.sees(t, tryState, "Dropped, back in")
	s.AwaitBound("mine", 0)
	b.press(t, "Fire an event")
	b.press(t, "Fire an event")
	b.press(t, "Reconnect now")
	b.sees(t, tryRestored, "#3–4 Observation/")
	b.sees(t, ".result", "4 received, last #4")
	b.looks(t, "try")

	b.press(t, "Unbind")
	s.AwaitBound("mine", 0)
	b.sees(t, tryState, "Open, not bound")
	b.press(t, "Close")
	b.sees(t, tryState, "Closed with 1000")
}

// R4B and R4 by the backport guide: the form makes extensions, refusals are shown beside
// their fields, and the flow is the same.
func TestPageTry_SupportsEveryRelease(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("400 (Bad Request)")
	b.open(t, s, "/try")
	for _, release := range []string{"R4", "R4B"} {
		b.press(t, release)
		b.sees(t, tryJSON, "backport-payload-content")
		b.choose(t, b.fieldOf(t, "Topic"), "Admission")
		b.press(t, "Add a filter")
		b.do(t, chromedp.SendKeys(`input[aria-label="Value of filter 1"]`, "Patient/example", chromedp.ByQuery))
		b.sees(t, tryJSON, `"valueString": "Encounter?patient=Patient/example"`)
		if release == "R4" {
			b.looks(t, "try-r4-form")
		}
		b.press(t, "Do all of it")
		b.press(t, "Fire an event")
		b.sees(t, tryFrames, "#1 Encounter/")
		b.press(t, "Do it with a write")
		b.sees(t, tryFrames, "#2 Encounter/")
		b.sees(t, trySample, s.URL+"/fhir/"+release)
		var found struct{ Total int }
		getJSON(t, s.URL+"/fhir/"+release+"/Subscription?status=active&_summary=count", &found)
		if found.Total < 3 { // two of the seed
			t.Errorf("%s: %d subscriptions, want the new one among them", release, found.Total)
		}
		b.press(t, "Remove")
	}
	// A refusal is shown beside its field, although the element is an extension.
	b.press(t, "R4")
	b.click(t, `.step details summary`)
	b.do(t, chromedp.SetValue(b.fieldOf(t, "maxCount"), "0", chromedp.ByQuery), chromedp.SendKeys(b.fieldOf(t, "maxCount"), "0", chromedp.ByQuery))
	b.press(t, "Subscribe")
	b.sees(t, b.fieldOf(t, "maxCount")+"-error", "positive")
}

func TestPageTry_ThreeClicksToAnEvent(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/")
	b.click(t, `nav a[href="/try"]`)
	b.press(t, "Do all of it")
	b.within(t, "the button in sight", chromedp.Poll(`document.activeElement?.id === "fire" && document.activeElement.getBoundingClientRect().top < innerHeight`, nil))
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#1 Encounter/")

	// The socket stays bound while the user is in another view.
	b.click(t, `nav a[href="/"]`)
	b.sees(t, ".item", "s1")
	b.click(t, `nav a[href="/try"]`)
	b.sees(t, ".result", "bound")
	b.sees(t, tryFrames, "#1 Encounter/")
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#2 Encounter/")
}

func TestPageTry_SupportsEachDialect(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try?subscription=task-id-only")
	for _, dialect := range []string{"ig", "ig-colon", "medplum"} {
		b.click(t, fmt.Sprintf(`input[name="dialect"][value=%q]`, dialect))
		b.press(t, "Do all of it")
		b.sees(t, ".result", "bound")
		s.AwaitBound("task-id-only", 1)
		var state struct{ Sockets []struct{ Dialect string } }
		getJSON(t, s.URL+"/mock/sockets", &state)
		if got := state.Sockets[len(state.Sockets)-1].Dialect; got != dialect {
			t.Errorf("the server got the dialect %s, want %s", got, dialect)
		}
		b.press(t, "Unbind")
		s.AwaitBound("task-id-only", 0)
	}
}

// TestPageTry_ShowsRefusalsBesideTheirFields has a topic that offers a filter
// with the comparator ge, and a value that says gt (FLT-11).
func TestPageTry_ShowsRefusalsBesideTheirFields(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("the server responded with a status of 4")
	s.Create(`{"resourceType":"SubscriptionTopic","url":"http://example.org/dated","title":"Dated results","status":"active",
		"resourceTrigger":[{"resource":"http://hl7.org/fhir/StructureDefinition/Observation"}],
		"canFilterBy":[{"resource":"Observation","filterParameter":"date","comparator":["ge"]}]}`)
	b.open(t, s, "/try")
	b.choose(t, b.fieldOf(t, "Topic"), "Dated results")
	b.press(t, "Add a filter")
	b.choose(t, `[aria-label="Filter 1"]`, "date ge")
	b.do(t, chromedp.SendKeys(".filter input", "yesterday", chromedp.ByQuery))
	b.press(t, "Subscribe")
	b.sees(t, ".filter .error", "yesterday")
	b.within(t, "the focus in the field", chromedp.WaitVisible(`.filter input[aria-invalid="true"]:focus`, chromedp.ByQuery))
	b.accessible(t)

	b.choose(t, `[aria-label="Filter 1"]`, "date")
	b.do(t, chromedp.SendKeys(".filter input", kb.End+strings.Repeat(kb.Backspace, len("yesterday"))+"gt2020", chromedp.ByQuery))
	b.within(t, "the refusal to go as one types", chromedp.WaitNotVisible(".filter .error", chromedp.ByQuery))
	b.press(t, "Do all of it")
	b.sees(t, ".filter .error", "does not offer the comparator gt")

	// No typed text is lost, and the closed part opens if it has a refused field.
	b.click(t, ".step details > summary")
	heartbeat, end := b.fieldOf(t, "heartbeatPeriod"), b.fieldOf(t, "end")
	b.do(t, chromedp.SendKeys(heartbeat, "often", chromedp.ByQuery), chromedp.SendKeys(end, "soon", chromedp.ByQuery))
	b.click(t, ".step details > summary")
	b.press(t, "Subscribe")
	b.within(t, "the field to open", chromedp.WaitVisible(end, chromedp.ByQuery))
	b.sees(t, heartbeat+"-error", "unsignedInt")
	b.sees(t, end+"-error", "instant")
	var typed string
	b.do(t, chromedp.Value(".filter input", &typed, chromedp.ByQuery))
	if typed != "gt2020" {
		t.Errorf("the filter holds %q, want what was typed", typed)
	}
	b.shot(t, "try-refused")
}

func TestPageTry_KeepsWhatWasTypedAndTheTokenOverAReload(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/try")
	b.choose(t, b.fieldOf(t, "Topic"), "Task status")
	b.press(t, "Add a filter")
	b.choose(t, `[aria-label="Filter 1"]`, "status:not")
	b.do(t, chromedp.SendKeys(".filter input", "completed", chromedp.ByQuery))
	b.press(t, "Do all of it")
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#1 Task/")
	b.within(t, "the page after a reload", chromedp.Reload(), isLive)
	b.sees(t, tryJSON, `"modifier": "not"`)
	b.sees(t, tryJSON, `"value": "completed"`)
	b.sees(t, ".result", "active")
	b.sees(t, ".result", "left")
	// The reload closed the socket, but the event that came after that is not lost.
	b.press(t, "Fire an event")
	b.press(t, "Open a socket and bind")
	b.sees(t, tryRestored, "#2 Task/")
}

func TestPageTry_ShowsWhyTheServerClosed(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try?subscription=admission-full")
	b.press(t, "Do all of it")
	b.sees(t, ".result", "bound")
	revokeAll(t, s)
	b.sees(t, tryState, "Closed with 1008 “no binding is left: token revoked”")
	b.sees(t, tryTalk, "outcome")
	s.Trigger(testkit.Trigger{Subscription: "admission-full"})
	b.press(t, "Reconnect")
	b.sees(t, tryRestored, "#1 Encounter/")
}

func TestPageTry_SurvivesARestart(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try")
	b.tolerate("WebSocket connection to")
	b.press(t, "Add a filter")
	b.do(t, chromedp.SendKeys(".filter input", "Patient/mei", chromedp.ByQuery))
	b.press(t, "Do all of it")
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#1 Encounter/")

	b.loses(t, s)
	b.sees(t, tryState, "Closed with 1001")
	b.press(t, "Fire an event")
	b.sees(t, ".step:nth-child(4) .error", "the server does not respond")
	restart(t, s)
	b.sees(t, ".gone", "The server was restarted")
	b.sees(t, ".gone", "and its token are gone")
	b.sees(t, tryJSON, `"value": "Patient/mei"`)
	b.accessible(t)
	b.shot(t, "try-restarted")
	b.press(t, "Do all of it")
	b.press(t, "Fire an event")
	b.sees(t, ".result", "last #1")
	b.within(t, "the notice to go", chromedp.WaitNotVisible(".gone", chromedp.ByQuery))
}

func TestPageTry_IsUsedWithTheKeyboard(t *testing.T) {
	t.Parallel()
	b, _ := openPage(t, "/try")
	b.sees(t, tryJSON, "admission")
	// to presses Tab until an element has the focus.
	to := func(what string) {
		t.Helper()
		for range 60 {
			b.do(t, chromedp.KeyEvent(kb.Tab))
			var text string
			b.evaluate(t, `(() => { const e = document.activeElement; return e.labels?.[0]?.textContent ?? e.ariaLabel ?? e.textContent; })()`, &text)
			if strings.HasPrefix(text, what) {
				return
			}
		}
		t.Fatalf("Tab does not come to %s", what)
	}
	to("Topic")
	b.do(t, chromedp.KeyEvent("D")) // as typed into a list, which goes to Discharge
	b.sees(t, tryJSON, "SubscriptionTopic/discharge")
	to("Add a filter")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.within(t, "the focus in the new filter", chromedp.WaitVisible(".filter input:focus", chromedp.ByQuery))
	b.do(t, chromedp.KeyEvent("Patient/kofi"))
	to("id-only")
	b.do(t, chromedp.KeyEvent(kb.ArrowDown))
	b.sees(t, tryJSON, `"content": "full-resource"`)
	to("Subscribe")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".result", "active")
	to("Take a token")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".result", "left")
	to("Open a socket and bind")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.sees(t, ".result", "bound")
	to("Do it with a write")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.sees(t, tryFrames, "#1 Encounter/")
	to("Python")
	b.do(t, chromedp.KeyEvent(" "))
	b.sees(t, trySample, "from websockets")
}

// TestPageTry_ShowsTheSamplesThatAreTested compares the samples on the page with those that
// samples_test.go runs.
func TestPageTry_ShowsTheSamplesThatAreTested(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try?subscription=lab-full")
	b.sees(t, ".result", "lab-full, active")
	for name, sample := range samples {
		b.press(t, name)
		b.shows(t, trySample, fetchSample(t, s.URL, sample.file, s.FHIR.R5, "lab-full", 60))
	}
}

func TestPageTry_ShowsHostileContentAsText(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("the server responded with a status of 4")
	markup := `<img src=x onerror="window.owned=1"><script>window.owned=1</script>`
	s.Create(map[string]any{"resourceType": "SubscriptionTopic", "url": "http://example.org/hostile", "title": markup, "description": markup, "status": "active",
		"resourceTrigger": []any{map[string]any{"resource": "http://hl7.org/fhir/StructureDefinition/Patient"}},
		"canFilterBy":     []any{map[string]any{"resource": "Patient", "filterParameter": "name"}}})
	b.open(t, s, "/try")
	b.choose(t, b.fieldOf(t, "Topic"), markup)
	b.sees(t, ".field .hint", markup)
	b.press(t, "Add a filter")
	b.do(t, chromedp.SendKeys(".filter input", markup, chromedp.ByQuery))
	b.click(t, `input[value="full-resource"]`)
	b.press(t, "Do all of it")
	b.sees(t, ".result", "bound")
	var state struct{ Subscriptions []struct{ ID, Topic string } }
	getJSON(t, s.URL+"/mock/subscriptions", &state)
	mine := ""
	for _, sub := range state.Subscriptions {
		if sub.Topic == "http://example.org/hostile" {
			mine = sub.ID
		}
	}
	deep := any(map[string]any{"url": "http://example.org/e", "valueString": markup})
	for range 25 {
		deep = map[string]any{"url": "http://example.org/e", "extension": []any{deep}}
	}
	s.Trigger(testkit.Trigger{Subscription: mine, Focus: map[string]any{"resourceType": "Patient", "id": "p", "extension": []any{deep},
		"name": []any{map[string]any{"family": markup + strings.Repeat("x", 200_000)}}}})
	b.sees(t, tryFrames, "#1 Patient/p")
	b.click(t, tryFrames+" summary")
	b.within(t, "the tree", chromedp.Poll(`(() => {
		for (const d of document.querySelectorAll(".frames details:not([open])")) d.open = true;
		return document.querySelector(".step:nth-child(4) .frames").textContent.includes("onerror=");
	})()`, nil))
	b.harmless(t)
	b.accessible(t)
}

// TestPageTry_TakesABurst proves that the list stays bounded and the numbers right.
func TestPageTry_TakesABurst(t *testing.T) {
	t.Parallel()
	b, s := openPage(t, "/try?subscription=task-id-only")
	b.press(t, "Do all of it")
	b.sees(t, ".result", "bound")
	before := time.Now()
	s.Trigger(testkit.Trigger{Subscription: "task-id-only", Count: 1000})
	b.sees(t, ".result", "1000 received, last #1000")
	t.Logf("1000 events were shown after %s", time.Since(before).Round(time.Millisecond))
	var rows int
	b.evaluate(t, `document.querySelectorAll(".frames li").length`, &rows)
	if rows == 0 || rows > 400 {
		t.Errorf("the page holds %d rows, want some and a bounded number", rows)
	}
}
