package protocol

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// A response of these tests has at most so many bytes of resources.
const responseBytes = 20_000

// bulky returns a patient of some 4 kB.
func bulky(id string) map[string]any {
	return with(patient(id, "Bulky"), "text", map[string]any{"status": "generated", "div": `<div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat("x", 4000) + "</div>"})
}

// pages follows the links of a search or history to its end. It returns the bundles.
func (s *server) pages(address string) (all []response) {
	s.T.Helper()
	for address != "" {
		a := s.Must(200, "GET", address, nil)
		if size := len(a.Raw); size > responseBytes+5000 {
			s.T.Errorf("%s: got %d bytes, want about %d at most", address, size, responseBytes)
		}
		all = append(all, a)
		if len(all) > 100 {
			s.T.Fatalf("%s: the pages have no end", address)
		}
		address = ""
		for _, link := range asList(a.Body["link"]) {
			if at(link, "relation") == "next" {
				address = text(link, "url")
			}
		}
	}
	return all
}

// inMode returns the ids of the resources on a page that were found in a mode.
func inMode(page response, mode string) (ids []string) {
	for _, e := range asList(page.Body["entry"]) {
		if at(e, "search", "mode") == mode {
			ids = append(ids, text(e, "resource", "resourceType")+"/"+text(e, "resource", "id"))
		}
	}
	return ids
}

func TestResponses_EndEarlyAndLoseNothing(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--max-response-bytes", strconv.Itoa(responseBytes))
	const patients = 12
	var want []string
	for i := range patients {
		id := "p" + strconv.Itoa(i)
		s.Must(201, "PUT", "Patient/"+id, bulky(id))
		s.Must(201, "PUT", "Encounter/e"+strconv.Itoa(i), encounter("e"+strconv.Itoa(i), "planned", "subject", reference("Patient/"+id)))
		want = append(want, "Patient/"+id)
	}

	t.Run("search", func(t *testing.T) {
		s := s.in(t)
		var got []string
		for i, page := range s.pages("Patient?_sort=_lastUpdated") {
			if page.Body["total"] != float64(patients) {
				t.Errorf("page %d: total is %v, want %d", i, page.Body["total"], patients)
			}
			got = append(got, inMode(page, "match")...)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if pretty := inMode(s.Must(200, "GET", "Patient?_pretty=true", nil), "match"); len(pretty) != 4 {
			t.Errorf("indented: got %v, want four", pretty)
		}
		if first := inMode(s.Must(200, "GET", "Patient?_count=3", nil), "match"); len(first) != 3 {
			t.Errorf("got %v, want three: they have few bytes", first)
		}
	})
	t.Run("include", func(t *testing.T) {
		s := s.in(t)
		var got []string
		for _, page := range s.pages("Encounter?_include=Encounter:patient&_sort=_lastUpdated") {
			included := inMode(page, "include")
			if matches := inMode(page, "match"); len(included) != len(matches) {
				t.Errorf("a page has %v with %v, want each with its patient", matches, included)
			}
			got = append(got, included...)
			if strings.Contains(string(page.Raw), "--max-response-bytes") {
				t.Errorf("a page warns, though the next one has what it leaves out: %s", page.Raw)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
	t.Run("include, too much for one match", func(t *testing.T) {
		s := s.in(t)
		entries := []any{}
		for _, id := range want {
			entries = append(entries, map[string]any{"item": reference(id)})
		}
		s.Must(201, "PUT", "List/all", map[string]any{"resourceType": "List", "id": "all", "status": "current", "mode": "working", "entry": entries})
		page := s.Must(200, "GET", "List?_include=List:item", nil)
		if included := inMode(page, "include"); len(included) == 0 || len(included) >= patients || !strings.Contains(string(page.Raw), "--max-response-bytes") {
			t.Errorf("got %v, want some patients and a warning: %s", included, page.Raw)
		}
	})
	t.Run("history", func(t *testing.T) {
		s := s.in(t)
		seen := map[string]int{}
		for _, page := range s.pages("Patient/_history") {
			for _, e := range asList(page.Body["entry"]) {
				seen[text(e, "resource", "id")]++
			}
		}
		for i := range patients {
			if n := seen["p"+strconv.Itoa(i)]; n != 1 {
				t.Errorf("Patient/p%d: seen %d times, want once", i, n)
			}
		}
	})
	t.Run("mock/resources", func(t *testing.T) {
		s := s.in(t)
		whole, omitted := 0, 0
		for _, r := range asList(s.Must(200, "GET", "/mock/resources?type=Patient", nil).Body["resources"]) {
			if at(r, "resource") != nil {
				whole++
			}
			if at(r, "omitted") == true {
				omitted++
			}
		}
		if whole != 4 || omitted != patients-4 {
			t.Errorf("got %d resources and %d omitted, want 4 and %d", whole, omitted, patients-4)
		}
	})
	t.Run("include, of large matches", func(t *testing.T) {
		s := s.in(t)
		for i := range 4 {
			id := "o" + strconv.Itoa(i)
			s.Must(201, "PUT", "Organization/"+id, map[string]any{"resourceType": "Organization", "id": id, "name": "Bulky", "text": bulky(id)["text"]})
			s.Must(201, "PUT", "Patient/of-"+id, with(bulky("of-"+id), "managingOrganization", reference("Organization/"+id)))
		}
		var got []string
		for _, page := range s.pages("Patient?organization:missing=false&_include=Patient:organization&_sort=_lastUpdated") { // checks their size
			got = append(got, inMode(page, "include")...)
		}
		if fmt.Sprint(got) != "[Organization/o0 Organization/o1 Organization/o2 Organization/o3]" {
			t.Errorf("got %v, want all organizations once", got)
		}
	})
}

// What is too large for a response comes alone, so that a client gets to the end.
func TestResponses_HaveOneOfWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--max-response-bytes", "1000")
	s.Admission()
	for _, id := range []string{"a", "b"} {
		s.Must(201, "PUT", "Patient/"+id, bulky(id))
		s.Must(200, "PUT", "Patient/"+id, bulky(id))
	}
	s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": 2, "focus": encounter("e", "in-progress", "text", bulky("p")["text"])})
	for address, want := range map[string]int{"Patient": 2, "Patient?_include=Patient:organization": 2, "Patient/a/_history": 2, "Patient/_history": 4, "_history": 6} {
		pages := s.pages(address)
		for _, page := range pages {
			if n := len(asList(page.Body["entry"])); n == 0 || n > 1 && len(page.Raw) > 2000 {
				t.Errorf("%s: a page of %d entries and %d bytes, want one that is large, or a few that are small", address, n, len(page.Raw))
			}
		}
		if len(pages) < want {
			t.Errorf("%s: %d pages, want %d", address, len(pages), want)
		}
	}
	a := s.Must(200, "GET", "Subscription/abc/$events?content=full-resource", nil)
	if n := len(asList(a.At("entry", 0, "resource", "notificationEvent"))); n != 1 || a.Header.Get("Link") == "" {
		t.Errorf("$events: got %d events and Link: %s, want one and the next", n, a.Header.Get("Link"))
	}
}

// The links of a page that ended early do not guess where the last one begins.
func TestResponses_LinksOfAPageThatEndsEarly(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--max-response-bytes", strconv.Itoa(responseBytes))
	for i := range 10 {
		s.Must(201, "PUT", "Patient/p"+strconv.Itoa(i), bulky("p"+strconv.Itoa(i)))
	}
	relations := func(page response) (all string) {
		for _, link := range asList(page.Body["link"]) {
			all += " " + text(link, "relation")
		}
		return all
	}
	pages := s.pages("Patient?_count=20&_sort=_id")
	for i, want := range []string{" self first next", " self first previous next", " self first previous last"} {
		if got := relations(pages[i]); got != want {
			t.Errorf("page %d: got the links%s, want%s", i, got, want)
		}
	}
	for _, link := range asList(pages[2].Body["link"]) {
		if text(link, "relation") == "last" {
			if last := inMode(s.Must(200, "GET", text(link, "url"), nil), "match"); fmt.Sprint(last) != "[Patient/p8 Patient/p9]" {
				t.Errorf("the last page has %v", last)
			}
		}
	}
}

func TestResponses_OfBundlesSayWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--max-response-bytes", strconv.Itoa(responseBytes))
	s.Must(201, "PUT", "Patient/p", bulky("p"))
	s.Must(201, "PUT", "Patient/small", patient("small", "Small"))
	entries := func(method string, ids ...string) (list []any) {
		for _, id := range ids {
			e := map[string]any{"request": map[string]any{"method": method, "url": "Patient/" + id}}
			if method == "PUT" {
				e["resource"] = bulky(id)
			}
			list = append(list, e)
		}
		return list
	}
	post := func(kind string, list []any, headers ...string) []any {
		a := s.Must(200, "POST", s.FHIR, map[string]any{"resourceType": "Bundle", "type": kind, "entry": list}, headers...)
		return asList(a.Body["entry"])
	}
	// check checks that the first four of six have their resource, and how the others say
	// that they have none.
	check := func(t *testing.T, got []any, status, severity string) {
		t.Helper()
		for i, e := range got[:6] {
			code, outcome := text(e, "response", "status"), at(e, "response", "outcome", "issue", 0)
			switch {
			case i < 4 && (at(e, "resource", "id") == nil || outcome != nil):
				t.Errorf("entry %d: got %s %v, want the resource", i, code, outcome)
			case i >= 4 && (at(e, "resource") != nil || !strings.HasPrefix(code, status) || at(outcome, "severity") != severity || !strings.Contains(fmt.Sprint(at(outcome, "diagnostics")), "--max-response-bytes")):
				t.Errorf("entry %d: got %s %v, want %s without a resource and a %s", i, code, outcome, status, severity)
			}
		}
	}
	t.Run("reads", func(t *testing.T) {
		for _, kind := range []string{"batch", "transaction"} {
			got := post(kind, append(entries("GET", "p", "p", "p", "p", "p", "p"), entries("GET", "small")...))
			check(t, got, "422", "error")
			if at(got[6], "resource", "id") != "small" {
				t.Errorf("%s: got %v, want the small patient: there is room for it", kind, got[6])
			}
		}
	})
	t.Run("writes", func(t *testing.T) {
		for _, kind := range []string{"batch", "transaction"} {
			var ids []string
			for i := range 6 {
				ids = append(ids, kind+strconv.Itoa(i))
			}
			check(t, post(kind, entries("PUT", ids...), "Prefer", "return=representation"), "201", "warning")
			for _, id := range ids {
				s.in(t).Must(200, "GET", "Patient/"+id, nil)
			}
		}
	})
}

func TestResponses_OfEventsEndEarlyAndNameTheRest(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5, "--max-response-bytes", strconv.Itoa(responseBytes))
	const events = 12
	div := map[string]any{"status": "generated", "div": `<div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat("x", 4000) + "</div>"}
	focus := encounter("e", "in-progress", "text", div)
	delete(focus, "id") // so each event has another resource
	s.Must(200, "POST", "/mock/trigger", map[string]any{"subscription": "abc", "count": events, "focus": focus})
	address, next := "Subscription/abc/$events?content=full-resource&eventsUntilNumber=11", 1
	for address != "" {
		a := s.Must(200, "GET", address, nil)
		numbers := asList(a.At("entry", 0, "resource", "notificationEvent"))
		if len(numbers) == 0 || len(a.Raw) > responseBytes+5000 || len(a.Raw) < 4000*len(numbers) {
			t.Fatalf("%s: got %d events in %d bytes, want each with its resource, about %d bytes at most", address, len(numbers), len(a.Raw), responseBytes)
		}
		for _, n := range numbers {
			if text(n, "eventNumber") != strconv.Itoa(next) {
				t.Fatalf("got event %s, want %d", text(n, "eventNumber"), next)
			}
			next++
		}
		link := a.Header.Get("Link")
		address, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if link != "" && !strings.HasSuffix(link, `; rel="next"`) {
			t.Fatalf("got Link: %s", link)
		}
	}
	if next != 12 {
		t.Errorf("the events ended before %d, want all up to 11", next)
	}
	if a := s.Must(200, "GET", "Subscription/abc/$events?content=empty", nil); a.Header.Get("Link") != "" || len(asList(a.At("entry", 0, "resource", "notificationEvent"))) != events {
		t.Errorf("got %s, want all events: they have few bytes", a.Raw)
	}
}

// A list of subscriptions costs memory for as long as a token for it is valid.
func TestTokens_TakeBoundedMemory(t *testing.T) {
	t.Parallel()
	s := startProcess(t, "--token-bytes", "2000")
	s.Must(201, "PUT", "SubscriptionTopic/admission", admissionTopic())
	var ids []string
	for i := range 20 {
		id := "sub" + strconv.Itoa(i)
		s.Must(201, "PUT", "Subscription/"+id, websocketSubscription(id, admissionURL))
		ids = append(ids, id)
	}
	var all []string
	for range 100 { // all have the same list
		all = append(all, s.Token(ids...))
	}
	if n := s.metric("signalfhir_token_bytes"); n < 100 || n > 2000 {
		t.Errorf("the lists take %v bytes, want those of one list of 20 names", n)
	}
	take := func(status int, ids ...string) response {
		t.Helper()
		return s.Must(status, "POST", "Subscription/$get-ws-binding-token?id="+strings.Join(ids, "&id="), nil)
	}
	code, why, _ := take(http.StatusInsufficientStorage, ids[1:]...).Issue()
	if code != "too-costly" || !strings.Contains(why, "--token-bytes allows 2000") || !strings.Contains(why, "DELETE /mock/tokens/") {
		t.Errorf("got %s %q, want what the limit is and what to do", code, why)
	}
	take(200, ids[0])
	for _, token := range all {
		s.Must(204, "DELETE", "/mock/tokens/"+token, nil)
	}
	take(200, ids[1:]...)
}
