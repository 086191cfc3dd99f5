package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// browser is a headless Chromium with one page. Errors that the page reports and violations
// of its Content-Security-Policy fail the test.
type browser struct {
	ctx context.Context

	mu        sync.Mutex // guards all below
	console   []string
	tolerated []string
}

// missing ends a test that needs a tool that this machine does not have.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SIGNALFHIR_BROWSER_REQUIRED") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// browsers holds a place for each browser that runs.
var browsers = make(chan struct{}, 2)

func startBrowser(t *testing.T, flags ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium is not installed; on Debian: apt-get install chromium")
	}
	// A browser uses more than one core. With too many at once, a page is too slow
	// to show states that last only seconds.
	browsers <- struct{}{}
	t.Cleanup(func() { <-browsers })
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	options = append(options, flags...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*patience)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			var words []string
			for _, arg := range e.Args {
				words = append(words, strings.Trim(string(arg.Value), `"`))
			}
			b.mu.Lock()
			b.console = append(b.console, strings.Join(words, " "))
			b.mu.Unlock()
			if e.Type == runtime.APITypeError {
				t.Errorf("console error: %v", words)
			}
		case *runtime.EventExceptionThrown:
			t.Errorf("exception: %s", e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if text := e.Entry.Text + " " + e.Entry.URL; e.Entry.Level == log.LevelError && !b.tolerates(text) {
				t.Errorf("the browser logged: %s", text)
			}
		}
	})
	// The first run starts the browser, which lives as long as the context of that run. Its
	// page has the focus, as if a user looked at it.
	b.do(t, emulation.SetFocusEmulationEnabled(true))
	return b
}

// tolerate lets the browser log errors with this text, such as
// net::ERR_CONNECTION_REFUSED while a server is restarted on purpose, or the
// status of a refusal a test provokes.
func (b *browser) tolerate(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tolerated = append(b.tolerated, text)
}

func (b *browser) tolerates(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.tolerated, func(t string) bool { return strings.Contains(text, t) })
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	// The first run starts the browser, which ends with the context of that run.
	if err := chromedp.Run(b.ctx); err != nil {
		t.Fatal(err)
	}
	for _, action := range actions {
		err := chromedp.Run(b.ctx, action)
		// The page drew the element again before the action could happen, so nothing was done.
		for err != nil && strings.Contains(err.Error(), "Could not find node with given id") {
			err = chromedp.Run(b.ctx, action)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// patience is how long a test waits for what the page has to show. It is far more than
// the page needs: a machine may be busy with other tests.
const patience = time.Minute

// within runs actions that wait. If they fail, it reports what the test waited for.
func (b *browser) within(t *testing.T, what string, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		_ = chromedp.Run(b.ctx, chromedp.Evaluate("document.body.innerText.slice(0, 3000)", &text))
		b.shot(t, "failed-"+strings.ReplaceAll(t.Name(), "/", "-"))
		t.Fatalf("waited for %s: %v\nthe page shows:\n%s", what, err, text)
	}
}

// evaluate runs an expression, which may be a promise, in the page.
func (b *browser) evaluate(t *testing.T, expression string, into any) {
	t.Helper()
	b.do(t, chromedp.Evaluate(expression, into, awaits))
}

// awaits waits for the promise that an expression returns.
func awaits(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }

// size makes the page as large as a screen; a mobile one has touch and no
// scroll bars.
func (b *browser) size(t *testing.T, width, height int64, mobile bool) {
	t.Helper()
	b.do(t, emulation.SetDeviceMetricsOverride(width, height, 1, mobile))
}

// dark makes the system's colours dark, or light again.
func (b *browser) dark(t *testing.T, dark bool) {
	t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	b.do(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: value},
		{Name: "prefers-reduced-motion", Value: "reduce"}, // colours are judged at rest
	}))
}

