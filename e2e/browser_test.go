package e2e

import (
	"context"
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

// browser is a headless Chromium with one page. Errors the page reports, and
// violations of its Content-Security-Policy, fail the test.
type browser struct {
	ctx context.Context

	mu        sync.Mutex // guards all below
	console   []string
	tolerated []string
}

// missing ends a test that needs a tool this machine lacks.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SIGNALFHIR_BROWSER_REQUIRED") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// browsers holds a place for each browser that runs.
var browsers = make(chan struct{}, 2)

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium is not installed; on Debian: apt-get install chromium")
	}
	// A browser uses a core and more. Too many at once starve each other, and the
	// page misses what lasts for seconds only.
	browsers <- struct{}{}
	t.Cleanup(func() { <-browsers })
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
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
	// The first run starts the browser, which lives as long as the context of that run.
	b.do(t)
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
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// within runs actions that wait, and says what was waited for in vain.
func (b *browser) within(t *testing.T, what string, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
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

// awaits waits for the promise an expression answers.
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

// shot writes a picture of the page to the folder SIGNALFHIR_SHOTS names.
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

// accessible fails the test for every violation axe-core finds in the page as it
// is, and for a page that is wider than its screen. Without axe-core, only the
// width is checked.
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

// TestQuickstart_BrowserSnippetWorks pastes the snippet of the document into a
// page of the server, as the document says.
func TestQuickstart_BrowserSnippetWorks(t *testing.T) {
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	s.Post(s.FHIR.R5+"/Subscription", `{"resourceType":"Subscription","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"code":"websocket"},"contentType":"application/fhir+json","content":"id-only"}`, nil)
	snippets := blocks(t, "../docs/quickstart.md", "js")
	if len(snippets) != 1 {
		t.Fatalf("got %d snippets, want one", len(snippets))
	}
	snippet := strings.ReplaceAll(snippets[0], "Subscription/mine/", "Subscription/admission-id-only/")
	b.open(t, s, "/")
	b.do(t,
		chromedp.Evaluate("(async () => {"+snippet+"})()", nil, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
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
		// A turn through the page lets its events come in.
		b.do(t, chromedp.Evaluate("new Promise(requestAnimationFrame)", nil, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	}
}
