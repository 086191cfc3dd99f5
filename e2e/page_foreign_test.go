package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// foreignPages is a web server whose pages the browser finds at any host name that ends in
// .example, and at localhost. It returns the port of the server.
func foreignPages(t *testing.T) (port string, flag chromedp.ExecAllocatorOption) {
	t.Helper()
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><link rel=icon href=data:,><title>a page</title><body>")
	}))
	t.Cleanup(pages.Close)
	_, port, err := net.SplitHostPort(pages.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1, MAP localhost 127.0.0.1")
}

// answered returns how many requests the server answered with 403, and how many with
// anything else, by the methods of a write or, without any, all.
func answered(t *testing.T, s *testkit.Server) (refused, other int) {
	t.Helper()
	res, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^signalfhir_http_requests_total\{method="(\w+)",status="(\d+)"\} (\d+)`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(line[3])
		switch {
		case line[2] == "403":
			refused += n
		case line[1] != "GET" && line[1] != "OPTIONS": // of this test's own
			other += n
		}
	}
	return refused, other
}

// writes are what a page can send without asking: a browser sends each like a form.
var writes = []struct{ path, body string }{
	{"/fhir/R5/Patient", `{"resourceType":"Patient"}`},
	{"/fhir/R5", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"DELETE","url":"Patient/example"}}]}`},
	{"/fhir/R5/Subscription/$get-ws-binding-token", `{"resourceType":"Parameters","parameter":[{"name":"id","valueId":"admission-id-only"}]}`},
	{"/fhir/R5/Subscription/admission-id-only/$get-ws-binding-token", ``},
	{"/oauth2/token", `grant_type=client_credentials&client_id=evil`},
	{"/mock/reset", ``},
	{"/mock/trigger", `{"subscription":"admission-id-only"}`},
	{"/rooms/default/mock/reset", ``},
	{"/rooms/x", `{}`},
	{"/nothing", `{}`},
}

const sendScript = `
window.quiet = (promise) => promise.then((r) => r.status, (e) => String(e));
window.form = (action, body, enctype) => {
	const frame = Object.assign(document.createElement("iframe"), { name: "f" + Math.random() });
	const form = Object.assign(document.createElement("form"), { action, method: "POST", enctype, target: frame.name });
	const [name, ...value] = body.split("=");
	form.append(Object.assign(document.createElement("input"), { name, value: value.join("=") }));
	document.body.append(frame, form);
	form.submit();
};
0`

// A page of another site, opened in the same browser, changes nothing.
func TestForeignPage_ChangesNothing(t *testing.T) {
	t.Parallel()
	port, flag := foreignPages(t)
	b := startBrowser(t, flag)
	s := testkit.StartProcess(t)
	b.tolerate("") // every refusal is an error to the browser
	t.Cleanup(func() { b.tolerate("net::ERR_") })
	before := s.Get("Patient/example")
	_, otherBefore := answered(t, s)
	tried := 0
	// sent waits until the server has answered all that was tried.
	sent := func(what string, n int) {
		t.Helper()
		tried += n
		for deadline := time.Now().Add(patience); ; {
			refused, _ := answered(t, s)
			if refused == tried {
				return
			}
			if refused > tried || time.Now().After(deadline) {
				t.Fatalf("%s: the server has refused %d requests, want %d\n%s", what, refused, tried, s.Log())
			}
			b.do(t, chromedp.Evaluate("new Promise((r) => setTimeout(r, 20))", nil, awaits))
		}
	}
	b.do(t, chromedp.Navigate("http://evil.example:"+port+"/"), chromedp.Evaluate(sendScript, nil))
	for _, w := range writes {
		address := s.URL + w.path
		for _, body := range []string{
			fmt.Sprintf("new Blob([%q])", w.body),                           // without a Content-Type
			fmt.Sprintf("%q", w.body),                                       // text/plain
			fmt.Sprintf("new URLSearchParams({x: %q})", w.body),             // as a form
			fmt.Sprintf("new Blob([%q], {type: 'text/plain'})", w.body+" "), // as a file
		} {
			b.do(t, chromedp.Evaluate(fmt.Sprintf("quiet(fetch(%q, {method: 'POST', mode: 'no-cors', body: %s}))", address, body), nil, awaits))
		}
		sent("fetch "+w.path, 4)
		for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
			b.do(t, chromedp.Evaluate(fmt.Sprintf("form(%q, %q, %q)", address, w.body, kind), nil))
			sent("a form of type "+kind+" to "+w.path, 1)
		}
	}
	// What needs permission gets none: the browser does not even send it.
	for _, init := range []string{
		`{method: "PUT", headers: {"Content-Type": "application/json"}, body: "{}"}`,
		`{method: "DELETE"}`,
	} {
		for _, path := range []string{"/fhir/R5/Patient/example", "/rooms/y", "/mock/generators/ward"} {
			var got any
			b.evaluate(t, fmt.Sprintf("quiet(fetch(%q, %s))", s.URL+path, init), &got)
			if !strings.Contains(fmt.Sprint(got), "TypeError") {
				t.Errorf("%s %s: got %v, want no permission", path, init, got)
			}
		}
	}
	// A GET that makes a token: by fetch, as an image, as a frame.
	token := s.URL + "/fhir/R5/Subscription/admission-id-only/$get-ws-binding-token"
	b.do(t, chromedp.Evaluate(fmt.Sprintf("quiet(fetch(%q))", token), nil, awaits))
	sent("a token by GET", 1)
	b.do(t, chromedp.Evaluate(fmt.Sprintf("quiet(fetch(%q, {mode: 'no-cors', referrerPolicy: 'no-referrer'}))", token), nil, awaits))
	sent("a token by GET without a referrer", 1)
	b.do(t, chromedp.Evaluate(fmt.Sprintf("new Promise((r) => { const i = new Image(); i.onerror = i.onload = r; i.src = %q; }).then(() => 0)", token), nil, awaits))
	sent("a token as an image", 1)
	b.do(t, chromedp.Evaluate(fmt.Sprintf("document.body.append(Object.assign(document.createElement('iframe'), {src: %q})); 0", token), nil))
	sent("a token in a frame", 1)
	// A sandboxed frame has the origin null.
	b.do(t, chromedp.Evaluate(fmt.Sprintf("document.body.append(Object.assign(document.createElement('iframe'), {sandbox: 'allow-scripts', srcdoc: `<script>fetch('%s/fhir/R5/Patient', {method: 'POST', mode: 'no-cors', body: '{\"resourceType\":\"Patient\"}'})</script>`})); 0", s.URL), nil))
	sent("a sandboxed frame", 1)
	// A socket.
	for _, path := range []string{"/ws", "/ws/subscriptions-r4", "/websocket"} {
		var opened string
		b.evaluate(t, fmt.Sprintf("new Promise((r) => { const s = new WebSocket(%q); s.onopen = () => r('opened'); s.onerror = () => r('refused'); })", strings.TrimSuffix(s.WS, "/ws")+path), &opened)
		if opened != "refused" {
			t.Errorf("%s: a foreign page has opened a socket", path)
		}
		sent("a socket at "+path, 1)
	}

	if _, other := answered(t, s); other != otherBefore {
		t.Errorf("the server let %d requests through", other-otherBefore)
	}
	if now := s.Get("Patient/example"); fmt.Sprint(now["meta"]) != fmt.Sprint(before["meta"]) {
		t.Errorf("the patient was %v and is %v", before["meta"], now["meta"])
	}
	if tokens := s.Tokens(); len(tokens) > 0 {
		t.Errorf("a foreign page has made tokens: %v", tokens)
	}
}

