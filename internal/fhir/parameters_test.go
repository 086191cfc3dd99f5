package fhir_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
)

func TestReadParameters_TakesAnyPrimitive(t *testing.T) { // OP-9
	t.Parallel()
	got, err := fhir.ReadParameters(parse(t, `{"resourceType":"Parameters","parameter":[
		{"name":"id","valueId":"abc"},
		{"name":"id","valueString":"Subscription/def"},
		{"name":"eventsSinceNumber","valueInteger64":"3"},
		{"name":"eventsUntilNumber","valueInteger64":4},
		{"name":"flag","valueBoolean":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []fhir.Param{
		{Name: "id", Value: "abc", Type: "valueId", Expression: "Parameters.parameter[0]"},
		{Name: "id", Value: "Subscription/def", Type: "valueString", Expression: "Parameters.parameter[1]"},
		{Name: "eventsSinceNumber", Value: "3", Type: "valueInteger64", Expression: "Parameters.parameter[2]"},
		{Name: "eventsUntilNumber", Value: "4", Type: "valueInteger64", Expression: "Parameters.parameter[3]"},
		{Name: "flag", Value: "true", Type: "valueBoolean", Expression: "Parameters.parameter[4]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadParameters_TakesNone(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"resourceType":"Parameters"}`, `{"resourceType":"Parameters","parameter":[]}`} {
		if got, err := fhir.ReadParameters(parse(t, body)); err != nil || len(got) != 0 {
			t.Errorf("%s: got %v, %v", body, got, err)
		}
	}
}

func TestReadParameters_Refuses(t *testing.T) { // 7.2
	t.Parallel()
	one := func(parameter string) string { return `{"resourceType":"Parameters","parameter":[` + parameter + `]}` }
	tests := []struct{ name, body, code, at string }{
		{"another resource", `{"resourceType":"Patient"}`, "invalid", ""},
		{"no resourceType", `{}`, "invalid", ""},
		{"a parameter that is not an array", `{"resourceType":"Parameters","parameter":{"name":"id"}}`, "structure", "Parameters.parameter"},
		{"a member that is not an object", one(`"id"`), "structure", "Parameters.parameter[0]"},
		{"no name", one(`{"valueId":"abc"}`), "required", "Parameters.parameter[0].name"},
		{"no value", one(`{"name":"id"}`), "required", "Parameters.parameter[0]"},
		{"parts only", one(`{"name":"id","part":[{"name":"x","valueId":"y"}]}`), "required", "Parameters.parameter[0]"},
		{"an empty value", one(`{"name":"id","valueId":""}`), "value", "Parameters.parameter[0]"},
		{"null", one(`{"name":"id","valueId":null}`), "structure", "Parameters.parameter[0]"},
		{"a complex value", one(`{"name":"id","valueReference":{"reference":"Subscription/abc"}}`), "value", "Parameters.parameter[0]"},
		{"a resource", one(`{"name":"id","resource":{"resourceType":"Patient"}}`), "value", "Parameters.parameter[0]"},
		{"value and part", one(`{"name":"id","valueId":"abc","part":[{"name":"x","valueId":"y"}]}`), "invariant", "Parameters.parameter[0]"},
		{"two values", one(`{"name":"ok","valueId":"x"},{"name":"id","valueId":"abc","valueString":"abc"}`), "invariant", "Parameters.parameter[1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fhir.ReadParameters(parse(t, tt.body))
			if err == nil {
				t.Fatalf("accepted as %v", got)
			}
			if fhir.AsError(err).Status != http.StatusBadRequest || string(fhir.CodeOf(err)) != tt.code {
				t.Errorf("got %d %s, want 400 %s", fhir.AsError(err).Status, fhir.CodeOf(err), tt.code)
			}
			if at := fhir.AsError(err).Issues[0].Expression; tt.at != "" && !cmp.Equal(at, []string{tt.at}) {
				t.Errorf("expression %q, want %q", at, tt.at)
			}
		})
	}
}

func TestReadParameters_ReportsAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := fhir.ReadParameters(parse(t, `{"resourceType":"Parameters","parameter":[{"name":"id"},{"name":"id","valueId":"x"},{"valueId":"y"}]}`))
	if err == nil || len(fhir.AsError(err).Issues) != 2 {
		t.Errorf("got %v, want two issues", err)
	}
}

func TestEncodeBindingToken_Golden(t *testing.T) { // OPW-2, OPW-3, OPW-6
	t.Parallel()
	got := fhir.R5.EncodeBindingToken(&fhir.BindingToken{
		Token: "0b9f6c1e5d8a4f7e9c3b2a1d0e4f5a6b", Expiration: at("10:30:00"),
		Subscriptions: []string{"abc", "def"}, WebsocketURL: "ws://localhost:8080/ws",
	})
	golden(t, "binding-token", got)
	fhirtest.Valid(t, fhir.R5, got)
}

func TestEncodeBindingToken_NeverPromisesMore(t *testing.T) { // OPW-5
	t.Parallel()
	zone := time.FixedZone("Kathmandu", 5*3600+45*60)
	for _, expires := range []time.Time{at("10:30:00.999999999"), at("10:30:00.5").In(zone), at("10:30:00")} {
		o := parse(t, string(fhir.R5.EncodeBindingToken(&fhir.BindingToken{Token: "x", Expiration: expires, WebsocketURL: "ws://h/ws"})))
		got := o.Array("parameter")[1].(*fhir.Object).Text("valueDateTime")
		if want := "2026-01-01T10:30:00Z"; got != want {
			t.Errorf("a token that ends %s promises %s, want %s", expires, got, want)
		}
	}
}
