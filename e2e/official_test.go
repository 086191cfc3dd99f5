package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhir/fhirtest"
	"signalfhir/testkit"
)

// send sends a resource and returns status and body.
func send(t *testing.T, method, url string, body []byte) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	_ = json.Unmarshal(data, &out)
	return res.StatusCode, out
}

// getJSON reads what a server returns as JSON.
func getJSON(t *testing.T, url string, into any) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatalf("%s returned %s: %v", url, res.Status, err)
	}
}

// must sends a request to the FHIR base of a server, which has to succeed.
func must(t *testing.T, s *testkit.Server, method, path, body string) {
	t.Helper()
	if status, response := send(t, method, s.FHIR.R5+"/"+path, []byte(body)); status >= 300 {
		t.Fatalf("%s %s: got %d %v", method, path, status, response)
	}
}

// example reads an official R5 example.
func example(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fhirtest.Spec(t, "examples", "R5"), name))
	if err != nil {
		t.Fatal(err)
	}
	var resource map[string]any
	if err := json.Unmarshal(data, &resource); err != nil {
		t.Fatal(err)
	}
	return resource
}

func put(t *testing.T, s *testkit.Server, resource map[string]any) (int, map[string]any) {
	t.Helper()
	data, err := json.Marshal(resource)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, http.MethodPut, s.FHIR.R5+"/"+resource["resourceType"].(string)+"/"+resource["id"].(string), data)
}

// refusedExamples lists the official examples that the server must refuse, each with a part
// of the refusal.
var refusedExamples = map[string]string{
	"subscription-admission.json":     "topic", // a topic that is not an example, rest-hook, and an end in the past
	"subscription-example.json":       "rest-hook",
	"subscriptionstatus-example.json": "never stored",
}

func TestOfficialExamples_AreAcceptedOrRefusedForTheRightReason(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithoutSeed())
	fhirtest.Spec(t)
	files, accepted := fhirtest.Examples(t, fhir.R5), 0
	for _, file := range files {
		name := filepath.Base(file)
		status, response := put(t, s, example(t, name))
		reason, refused := refusedExamples[name]
		switch {
		case !refused && status != http.StatusCreated:
			t.Errorf("%s: got %d %v", name, status, response)
		case refused && (status < 400 || status >= 500 || !strings.Contains(text(response), reason)):
			t.Errorf("%s: got %d %s, want a refusal that says %q", name, status, text(response), reason)
		case !refused:
			accepted++
		}
	}
	t.Logf("%d of %d examples accepted", accepted, len(files))
}

func text(outcome map[string]any) string {
	data, _ := json.Marshal(outcome)
	return string(data)
}

// TestOfficialTopics_NotifyOfOfficialEncounters runs the whole flow on HL7's own resources:
// both topics, both subscriptions with a websocket channel, and the Encounter examples.
func TestOfficialTopics_NotifyOfOfficialEncounters(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithoutSeed())
	for _, name := range []string{"subscriptiontopic-example-admission.json", "subscriptiontopic-example.json"} {
		if status, response := put(t, s, example(t, name)); status != http.StatusCreated {
			t.Fatalf("%s: got %d %v", name, status, response)
		}
	}
	subscriptions := map[string]string{
		"subscription-admission.json": "http://example.org/FHIR/R5/SubscriptionTopic/admission",
		"subscription-example.json":   "http://example.org/FHIR/R5/SubscriptionTopic/example",
	}
	for name, topic := range subscriptions {
		sub := example(t, name)
		sub["topic"] = topic
		sub["channelType"] = map[string]any{"code": "websocket"}
		delete(sub, "endpoint")
		delete(sub, "end")
		delete(sub, "filterBy")
		delete(sub, "heartbeatPeriod")
		if status, response := put(t, s, sub); status != http.StatusCreated || response["status"] != "active" {
			t.Fatalf("%s: got %d %v", name, status, response)
		}
	}
	socket := open(t, s, "admission", "example")

	for _, name := range []string{"encounter-example.json", "encounter-example-emerg.json", "encounter-example-f003-abscess.json", "encounter-example-f203-20130311.json", "Encounter-denovoEncounter.json"} {
		if status, response := put(t, s, example(t, name)); status != http.StatusCreated {
			t.Fatalf("%s: got %d %v", name, status, response)
		}
	}
	notifyOfMoves(t, s, socket, "admission", "example")
}