// shot writes a picture of the page to the folder that SIGNALFHIR_SHOTS names.
func (b *browser) shot(t *testing.T, name string) {
	t.Helper()
	folder := os.Getenv("SIGNALFHIR_SHOTS")
	if folder == "" {
		return
	}
	var png []byte
	b.do(t, chromedp.CaptureScreenshot(&png))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// accessible fails the test for every violation that axe-core finds in the page, and if the
// page is wider than its screen. Without axe-core it checks only the width.
func (b *browser) accessible(t *testing.T) {
	t.Helper()
	var wide int
	b.evaluate(t, "document.documentElement.scrollWidth - document.documentElement.clientWidth", &wide)
	if wide > 0 {
		t.Errorf("the page is %d pixels wider than its screen", wide)
	}
	axe, err := os.ReadFile("axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		const what = "axe-core is not installed: cd e2e/axe && npm ci"
		if os.Getenv("SIGNALFHIR_BROWSER_REQUIRED") == "1" {
			t.Fatal(what)
		}
		t.Log("accessibility is not checked: " + what)
		return
	}
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		}
	}
	b.evaluate(t, string(axe)+"\n;0", nil)
	b.evaluate(t, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`, &found)
	for _, v := range found {
		for _, n := range v.Nodes {
			t.Errorf("axe: %s (%s): %s\n%s\n%s", v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// startPage starts a server and a browser.
func startPage(t *testing.T, options ...testkit.ProcessOption) (*browser, *testkit.Server) {
	t.Helper()
	b := startBrowser(t)
	return b, testkit.StartProcess(t, options...)
}

// openPage starts a server and opens a view of its page.
func openPage(t *testing.T, path string, options ...testkit.ProcessOption) (*browser, *testkit.Server) {
	t.Helper()
	b, s := startPage(t, options...)
	b.open(t, s, path)
	return b, s
}

// restart starts a server at the address of a stopped one.
func restart(t *testing.T, stopped *testkit.Server) *testkit.Server {
	t.Helper()
	return testkit.StartProcess(t, testkit.WithArgs("--listen", stopped.URL[len("http://"):]))
}

// isLive waits until the page has its connection.
var isLive = chromedp.WaitVisible("#link[data-state=live]", chromedp.ByQuery)

// open opens a view of the page and waits until it is live.
func (b *browser) open(t *testing.T, s *testkit.Server, path string) {
	t.Helper()
	t.Cleanup(func() { b.tolerate("net::ERR_") }) // the server stops before the browser
	b.within(t, "the page to be live", chromedp.Navigate(s.URL+path), isLive)
}

// live waits until the page has its connection again.
func (b *browser) live(t *testing.T) {
	t.Helper()
	b.within(t, "the page to be live", isLive)
}

// loses stops the server and waits until the page shows that.
func (b *browser) loses(t *testing.T, s *testkit.Server) {
	t.Helper()
	b.tolerate("net::ERR_")
	s.Stop()
	b.within(t, "the lost connection", chromedp.WaitVisible("#link[data-state=lost]", chromedp.ByQuery))
}

// sees waits until an element contains a text.
func (b *browser) sees(t *testing.T, selector, text string) {
	t.Helper()
	b.within(t, selector+" to show "+text, chromedp.PollFunction(`(selector, text) => [...document.querySelectorAll(selector)].some((e) => e.textContent.includes(text))`, nil,
		chromedp.WithPollingArgs(selector, text)))
}

// looks checks the view at phone and desktop size, light and dark, and takes a picture of
// each.
func (b *browser) looks(t *testing.T, name string) {
	t.Helper()
	for _, screen := range []struct {
		name          string
		width, height int64
		mobile        bool
	}{{"desktop", 1440, 900, false}, {"phone", 375, 812, true}} {
		for _, dark := range []bool{false, true} {
			b.size(t, screen.width, screen.height, screen.mobile)
			b.dark(t, dark)
			colours := map[bool]string{false: "light", true: "dark"}[dark]
			b.accessible(t)
			b.shot(t, name+"-"+screen.name+"-"+colours)
		}
	}
	b.size(t, 1440, 900, false)
	b.dark(t, false)
}

// click clicks the element that a CSS selector, or an XPath that starts with //, finds
// first, once it is enabled and in sight. Finding and clicking are one step: the page may
// draw an element anew at any moment, also between the press and the release of a mouse.
func (b *browser) click(t *testing.T, selector string) {
	t.Helper()
	b.within(t, "a click on "+selector, chromedp.PollFunction(`(selector) => {
		const e = selector.startsWith("//")
			? document.evaluate(selector, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE).singleNodeValue
			: document.querySelector(selector);
		const [box] = e?.getClientRects() ?? [];
		if (!box || e.disabled) return false;
		if (!e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))) {
			e.scrollIntoView({ block: "center", behavior: "instant" });
			return false;
		}
		e.focus({ preventScroll: true });
		e.click();
		return true;
	}`, nil, chromedp.WithPollingArgs(selector)))
}

// press presses the button of the view with this text.
func (b *browser) press(t *testing.T, text string) {
	t.Helper()
	b.click(t, fmt.Sprintf(`//main//button[normalize-space()=%q and not(@disabled)]`, text))
}

