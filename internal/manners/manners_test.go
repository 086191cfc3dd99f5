package manners_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
	"signalfhir/internal/manners"
)

// members returns the names of the members of a struct in JSON.
func members(v any) (names []string) {
	for t, i := reflect.TypeOf(v), 0; i < t.NumField(); i++ {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// A switch can be chosen, is described, and belongs to a server.
func TestSwitches_AreThoseOfTheManners(t *testing.T) {
	t.Parallel()
	want := members(manners.Manners{})
	var got []string
	for _, s := range manners.Switches() {
		got = append(got, s.Name)
		if s.Does == "" || len(s.Values) < 2 || len(s.Servers) == 0 {
			t.Errorf("%s: got %+v, want values, what it does and a server that does so", s.Name, s)
		}
		for _, value := range s.Values {
			body, err := json.Marshal(map[string]any{s.Name: value})
			if err != nil {
				t.Fatal(err)
			}
			var c manners.Choice
			if err := json.Unmarshal(body, &c); err != nil {
				t.Fatal(err)
			}
			m, err := c.Resolve()
			if isSpecification := value == s.Values[0]; err != nil || (m == manners.Manners{}) != isSpecification {
				t.Errorf("%s: got %v, %v", body, m, err)
			}
		}
	}
	if !slices.Equal(got, want) || !slices.Equal(members(manners.Choice{})[1:], want) {
		t.Errorf("described are %v, can be chosen %v; want %v", got, members(manners.Choice{})[1:], want)
	}
}

func TestChoice_Resolves(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ choice, want string }{
		{`{}`, "none"},
		{`{"name":"none"}`, "none"},
		{`{"name":"none","noTopic":true}`, "noTopic"},
		{`{"name":"argonaut"}`, "noHandshake, heartbeat keepalive, draftNames"},
		{`{"name":"argonaut","heartbeat":"notification","noHandshake":false,"oneBind":true}`, "oneBind, draftNames"},
		{`{"name":"medplum","eventNumber":"counted","sharedHeartbeat":false,"heartbeat":"none"}`, "noTotal, noTopic, relativeReferences, nativeStatus, heartbeat none, jsonMessages"},
	} {
		var c manners.Choice
		if err := json.Unmarshal([]byte(row.choice), &c); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Resolve(); err != nil || m.String() != row.want {
			t.Errorf("%s: got %v, %v; want %s", row.choice, m, err, row.want)
		}
	}
	for _, s := range manners.Servers() {
		if m, err := (manners.Choice{Name: s.Name}).Resolve(); err != nil || m != s.Switches || m == (manners.Manners{}) || s.About == "" || s.Version == "" {
			t.Errorf("%s: got %v, %v", s.Name, m, err)
		}
	}
}

func TestChoice_Refuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ choice, at, says string }{
		{`{"name":"epic"}`, "name", `got "epic", expected one of none, medplum, hapi, helios, argonaut`},
		{`{"eventNumber":"one"}`, "eventNumber", `got "one", expected one of counted, zero`},
		{`{"heartbeat":""}`, "heartbeat", `got "", expected one of notification, keepalive, none`},
		{`{"name":"helios","sharedHeartbeat":true}`, "sharedHeartbeat", `heartbeat is "none"`},
		{`{"name":"medplum","legacyMessages":true}`, "jsonMessages", "no message would have an effect"},
	} {
		var c manners.Choice
		if err := json.Unmarshal([]byte(row.choice), &c); err != nil {
			t.Fatal(err)
		}
		_, err := c.Resolve()
		if err == nil || fhir.StatusOf(err) != 400 || !strings.Contains(err.Error(), row.says) || fmt.Sprint(fhir.IssuesOf(err)[0].Expression) != "["+row.at+"]" {
			t.Errorf("%s: got %v at %v, want %q at %s", row.choice, err, fhir.IssuesOf(err), row.says, row.at)
		}
	}
}

// What is off costs an atomic load.
func TestCurrent_IsNilIfNothingIsOn(t *testing.T) {
	t.Parallel()
	var c manners.Current
	if c.Get() != nil || (*manners.Current)(nil).Get() != nil {
		t.Error("new: got manners, want none")
	}
	c.Set(manners.Manners{NoTopic: true})
	if m := c.Get(); m == nil || !m.NoTopic {
		t.Errorf("got %v", m)
	}
	c.Set(manners.Manners{})
	if c.Get() != nil {
		t.Error("set back: got manners, want none")
	}
}

func TestManners_LeaveWhatIsNoNotification(t *testing.T) {
	t.Parallel()
	all := manners.Manners{EventNumber: manners.Zero, IntegerNumbers: true, NoTotal: true, NoTopic: true, RelativeReferences: true}
	for _, frame := range []string{"ping a", "", `{"type":"pong"}`, `{"resourceType":"Bundle"}`, `{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Parameters","parameter":[{"name":"topic"}]}}]}`} {
		if got, what := all.Change([]byte(frame), fhir.StandardFormat); string(got) != frame || what != "" {
			t.Errorf("%s: got %s, %q; want it as it was", frame, got, what)
		}
	}
}