// A page of this machine may do everything, whatever its port: that is how a client is
// developed.
func TestForeignPage_OfThisMachineWorks(t *testing.T) {
	t.Parallel()
	port, flag := foreignPages(t)
	b := startBrowser(t, flag)
	s := testkit.StartProcess(t)
	b.tolerate("404 (Not Found)") // of the last read
	t.Cleanup(func() { b.tolerate("net::ERR_") })
	b.do(t, chromedp.Navigate("http://localhost:"+port+"/"), chromedp.Evaluate(sendScript, nil))
	for _, step := range []struct {
		method, path, kind, body string
		want                     int
	}{
		{"POST", "/fhir/R5/Patient", "application/fhir+json", `{"resourceType":"Patient"}`, 201},
		{"POST", "/fhir/R5/Patient", "", `{"resourceType":"Patient"}`, 201},
		{"PUT", "/fhir/R5/Patient/p", "application/fhir+json", `{"resourceType":"Patient","id":"p"}`, 201},
		{"PATCH", "/fhir/R5/Patient/p", "application/json-patch+json", `[{"op":"add","path":"/active","value":true}]`, 200},
		{"GET", "/fhir/R5/Patient/p", "", "", 200},
		{"POST", "/fhir/R5", "application/fhir+json", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"DELETE","url":"Patient/p"}}]}`, 200},
		{"POST", "/fhir/R5/Subscription/admission-id-only/$get-ws-binding-token", "", ``, 200},
		{"GET", "/fhir/R5/Subscription/admission-id-only/$get-ws-binding-token", "", ``, 200},
		{"POST", "/oauth2/token", "application/x-www-form-urlencoded", `grant_type=client_credentials&client_id=me`, 200},
		{"GET", "/auth/me", "", ``, 200},
		{"POST", "/mock/trigger", "application/json", `{"subscription":"admission-id-only"}`, 200},
		{"GET", "/mock/state", "", ``, 200},
		{"PUT", "/rooms/mine", "application/json", `{}`, 201},
		{"POST", "/rooms/mine/mock/reset", "", ``, 204},
		{"DELETE", "/rooms/mine", "", ``, 204},
		{"DELETE", "/fhir/R5/Patient/example-nobody", "", ``, 204},
		{"GET", "/fhir/R5/Patient/nobody", "", ``, 404},
	} {
		init := fmt.Sprintf("{method: %q", step.method)
		if step.kind != "" {
			init += fmt.Sprintf(", headers: {'Content-Type': %q}", step.kind)
		}
		switch {
		case step.body != "" && step.kind == "":
			init += fmt.Sprintf(", body: new Blob([%q])", step.body)
		case step.body != "":
			init += fmt.Sprintf(", body: %q", step.body)
		}
		var got any
		b.evaluate(t, fmt.Sprintf("quiet(fetch(%q, %s}))", s.URL+step.path, init), &got)
		if fmt.Sprint(got) != strconv.Itoa(step.want) {
			t.Errorf("%s %s: got %v, want %d", step.method, step.path, got, step.want)
		}
	}
	_, before := answered(t, s)
	b.do(t, chromedp.Evaluate(fmt.Sprintf("form(%q, 'grant_type=client_credentials', 'application/x-www-form-urlencoded')", s.URL+"/oauth2/token"), nil))
	b.within(t, "a form", chromedp.ActionFunc(func(ctx context.Context) error {
		for {
			if _, now := answered(t, s); now > before || ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}))
	var opened string
	b.evaluate(t, fmt.Sprintf("new Promise((r) => { const s = new WebSocket(%q); s.onopen = () => r('opened'); s.onerror = () => r('refused'); })", s.WS), &opened)
	if refused, _ := answered(t, s); opened != "opened" || refused > 0 {
		t.Errorf("the socket was %s, and %d requests were refused", opened, refused)
	}
}
