package fhir_test

import (
	"slices"
	"testing"

	"signalfhir/internal/fhir"
)

// FuzzRead feeds the readers input that validation would refuse. The result may
// be nonsense, but they must not panic, and every issue must have a place.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"resourceType":"Subscription","topic":"http://t|","end":"2026-12-31T12:00:00Z","filterBy":[{},1,{"comparator":"eq","modifier":"not"}],"channelType":{"code":"websocket"},"heartbeatPeriod":1e400,"contentType":"a;b=c"}`,
		`{"resourceType":"SubscriptionTopic","url":"http://t","resourceTrigger":[{"resource":"Encounter","queryCriteria":{}}],"eventTrigger":[{"event":[]}],"canFilterBy":[null],"notificationShape":{}}`,
		`{"resourceType":"Parameters","parameter":[{"name":"id","valueId":"abc"},{"name":"x","part":[]},{"valueString":null}]}`,
	} {
		f.Add([]byte(seed))
	}
	for _, seed := range []string{
		`{"resourceType":"Subscription","status":"requested","criteria":"http://t","_criteria":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-filter-criteria","valueString":"Encounter?patient=1&=2"}]},"channel":{"type":"websocket","_payload":{"extension":[null]}}}`,
		`{"resourceType":"Subscription","status":"off","criteria":"/Observation?code=1","channel":{"type":"websocket","header":["a"]}}`,
		`{"resourceType":"Basic","code":{"coding":[{"code":"SubscriptionTopic"}]},"extension":[{"url":"http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic.url","valueUri":"http://t"},{"url":"http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic.resourceTrigger","extension":[{"url":"resource","valueUri":"Patient"}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, refused := fhir.Parse(data)
		if refused != nil {
			return
		}
		for _, r := range fhir.Releases {
			_, issues := r.ReadSubscription(o)
			_, more := r.ReadTopic(o)
			for _, issue := range slices.Concat(issues, more, r.Validate(o)) {
				if len(issue.Expression) == 0 || issue.Diagnostics == "" || issue.Code == "" {
					t.Errorf("%s: issue %+v says too little", r, issue)
				}
			}
		}
		params, err := fhir.ReadParameters(o)
		if (err == nil) != (o.Text("resourceType") == "Parameters") && err == nil {
			t.Errorf("read %v as Parameters", params)
		}
		for _, p := range params {
			if p.Name == "" || p.Value == "" {
				t.Errorf("read parameter %+v", p)
			}
		}
	})
}
