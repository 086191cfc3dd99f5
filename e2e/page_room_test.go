package e2e

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"signalfhir/testkit"
)

// openRoom opens a room of a server. A room is used like a server, except
// for Stop.
func openRoom(t *testing.T, s *testkit.Server, name string) *testkit.Server {
	t.Helper()
	status, response := send(t, http.MethodPut, s.URL+"/rooms/"+name, nil)
	if status != http.StatusCreated {
		t.Fatalf("opening the room: got %d %v", status, response)
	}
	room := *s
	path := "/rooms/" + name
	room.URL, room.WS = s.URL+path, "ws"+strings.TrimPrefix(s.URL, "http")+path+"/ws"
	room.FHIR = testkit.Bases{R5: room.URL + "/fhir/R5", R4B: room.URL + "/fhir/R4B", R4: room.URL + "/fhir/R4"}
	return &room
}

// asked records every address that the page requests from now on.
func (b *browser) asked(t *testing.T) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	add := func(url string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, url)
	}
	chromedp.ListenTarget(b.ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			add(e.Request.URL)
		case *network.EventWebSocketCreated:
			add(e.URL)
		}
	})
	b.do(t, network.Enable())
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// staysIn reports every address in the page that leads out of a room.
func (b *browser) staysIn(t *testing.T, room *testkit.Server) {
	t.Helper()
	var addresses []string
	b.evaluate(t, `[location, ...document.querySelectorAll("a[href], link[href], script[src], img[src]")].map((e) => e.href ?? e.src)`, &addresses)
	for _, address := range addresses {
		if !strings.HasPrefix(address, room.URL+"/") {
			t.Errorf("the page links to %s, which is not in the room", address)
		}
	}
	var text string
	b.evaluate(t, `document.querySelector("main").textContent`, &text)
	host, path, _ := strings.Cut(strings.TrimPrefix(room.URL, "http://"), "/")
	for _, address := range regexp.MustCompile(regexp.QuoteMeta(host)+`/[\w/.-]*`).FindAllString(text, -1) {
		if !strings.HasPrefix(address, host+"/"+path+"/") {
			t.Errorf("the page says %s, which is not in the room", address)
		}
	}
}

