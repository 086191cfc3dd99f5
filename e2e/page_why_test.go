package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// From an entry of the timeline to the questions about its change, and from there to those
// about another subscription.
func TestPageWhy_ShowsEachQuestionOfAChange(t *testing.T) {
	t.Parallel()
	b, s := startPage(t)
	client := listens(t, s, "admission-full")
	must(t, s, http.MethodPut, "Subscription/mine", subscriptionFor("mine", "Patient/nobody"))
	must(t, s, http.MethodPut, "Encounter/why", `{"resourceType":"Encounter","id":"why","status":"in-progress","class":[{"coding":[{"code":"IMP"}]}],"subject":{"reference":"Patient/example"}}`)
	client.says("#1")

	b.open(t, s, "/timeline?text=Encounter/why")
	b.chooses(t, "create Encounter/why")
	b.sees(t, ".detail .facts", "each question that was asked")
	b.click(t, `.detail .facts a[href^="/why"]`)
	b.sees(t, "h1", "Why?")
	b.sees(t, ".answers h2", "create Encounter/why version 1")
	b.sees(t, ".answers h3", "Topic admission fires")
	b.sees(t, ".answers .verdict summary", "admission-full it got event 1, sent to")
	b.sees(t, ".answers .verdict summary", "mine it got no event: filter patient=Patient/nobody compared with Patient/example")
	b.looks(t, "why")

	// The other way: ask about one subscription.
	b.do(t, chromedp.SendKeys("#why-subscription", "mine", chromedp.ByQuery))
	b.press(t, "Ask")
	b.sees(t, ".answers .verdict[open] .steps-asked", "Filter no")
	b.sees(t, ".answers .steps-asked [data-ok=false]", "filter patient=Patient/nobody compared with Patient/example")

	// The view is live: it shows the next change by itself.
	must(t, s, http.MethodPut, "Encounter/why", `{"resourceType":"Encounter","id":"why","status":"completed","class":[{"coding":[{"code":"IMP"}]}],"subject":{"reference":"Patient/example"}}`)
	b.sees(t, ".answers h2", "update Encounter/why version 2")
	b.looks(t, "why-one")

	var at string
	b.do(t, chromedp.Location(&at))
	b.open(t, s, "/timeline?text=mine&kind=decisions")
	b.chooses(t, "mine is active") // not a change, but it has a subscription
	b.sees(t, ".detail .facts", "what it was notified of, and what it was not")
	if want := s.URL + "/why?subscription=mine"; at != want {
		t.Errorf("the address is %s, want %s", at, want)
	}
	b.do(t, chromedp.Navigate(s.URL+"/why"))
	b.sees(t, ".answers", "Name a subscription, a resource, or both")
	b.do(t, chromedp.Navigate(s.URL+"/"))
	b.click(t, `a[href="/why?subscription=mine"]`)
	b.sees(t, ".answers h2", "update Encounter/why version 2")
}

// subscriptionFor returns a subscription on the admissions of a patient.
func subscriptionFor(id, patient string) string {
	return fmt.Sprintf(`{"resourceType":"Subscription","id":%q,"status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission",
		"channelType":{"system":"http://terminology.hl7.org/CodeSystem/subscription-channel-type","code":"websocket"},"content":"id-only",
		"filterBy":[{"filterParameter":"patient","value":%q}]}`, id, patient)
}
