package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// browser is a headless Chromium with one page. Errors the page reports fail the
// test.
type browser struct {
	ctx context.Context

	mu      sync.Mutex // guards console
	console []string
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("SIGNALFHIR_BROWSER_REQUIRED") == "1" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("chromium is not installed; on Debian: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
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
			if e.Entry.Level == log.LevelError {
				t.Errorf("the browser logged: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	return b
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// TestQuickstart_BrowserSnippetWorks pastes the snippet of the document into a
// page of the server, as the document says.
func TestQuickstart_BrowserSnippetWorks(t *testing.T) {
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	s.Post(s.FHIR+"/Subscription", `{"resourceType":"Subscription","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"code":"websocket"},"contentType":"application/fhir+json","content":"id-only"}`, nil)
	snippets := blocks(t, "../docs/quickstart.md", "js")
	if len(snippets) != 1 {
		t.Fatalf("got %d snippets, want one", len(snippets))
	}
	snippet := strings.ReplaceAll(snippets[0], "Subscription/mine/", "Subscription/admission-id-only/")
	b.do(t,
		chromedp.Navigate(s.URL+"/"),
		chromedp.WaitReady("#subscription option", chromedp.ByQuery),
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

// TestPage_ShowsTheFlow clicks through the start page.
func TestPage_ShowsTheFlow(t *testing.T) {
	b := startBrowser(t)
	s := testkit.Start(t)
	quiet(s)
	var state, frames string
	b.do(t,
		chromedp.Navigate(s.URL+"/"),
		chromedp.WaitReady(`#subscription option[value="admission-full"]`, chromedp.ByQuery),
		chromedp.SetValue("#subscription", "admission-full", chromedp.ByQuery),
		chromedp.Click("#listen button[type=submit]", chromedp.ByQuery),
		chromedp.WaitEnabled("#fire", chromedp.ByQuery),
		chromedp.Click("#fire", chromedp.ByQuery),
		chromedp.WaitVisible("#frames li:nth-child(2)", chromedp.ByQuery),
		chromedp.Text("#frames", &frames, chromedp.ByQuery),
		chromedp.Text("#state", &state, chromedp.ByQuery),
	)
	if !strings.Contains(frames, "event-notification") || !strings.Contains(frames, "handshake") || !strings.Contains(frames, "#1") {
		t.Errorf("the page shows %q, want the handshake and event 1", frames)
	}
	if !strings.Contains(state, "admission-full") {
		t.Errorf("the page says %q, want that it is bound", state)
	}
	s.Stop()
	b.do(t, chromedp.Poll(`document.querySelector("#state").textContent.includes("1001")`, nil))
}