// TestPageRoom_LeadsNowhereElse uses every view in a room. Each shows only that room, and
// every request and link stays in the room.
func TestPageRoom_LeadsNowhereElse(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	room := openRoom(t, s, "demo")
	// The same tab showed the default room before, with a token and a text.
	s.Trigger(testkit.Trigger{Subscription: "lab-full", Count: 7})
	b.open(t, s, "/try")
	b.press(t, "Do all of it")
	b.sees(t, ".result", "bound")
	b.open(t, s, "/trigger?type=Patient&id=mei")
	b.holds(t, `"mei"`)

	b.do(t, chromedp.Navigate("about:blank")) // what the page before asks for does not count
	asked := b.asked(t)
	b.open(t, room, "/")
	b.sees(t, ".room", "room demo")
	b.sees(t, "[data-key='slab-full']", "#0")
	b.looks(t, "room-live")
	b.staysIn(t, room)
	b.click(t, `//nav//a[text()="Trigger"]`)
	b.sees(t, fireEvents+" h3", "POST /rooms/demo/mock/trigger")
	b.sees(t, fireEvents+" pre", room.URL+"/mock/trigger")
	b.sees(t, writeResource+" h3", "POST /rooms/demo/fhir/R5/Encounter")
	b.fill(t, fireEvents, "For", "subscription lab-full")
	b.press(t, "Fire")
	b.sees(t, ".set-off", "lab-full got event #1")
	b.staysIn(t, room)
	b.press(t, "Create")
	b.sees(t, ".effect", "Created Encounter/")
	b.sees(t, ".set-off", "Topic admission ") // the stream tells of the request by its address
	b.staysIn(t, room)
	b.click(t, `//nav//a[text()="Live"]`)
	b.sees(t, "[data-key='slab-full']", "#1")
	b.sees(t, "nav [aria-current]", "Live")

	b.click(t, `//nav//a[text()="Try it"]`)
	b.press(t, "Do all of it")
	b.press(t, "Fire an event")
	b.sees(t, tryFrames, "#1 Encounter/")
	b.press(t, "Do it with a write")
	b.sees(t, tryFrames, "#2 Encounter/")
	b.press(t, "Drop for 5 s")
	b.sees(t, tryState, "Dropped")
	b.press(t, "Fire an event")
	b.press(t, "Reconnect now")
	b.sees(t, tryRestored, "#3 Encounter/")
	b.sees(t, tryTalk, "opening "+room.WS)
	for name := range samples {
		b.press(t, name)
		b.sees(t, trySample, room.FHIR.R5)
		b.staysIn(t, room)
	}
	b.press(t, "curl")
	b.sees(t, tryJSON, "curl -X PUT "+room.FHIR.R5+"/Subscription/")
	b.staysIn(t, room)

	b.click(t, `//nav//a[text()="Timeline"]`)
	b.chooses(t, "POST /fhir/R5/Encounter")
	b.sees(t, ".detail", "Request body")
	if command := b.copies(t, "Copy as curl", ""); !strings.Contains(command, room.FHIR.R5+"/Encounter") {
		t.Errorf("the command leads out of the room: %s", command)
	}
	b.staysIn(t, room)
	b.within(t, "the entry after a reload", chromedp.Reload(), isLive)
	b.sees(t, ".detail", "Request body")
	b.chooses(t, "create Encounter/")
	b.click(t, `.detail .facts a[href^="/rooms/demo/resources/"]`)
	b.sees(t, ".lede", "/rooms/demo/fhir/R5/Encounter/")
	b.sees(t, ".one .json", "Patient/")
	b.staysIn(t, room)
	b.do(t, chromedp.SendKeys(".ids input", "mateo", chromedp.ByQuery))
	b.within(t, "one encounter", chromedp.Poll(`document.querySelectorAll(".rows-of-type a").length === 1`, nil))
	b.click(t, ".rows-of-type a")
	b.sees(t, ".one .json a", "Patient/mateo")
	b.staysIn(t, room)
	b.click(t, `//nav//a[text()="Why?"]`)
	b.do(t, chromedp.SendKeys("#why-subscription", "admission-full", chromedp.ByQuery))
	b.press(t, "Ask")
	b.sees(t, ".answers h2", "create Encounter/")
	b.staysIn(t, room)
	b.do(t, chromedp.NavigateBack())
	b.sees(t, ".lede", "Encounter/mateo")

	sockets := 0
	for _, address := range asked() {
		switch {
		case strings.HasPrefix(address, room.WS):
			sockets++
		case !strings.HasPrefix(address, room.URL+"/"):
			t.Errorf("the browser asked for %s, which is not in the room", address)
		}
	}
	if sockets != 2 {
		t.Errorf("the browser opened %d sockets in the room, want two", sockets)
	}
}

func TestPageRoom_IsNotInTheDefaultRoom(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	room := openRoom(t, s, "demo")
	must(t, room, http.MethodPut, "Subscription/mine", subscriptionFor("mine", "Patient/nobody"))
	room.Trigger(testkit.Trigger{Subscription: "lab-full", Count: 7})
	b.open(t, s, "/rooms/default/timeline?text=demo") // another name of the address below
	b.sees(t, ".row.good", "the room demo was opened")
	var at string
	b.evaluate(t, `location.pathname + location.search + " " + document.title + " " + document.querySelectorAll(".rows-space .row").length`, &at)
	if at != "/timeline?text=demo Timeline · signalfhir 1" {
		t.Errorf("got address, title and number of entries %q", at)
	}
	b.open(t, s, "/timeline?text=Subscription/mine")
	b.sees(t, ".list .empty", "Nothing passes the filter")
	b.click(t, `//nav//a[text()="Live"]`)
	b.sees(t, "[data-key='slab-full']", "#0")
	var shown bool
	b.evaluate(t, `document.querySelector("a[href$='/Subscription/mine'], .room") !== null`, &shown)
	if shown {
		t.Error("the page of the default room shows what is in another room")
	}
	remove(t, room.URL)
	b.click(t, `//nav//a[text()="Timeline"]`)
	b.sees(t, ".row.quiet", "the room demo was closed")
}

// A page of a room shows when the room closes, and continues when it is open again.
func TestPageRoom_SaysThatItIsClosed(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	b.tolerate("404")
	b.tolerate("net::ERR_")
	room := openRoom(t, s, strings.Repeat("w", 64)) // the longest name
	b.open(t, room, "/")
	b.sees(t, "[data-key='slab-full']", "#0")
	b.looks(t, "room-long")
	remove(t, room.URL)
	b.sees(t, "#link", "the room is closed")
	b.staysIn(t, room)
	b.size(t, 360, 740, true)
	b.accessible(t)
	b.shot(t, "room-closed")
	openRoom(t, s, strings.Repeat("w", 64))
	b.live(t)
	b.sees(t, "#notice", "The room was reopened")
	b.sees(t, "#link", "live")
}
