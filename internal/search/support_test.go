package search_test

import (
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/search"
)

// r5 is a scope without other resources.
var r5 = search.Scope{Release: fhir.R5}

// parse returns a resource of a type with these members: "Encounter",
// `"status":"planned"`.
func parse(t testing.TB, typ, members string) *fhir.Resource {
	t.Helper()
	text := `{"resourceType":"` + typ + `","id":"1"`
	if members != "" {
		text += "," + members
	}
	o, err := fhir.Parse([]byte(text + "}"))
	if err != nil {
		t.Fatalf("%v in %s", err, members)
	}
	return fhir.NewResource(fhir.R5, o)
}

func matches(t testing.TB, res *fhir.Resource, query string) bool {
	t.Helper()
	q, refused := r5.Query(res.Type, query)
	if refused != nil {
		t.Fatalf("%s?%s is refused: %v", res.Type, query, refused)
	}
	ok, err := q.Match(res)
	if err != nil {
		t.Fatalf("%s?%s: %v", res.Type, query, err)
	}
	explained, reasons := q.Explain(res)
	if explained != ok || !q.Empty() && len(reasons) == 0 {
		t.Errorf("%s?%s: Match says %v, Explain %v because of %q", res.Type, query, ok, explained, reasons)
	}
	return ok
}

// wants is a resource with the queries that match it and those that do not, each list
// separated by spaces.
type wants struct {
	name, typ, members string
	yes, no            string
}

func checkMatches(t *testing.T, tests []wants) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := parse(t, tt.typ, tt.members)
			for _, query := range strings.Fields(tt.yes) {
				if !matches(t, res, query) {
					t.Errorf("%s does not match %s", query, tt.members)
				}
			}
			for _, query := range strings.Fields(tt.no) {
				if matches(t, res, query) {
					t.Errorf("%s matches %s", query, tt.members)
				}
			}
		})
	}
}
