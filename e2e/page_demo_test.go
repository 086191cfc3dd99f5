package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// TestDemo_WorksAsWritten follows docs/demo.md: it runs the commands, presses the buttons
// that the document names, and checks what should be visible.
func TestDemo_WorksAsWritten(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	b.tolerate("net::ERR_")
	s := testkit.StartProcess(t, testkit.WithGenerators()) // with its ward, as in the demo
	commands := blocks(t, "../docs/demo.md", "sh")
	if len(commands) != 3 || strings.TrimSpace(commands[0]) != "go run ." {
		t.Fatalf("the demo has the commands %q", commands)
	}

	b.open(t, s, "/") // 1
	b.sees(t, ".item", "Admission")
	b.sees(t, ".stage", "No socket is open")

	b.click(t, `//nav//a[text()="Try it"]`) // 2
	b.press(t, "Do all of it")
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#")
	b.click(t, `//nav//a[text()="Live"]`)
	b.sees(t, ".item", "s1")

	s.Post(s.URL+"/mock/generators/ward/stop", nil, nil) // the ward would push the expected items out of view
	shell(t, s, commands[1])
	b.sees(t, ".item", "Encounter/demo") // 3
	b.sees(t, ".item", "event-notification")
	frames := func() int {
		var state struct{ Totals struct{ Frames int } }
		getJSON(t, s.URL+"/mock/state", &state)
		return state.Totals.Frames
	}
	before := frames()
	shell(t, s, commands[1])
	if after := frames(); after != before {
		t.Errorf("the second write sent %d frames, the demo says none", after-before)
	}
	b.open(t, s, "/trigger?type=Encounter&id=demo")
	b.holds(t, `"in-progress"`)
	b.edits(t, `replace("in-progress", "completed")`)
	b.press(t, "Save")
	b.sees(t, ".set-off", "Topic discharge fired")

	b.click(t, `//nav//a[text()="Why?"]`)
	b.do(t, chromedp.SendKeys("#why-resource", "Encounter/demo", chromedp.ByQuery))
	b.press(t, "Ask")
	b.sees(t, ".answers article", "update Encounter/demo version 3")
	b.sees(t, ".answers .steps-asked [data-ok=false]", "previous fails (status:not=in-progress compared with in-progress)")

	b.click(t, `//nav//a[text()="Try it"]`) // 4; opening the editor reloaded the page, as a demo would not
	b.press(t, "Do all of it")
	b.sees(t, "main .label", "Bound. Fire an event.") // and it scrolled there
	b.press(t, "Drop for 5 s")
	b.sees(t, tryState, "Dropped")
	shell(t, s, commands[2])
	b.sees(t, tryRestored, "#")

	b.click(t, `//nav//a[text()="Timeline"]`) // 5
	b.sees(t, ".hint", "entries")
	b.do(t, chromedp.SendKeys(".filters input", "demo", chromedp.ByQuery))
	b.sees(t, ".hint", "hidden by the filter")
	b.sees(t, ".row", "PUT /fhir/R5/Encounter/demo")
	b.loses(t, s)
	restart(t, s)
	b.sees(t, "#notice", "restarted")
}
