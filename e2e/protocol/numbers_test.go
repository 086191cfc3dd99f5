package protocol

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// extremes are where numbers break.
var extremes = []string{
	"", "0", "-0", "1", "-1", "+1", " 1", "01", "1.5", "1e3", "1e999", "0x10", "1_000", "NaN", "Infinity", "١", "true", "%", "2147483647", "2147483648", "-2147483648",
	"4294967295", "4294967296", "9007199254740991", "9007199254740992", "9223372036854775807", "9223372036854775808",
	"-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", strings.Repeat("9", 400),
}

// number generates what a client may send where a number is wanted.
func number() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom(extremes),
		rapid.Map(rapid.Int64(), func(n int64) string { return fmt.Sprint(n) }),
		rapid.Map(rapid.IntRange(0, 60), func(n int) string { return fmt.Sprint(n) }),
		rapid.String(),
	)
}

// A number that a client sends is taken or refused. It never breaks the server.
func TestNumbers_OfQueriesNeverFail(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	type target struct {
		path   string
		method string
		names  []string
	}
	targets := []target{
		{"/fhir/R5/Patient", "GET", []string{"_count", "_offset", "_page", "_lastUpdated", "birthdate"}},
		{"/fhir/R5/Observation", "GET", []string{"_count", "_offset", "value-quantity", "combo-value-quantity", "date"}},
		{"/fhir/R4/Patient", "GET", []string{"_count", "_offset", "_has:Encounter:patient:_id"}},
		{"/fhir/R5/_history", "GET", []string{"_count", "_offset", "_since"}},
		{"/fhir/R5/Patient/_history", "GET", []string{"_count", "_offset", "_since"}},
		{"/fhir/R5/Patient/example/_history", "GET", []string{"_count", "_offset", "_since"}},
		{"/fhir/R5/Subscription/admission-full/$events", "GET", []string{"eventsSinceNumber", "eventsUntilNumber"}},
		{"/fhir/R5/Subscription/admission-full/$resend", "GET", []string{"eventsSinceNumber", "eventsUntilNumber", "eventsSinceInstant"}},
		{"/fhir/R4B/Subscription/admission-full/$status", "GET", []string{"id"}},
	}
	// Those of the control routes are in their description.
	described := 0
	for path, item := range s.Must(200, "GET", "/mock/openapi.json", nil).Body["paths"].(map[string]any) {
		get, _ := item.(map[string]any)["get"].(map[string]any)
		method := http.MethodGet
		if strings.HasSuffix(path, "/stream") {
			method = http.MethodHead // the stream itself does not end
		}
		var names []string
		for _, p := range asList(get["parameters"]) {
			if parameter := p.(map[string]any); parameter["in"] == "query" {
				names = append(names, parameter["name"].(string))
				described++
			}
		}
		if len(names) > 0 {
			targets = append(targets, target{path, method, names})
		}
	}
	if described < 15 {
		t.Fatalf("only %d parameters are described", described)
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.path, b.path) })
	for _, to := range targets {
		for _, name := range to.names {
			for _, n := range extremes {
				query := url.Values{name: {n}}
				if to.path == "/mock/resources" && name != "type" {
					query.Set("type", "Patient")
				}
				if a := s.Do(to.method, to.path+"?"+query.Encode(), nil); a.Status >= 500 {
					t.Errorf("%s?%s: got %d %s", to.path, query.Encode(), a.Status, a.Raw)
				}
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		to := rapid.SampledFrom(targets).Draw(rt, "target")
		query := url.Values{}
		if to.path == "/mock/resources" {
			query.Set("type", "Patient")
		}
		for _, name := range to.names {
			if rapid.Bool().Draw(rt, name+" is given") {
				query.Set(name, number().Draw(rt, name))
			}
		}
		a := s.Do(to.method, to.path+"?"+query.Encode(), nil)
		if a.Status >= 500 || a.Status < 200 {
			rt.Fatalf("%s?%s: got %d %s", to.path, query.Encode(), a.Status, a.Raw)
		}
	})
	for _, path := range []string{"/mock/journal/", "/fhir/R5/Patient/example/_history/"} {
		rapid.Check(t, func(rt *rapid.T) {
			n := number().Draw(rt, "number")
			if a := s.Do("GET", path+url.PathEscape(n), nil); a.Status >= 500 {
				rt.Fatalf("%s%s: got %d %s", path, n, a.Status, a.Raw)
			}
		})
	}
}

// The same goes for the numbers in bodies.
func TestNumbers_OfBodiesNeverFail(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	numbers := rapid.SampledFrom([]string{"0", "-0", "1", "-1", "2", "1.5", "1e2", "1e999", "-1e999", `"1"`, "null", "true", "[]", "2147483648", "4294967297",
		"9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616", strings.Repeat("9", 400)})
	bodies := []string{
		"POST /mock/trigger " + `{"subscription":"admission-full","count":%s}`,
		"POST /mock/await " + `{"bound":{"subscription":"admission-full","count":%s},"timeout":"1ms"}`,
		"POST /mock/await " + `{"sent":{"subscription":"admission-full","count":%s},"timeout":"1ms"}`,
		"POST /mock/generators/ward/step " + `{"count":%s}`,
		"POST /mock/generators " + `{"name":"g","scenario":"ward","patients":%s}`,
		"PUT /rooms/x " + `{"seed":"none","random":%s}`,
		"POST /fhir/R5/Observation " + `{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueInteger":%s}`,
		"POST /fhir/R5/Subscription/admission-full/$events " + `{"resourceType":"Parameters","parameter":[{"name":"eventsSinceNumber","valueInteger64":%s}]}`,
		"POST /fhir/R5/Subscription " + `{"resourceType":"Subscription","status":"requested","topic":"http://example.org/FHIR/R5/SubscriptionTopic/admission","channelType":{"code":"websocket"},"heartbeatPeriod":%s,"timeout":%[1]s,"maxCount":%[1]s}`,
	}
	rapid.Check(t, func(rt *rapid.T) {
		request := fmt.Sprintf(rapid.SampledFrom(bodies).Draw(rt, "request"), numbers.Draw(rt, "number"))
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		if a := s.Do(method, path, body); a.Status >= 500 {
			rt.Fatalf("%s: got %d %s", request, a.Status, a.Raw)
		}
	})
}