// TestTopics_NotifyOfEncounters runs the same flow on our own resources, with the criteria of
// HL7's topics.
func TestTopics_NotifyOfEncounters(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.WithoutSeed())
	for id, trigger := range map[string]map[string]any{
		"moves-in": {
			"supportedInteraction": []string{"create", "update"},
			"queryCriteria": map[string]any{"previous": "status:not=in-progress", "resultForCreate": "test-passes",
				"current": "status=in-progress", "resultForDelete": "test-fails", "requireBoth": true},
			"fhirPathCriteria": "%previous.status!='in-progress' and %current.status='in-progress'",
		},
		"ends": {
			"supportedInteraction": []string{"update"},
			"queryCriteria": map[string]any{"previous": "status:not=completed", "resultForCreate": "test-passes",
				"current": "status=completed", "resultForDelete": "test-fails", "requireBoth": true},
			"fhirPathCriteria": "(%previous.empty() | (%previous.status != 'completed')) and (%current.status = 'completed')",
		},
	} {
		url := "http://example.org/topics/" + id
		trigger["resource"] = "http://hl7.org/fhir/StructureDefinition/Encounter"
		for _, resource := range []map[string]any{
			{"resourceType": "SubscriptionTopic", "id": id, "url": url, "status": "active", "resourceTrigger": []any{trigger}},
			{"resourceType": "Subscription", "id": id, "status": "requested", "topic": url, "channelType": map[string]any{"code": "websocket"}, "content": "id-only"},
		} {
			if status, response := put(t, s, resource); status != http.StatusCreated {
				t.Fatalf("%s: got %d %v", id, status, response)
			}
		}
	}
	socket := open(t, s, "moves-in", "ends")
	for _, status := range []string{"in-progress", "completed"} { // new ones, of which neither topic notifies
		if code, response := put(t, s, map[string]any{"resourceType": "Encounter", "id": status, "status": status}); code != http.StatusCreated {
			t.Fatalf("got %d %v", code, response)
		}
	}
	notifyOfMoves(t, s, socket, "moves-in", "ends")
}

// notifyOfMoves moves an encounter to its end. The first subscription is notified of the
// beginning and the second of the end; neither was notified of anything before.
func notifyOfMoves(t *testing.T, s *testkit.Server, socket *websocket.Conn, subscriptions ...string) {
	t.Helper()
	// The admission topic compares with the previous state, so it fires on the
	// change from planned to in-progress, not on create (TOP-12). The other one has
	// | between conditions, which is read as or (TOP-11).
	encounter := map[string]any{"resourceType": "Encounter", "id": "moves", "status": "planned"}
	for _, status := range []string{"planned", "in-progress", "completed"} {
		encounter["status"] = status
		if code, response := put(t, s, encounter); code >= 300 {
			t.Fatalf("got %d %v", code, response)
		}
	}
	for _, want := range subscriptions {
		frame := next(t, socket)
		status := fhirtest.CheckNotification(t, fhir.R5, frame)
		if status.Type != "event-notification" || !strings.HasSuffix(status.Subscription.Reference, "/"+want) || status.EventsSinceSubscriptionStart != "1" {
			t.Errorf("got %s, want event 1 of %s", frame, want)
		}
	}
}

// open binds a socket to subscriptions and reads their handshakes.
func open(t *testing.T, s *testkit.Server, ids ...string) *websocket.Conn {
	t.Helper()
	socket, _, err := websocket.DefaultDialer.Dial(s.WS, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	_, response := send(t, http.MethodPost, s.FHIR.R5+"/Subscription/$get-ws-binding-token?id="+strings.Join(ids, "&id="), nil)
	token := ""
	for _, p := range response["parameter"].([]any) {
		if parameter := p.(map[string]any); parameter["name"] == "token" {
			token = parameter["valueString"].(string)
		}
	}
	if err := socket.WriteMessage(websocket.TextMessage, []byte("bind-with-token "+token)); err != nil {
		t.Fatal(err)
	}
	for range ids {
		if status := fhirtest.CheckNotification(t, fhir.R5, next(t, socket)); status.Type != "handshake" {
			t.Fatalf("got %s, want a handshake", status.Type)
		}
	}
	return socket
}

// last returns the number of the last event in a notification.
func last(status *fhirtest.Status) int64 {
	if len(status.NotificationEvent) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(status.NotificationEvent[len(status.NotificationEvent)-1].EventNumber, 10, 64)
	return n
}

func next(t *testing.T, socket *websocket.Conn) []byte {
	t.Helper()
	_ = socket.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, data, err := socket.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFrames_OfEveryKindAreValid checks what comes out of the real program at
// every content level against schema, profile and the rules of spec.md 2.
func TestFrames_OfEveryKindAreValid(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	for _, id := range []string{"admission-empty", "admission-id-only", "admission-full", "lab-full", "task-id-only"} {
		socket := open(t, s, id)
		for _, interaction := range []string{"create", "update", "delete"} {
			for _, event := range s.Trigger(testkit.Trigger{Subscription: id, Interaction: interaction}) {
				for { // the handshake comes before
					status := fhirtest.CheckNotification(t, fhir.R5, next(t, socket))
					if status.Type == "event-notification" && last(status) >= event.Number {
						break
					}
				}
			}
		}
		for _, content := range []string{"", "empty", "id-only", "full-resource"} {
			res, err := http.Get(s.FHIR.R5 + "/Subscription/" + id + "/$events?content=" + content)
			if content == "" {
				res, err = http.Get(s.FHIR.R5 + "/Subscription/" + id + "/$events")
			}
			if err != nil {
				t.Fatal(err)
			}
			data, _ := io.ReadAll(res.Body)
			res.Body.Close()
			fhirtest.CheckNotification(t, fhir.R5, data)
		}
	}
	for _, path := range []string{"metadata", "OperationDefinition/Subscription-get-ws-binding-token", "OperationDefinition/Subscription-status", "OperationDefinition/Subscription-events", "Subscription", "Subscription/admission-full/_history", "Subscription/$status", "Encounter?_count=1", "Encounter?nothing=here", "Nothing/1"} {
		res, err := http.Get(s.FHIR.R5 + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fhirtest.Valid(t, fhir.R5, data)
	}
}
