package fhir_test

import (
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
	f.Fuzz(func(t *testing.T, data []byte) {
		o, refused := fhir.Parse(data)
		if refused != nil {
			return
		}
		_, issues := fhir.R5.ReadSubscription(o)
		_, more := fhir.R5.ReadTopic(o)
		for _, issue := range append(issues, more...) {
			if len(issue.Expression) == 0 || issue.Diagnostics == "" || issue.Code == "" {
				t.Errorf("issue %+v says too little", issue)
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
