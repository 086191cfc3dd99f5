package protocol

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

// found lists what a searchset has, "Type/id" or with its mode "include:Type/id".
func found(a response) string {
	var all []string
	for _, e := range asList(a.Body["entry"]) {
		entry := e.(map[string]any)
		res := entry["resource"].(map[string]any)
		name := fmt.Sprint(res["resourceType"], "/", res["id"])
		if mode := text(entry, "search", "mode"); mode != "match" {
			name = mode + ":" + name
		}
		if res["resourceType"] == "OperationOutcome" {
			name = "outcome"
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// searched is a server with a few resources that refer to each other.
func searched(t *testing.T, r fhir.Release) *server {
	s := start(t).on(r)
	s.Must(201, "PUT", "Organization/o1", map[string]any{"resourceType": "Organization", "id": "o1", "name": "Acme"})
	s.Must(201, "PUT", "Patient/p1", with(with(patient("p1", "Smith"), "birthDate", "1950-06-01"), "managingOrganization", reference("Organization/o1")))
	s.Must(201, "PUT", "Patient/p2", with(patient("p2", "Adams"), "birthDate", "1940"))
	s.Must(201, "PUT", "Patient/p3", patient("p3", "Miller"))
	s.Must(201, "PUT", "Encounter/e1", encounter("e1", "planned", "subject", reference("Patient/p1")))
	s.Must(201, "PUT", "Observation/b1", map[string]any{"resourceType": "Observation", "id": "b1", "status": "final", "code": map[string]any{"text": "x"}, "subject": reference("Patient/p1"), "encounter": reference("Encounter/e1"),
		"valueQuantity": map[string]any{"value": 120, "unit": "mmHg"}, "text": map[string]any{"status": "generated", "div": `<div xmlns="http://www.w3.org/1999/xhtml">high pressure</div>`}})
	return s
}

func TestSearch_Results(t *testing.T) {
	eachRelease(t, func(t *testing.T, r fhir.Release) {
		s := searched(t, r)
		for query, want := range map[string]string{
			"Patient?_sort=family":                     "Patient/p2 Patient/p3 Patient/p1",
			"Patient?_sort=-family":                    "Patient/p1 Patient/p3 Patient/p2",
			"Patient?_sort=birthdate":                  "Patient/p2 Patient/p1 Patient/p3",
			"Patient?_sort=-birthdate,_id":             "Patient/p1 Patient/p2 Patient/p3",
			"Patient?_sort=_id&_count=2":               "Patient/p1 Patient/p2",
			"Observation?_include=Observation:subject": "Observation/b1 include:Patient/p1",
			"Observation?_include=Observation:subject&_include:iterate=Patient:organization": "Observation/b1 include:Patient/p1 include:Organization/o1",
			"Observation?_include=Observation:subject&_include=Patient:organization":         "Observation/b1 include:Patient/p1",
			"Observation?_include=*": "Observation/b1 include:Encounter/e1 include:Patient/p1",
			"Patient?family=smith&_revinclude=Encounter:patient&_revinclude:iterate=Observation:encounter": "Patient/p1 include:Encounter/e1 include:Observation/b1",
			"Patient?_has:Observation:patient:value-quantity=gt100":                                        "Patient/p1",
			"Encounter?patient.organization.name=acme":                                                     "Encounter/e1",
			"Observation?value-quantity=lt100":                                                             "",
			"Observation?_content=pressure":                                                                "Observation/b1",
			"Patient?_summary=count":                                                                       "",
			"Patient?_id=p1,p3&_sort=_id":                                                                  "Patient/p1 Patient/p3",
			"Patient?family=smith;adams":                                                                   "",
			"Patient?birthdate:missing=true":                                                               "Patient/p3",
			"Patient?colour=red&family=smith":                                                              "Patient/p1 outcome",
			"Patient?family=smith&_summary=true":                                                           "Patient/p1 outcome",
			"Patient?family=smith&_contained=both":                                                         "Patient/p1 outcome",
		} {
			a := s.Must(200, "GET", query, nil)
			got := strings.Split(found(a), " ")
			if strings.Contains(query, "include=*") { // of several references each stands somewhere
				got = []string{got[0], "include:Encounter/e1", "include:Patient/p1"}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: got %q, want %q", query, found(a), want)
			}
			fhirtest.Valid(t, r, a.Raw)
		}
	})
}

func TestSearch_ByPostIsTheSameAsByGet(t *testing.T) {
	t.Parallel()
	s := searched(t, fhir.R5)
	const query = "family=smith&_revinclude=Encounter:patient"
	get := s.Must(200, "GET", "Patient?"+query, nil)
	post := s.Must(200, "POST", "Patient/_search", query, "Content-Type", "application/x-www-form-urlencoded")
	mixed := s.Must(200, "POST", "Patient/_search?family=smith", "_revinclude=Encounter:patient", "Content-Type", "application/x-www-form-urlencoded")
	untyped := s.Must(200, "POST", "Patient/_search", query, "Content-Type", "")
	if found(get) == "" || found(get) != found(post) || found(get) != found(mixed) || found(get) != found(untyped) || compact(get.Body["link"]) != compact(post.Body["link"]) {
		t.Errorf("got %s by GET, %s by POST, %s by both", found(get), found(post), found(mixed))
	}
	for path, want := range map[string]string{"Patient/_search": "a search by GET is Patient?name=value", s.FHIR: "a search is about one type"} {
		if _, diagnostics, _ := s.Must(405, "GET", path, nil).Issue(); !strings.Contains(diagnostics, want) {
			t.Errorf("%s: got %q, want %q", path, diagnostics, want)
		}
	}
	s.Must(406, "POST", "Patient/_search", query+"&_format=xml", "Content-Type", "application/x-www-form-urlencoded")
	s.Must(400, "POST", "Patient/_search", "family=%zz", "Content-Type", "application/x-www-form-urlencoded")
	s.Must(415, "POST", "Patient/_search", `{"resourceType":"Parameters"}`, "Content-Type", "application/fhir+json")
}

func TestSearch_Pages(t *testing.T) {
	t.Parallel()
	s := searched(t, fhir.R5)
	links := func(a response) map[string]string {
		all := map[string]string{}
		for _, l := range asList(a.Body["link"]) {
			link := l.(map[string]any)
			all[link["relation"].(string)] = link["url"].(string)
		}
		return all
	}
	first := s.Must(200, "GET", "Patient?_sort=_id&_count=1", nil)
	if got := links(first); got["previous"] != "" || got["next"] == "" || got["first"] != got["self"] || got["last"] == "" {
		t.Fatalf("page 1 has the links %v", got)
	}
	seen := []string{found(first)}
	page := first
	for links(page)["next"] != "" {
		page = s.Must(200, "GET", links(page)["next"], nil)
		seen = append(seen, found(page))
		if fmt.Sprint(page.Body["total"]) != "3" {
			t.Errorf("a page says %v in all, want 3", page.Body["total"])
		}
	}
	if got := strings.Join(seen, " "); got != "Patient/p1 Patient/p2 Patient/p3" {
		t.Errorf("the pages have %s", got)
	}
	if links(first)["last"] != links(page)["self"] {
		t.Errorf("last is %s, but the last page is %s", links(first)["last"], links(page)["self"])
	}
	if back := s.Must(200, "GET", links(page)["previous"], nil); found(back) != "Patient/p2" {
		t.Errorf("previous has %s", found(back))
	}
	if got := links(s.Must(200, "GET", "Patient?_count=5000", nil))["self"]; !strings.HasSuffix(got, "Patient?_count=1000") {
		t.Errorf("self is %s, want the count that was used", got)
	}
	if a := s.Must(200, "GET", "Patient?_total=none", nil); a.Body["total"] != nil {
		t.Errorf("_total=none: got %v", a.Body["total"])
	}
	if got := links(s.Must(200, "GET", "Patient", nil)); len(got) != 1 {
		t.Errorf("one page has the links %v, want self only", got)
	}
}

func TestSearch_PartsOfResources(t *testing.T) {
	t.Parallel()
	s := searched(t, fhir.R5)
	for query, want := range map[string]string{
		"_elements=subject":                 "code id meta resourceType status subject",
		"_elements=Observation.value":       "code id meta resourceType status valueQuantity",
		"_elements=value&_elements=subject": "code id meta resourceType status subject valueQuantity",
		"_summary=text":                     "code id meta resourceType status text",
		"_summary=data":                     "code encounter id meta resourceType status subject valueQuantity",
	} {
		a := s.Must(200, "GET", "Observation?"+query, nil)
		res := a.At("entry", 0, "resource").(map[string]any)
		var names []string
		for name := range res {
			names = append(names, name)
		}
		if got := sorted(names); got != want || !strings.Contains(compact(res["meta"]), "SUBSETTED") {
			t.Errorf("%s: got %s, want %s, tagged as a subset", query, got, want)
		}
	}
	if a := s.Must(200, "GET", "Observation/b1", nil); strings.Contains(string(a.Raw), "SUBSETTED") {
		t.Error("the subset is stored")
	}
}

func TestSearch_Refuses(t *testing.T) {
	t.Parallel()
	s := searched(t, fhir.R5)
	for query, says := range map[string]string{
		"Patient?_sort=colour":                       "colour",
		"Patient?_sort=,":                            "separated by commas",
		"Location?_sort=near":                        "cannot be sorted",
		"Patient?_include=Patient":                   "it is not an include",
		"Patient?_include=Patient:name":              "not a reference",
		"Patient?_include:wild=Patient:organization": ":iterate",
		"Patient?_revinclude=Klingon:patient":        "Klingon",
		"Patient?_total=some":                        "none, estimate, accurate",
		"Patient?_summary=brief":                     "one of",
		"Patient?_count=-1":                          "whole number",
		"Patient?organization.colour=red":            "colour",
		"Patient?_has:Observation:patient=1":         "_has:Type",
		"Patient?birthdate=soon":                     "2026",
		"Patient?family=%zz":                         "%25",
		"Patient/_history?_since=%zz":                "%25",
		"Patient?_sort:desc=family":                  "_sort takes no modifier",
		"Patient?_count:exact=1":                     "_count takes no modifier",
		"Patient?_summary:not=count":                 "_summary takes no modifier",
		"Patient?_sort=family&_sort=_id":             "_sort=family,_id",
		"Patient?_count=1&_count=2":                  "2 times, as 1 and 2",
		"Patient?_elements=name&_summary=text":       "give only one of them",
	} {
		a := s.Must(400, "GET", query, nil)
		if _, diagnostics, _ := a.Issue(); !strings.Contains(diagnostics, says) {
			t.Errorf("%s: got %q, want it to say %q", query, diagnostics, says)
		}
	}
	for _, query := range []string{"Patient?colour=red", "Patient?_summary=true", "Patient?_contained=both"} {
		s.Must(200, "GET", query, nil)
		s.Must(400, "GET", query, nil, "Prefer", "handling=strict")
	}
}

func sorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, " ")
}