// fieldOf returns the selector of the control with this label.
func (b *browser) fieldOf(t *testing.T, label string) string {
	t.Helper()
	b.sees(t, "main label", label)
	var id string
	b.evaluate(t, fmt.Sprintf(`[...document.querySelectorAll("main label")].find((l) => l.textContent === %q).htmlFor`, label), &id)
	return "#" + id
}

// choose chooses an option of a select as a user would, by its text.
func (b *browser) choose(t *testing.T, selector, option string) {
	t.Helper()
	b.within(t, "the option "+option, chromedp.PollFunction(`(selector, text) => {
		const select = document.querySelector(selector);
		const option = [...select?.options ?? []].find((o) => o.text === text);
		if (!option) return false;
		select.value = option.value;
		select.dispatchEvent(new Event("change", { bubbles: true }));
		return true;
	}`, nil, chromedp.WithPollingArgs(selector, option)))
}

// shows waits until an element contains exactly a text.
func (b *browser) shows(t *testing.T, selector, text string) {
	t.Helper()
	b.within(t, selector+" to show only "+text, chromedp.PollFunction(`(selector, text) => document.querySelector(selector)?.textContent === text`, nil, chromedp.WithPollingArgs(selector, text)))
}

// harmless fails the test if content of a resource or a client became markup.
func (b *browser) harmless(t *testing.T) {
	t.Helper()
	var owned bool
	b.evaluate(t, `window.owned === 1 || document.querySelector("main img, main script, main a[href^='javascript']") !== null`, &owned)
	if owned {
		t.Error("the page executed content of a resource")
	}
}

// TestQuickstart_BrowserSnippetWorks pastes the snippet of the document into a
// page of the server, as the document says.
func TestQuickstart_BrowserSnippetWorks(t *testing.T) {
	b, s := startPage(t)
	s.Post(s.FHIR.R5+"/Subscription", `{"resourceType":"Subscription","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"code":"websocket"},"contentType":"application/fhir+json","content":"id-only"}`, nil)
	snippets := blocks(t, "../docs/quickstart.md", "js")
	if len(snippets) != 1 {
		t.Fatalf("got %d snippets, want one", len(snippets))
	}
	snippet := strings.ReplaceAll(snippets[0], "Subscription/mine/", "Subscription/admission-id-only/")
	b.open(t, s, "/")
	b.do(t,
		chromedp.Evaluate("(async () => {"+snippet+"})()", nil, awaits),
	)
	s.AwaitBound("admission-id-only", 1)
	s.Trigger(testkit.Trigger{Subscription: "admission-id-only"})
	s.AwaitSent("admission-id-only", "event-notification", 1)
	b.do(t, chromedp.Poll("window.socket.readyState === 1", nil))
	deadline := time.Now().Add(10 * time.Second)
	for {
		b.mu.Lock()
		said := strings.Join(b.console, "\n")
		b.mu.Unlock()
		if strings.Contains(said, "handshake 0") && strings.Contains(said, "event-notification 1") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the console shows %q, want the handshake and event 1", said)
		}
		// A call into the page lets its events arrive.
		b.do(t, chromedp.Evaluate("new Promise(requestAnimationFrame)", nil, awaits))
	}
}
