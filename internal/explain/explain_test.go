package explain_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/explain"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

const admission = "http://example.org/topic/admission"

// withSubscriptions returns a room with subscriptions on one topic, each of which filters
// for its own patient, and one change that fired the topic.
func withSubscriptions(t testing.TB, many int) *room.Base {
	t.Helper()
	r, err := room.New(room.Options{Releases: []fhir.Release{fhir.R5, fhir.R4}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	b := r.Base(fhir.R5)
	put(t, b, "SubscriptionTopic", "t", topicOn("Encounter"))
	for i := range many {
		put(t, b, "Subscription", strconv.Itoa(i), onTopic(i))
	}
	put(t, b, "Encounter", "e", `"status":"in-progress","subject":{"reference":"Patient/7"}`)
	return b
}

func topicOn(typ string) string {
	return fmt.Sprintf(`"url":%q,"status":"active","resourceTrigger":[{"resource":%q}],"canFilterBy":[{"resource":%[2]q,"filterParameter":"patient"}]`, admission, typ)
}

func onTopic(patient int) string {
	return fmt.Sprintf(`"status":"requested","topic":%q,"channelType":{"code":"websocket"},"content":"id-only",
		"filterBy":[{"filterParameter":"patient","value":"Patient/%d"}]`, admission, patient)
}

func classic(criteria string) string {
	return fmt.Sprintf(`"status":"requested","reason":"x","criteria":%q,"channel":{"type":"websocket"}`, criteria)
}

func parse(t testing.TB, typ, id, members string) *fhir.Object {
	t.Helper()
	o, err := fhir.Parse(fmt.Appendf(nil, `{"resourceType":%q,"id":%q,%s}`, typ, id, members))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func put(t testing.TB, b *room.Base, typ, id, members string) {
	t.Helper()
	if _, err := b.Update(typ, id, parse(t, typ, id, members), room.Request{}); err != nil {
		t.Fatal(err)
	}
}

// during runs a function while a write holds the write lock of a room: the write
// applies a patch, which waits for the function to return. A patch runs under the lock once
// three rehearsals were for a version that was replaced meanwhile. It fails the test if the
// function does not return for some time.
func during(t *testing.T, b *room.Base, write room.Operation, what func()) {
	t.Helper()
	write.Method = http.MethodPatch
	rehearsals := 0
	write.Patch = func(current *fhir.Object, _ *budget.Budget) (*fhir.Object, error) {
		if rehearsals++; rehearsals <= 3 {
			_, err := b.Update(write.Type, write.ID, current.Clone(), room.Request{})
			return current.Clone(), err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			what()
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("it waits for the write that is under way")
		}
		return current.Clone(), nil
	}
	if _, err := b.Write(write, room.Request{}); err != nil || rehearsals != 4 {
		t.Errorf("got %v after %d patches, want that the fourth runs under the lock", err, rehearsals)
	}
}

// No explanation waits for a write, so no write waits for an explanation either.
func TestExplain_TakesNoWriteLock(t *testing.T) {
	t.Parallel()
	r5 := withSubscriptions(t, 3)
	r4 := r5.Room().Base(fhir.R4)
	put(t, r4, "Subscription", "classic", classic("Encounter?status=in-progress"))
	put(t, r4, "Encounter", "e", `"status":"in-progress","class":{"code":"AMB"}`)
	r := r5.Room()
	encounter := parse(t, "Encounter", "e", `"status":"in-progress","subject":{"reference":"Patient/2"}`)
	of4 := parse(t, "Encounter", "e", `"status":"planned","class":{"code":"AMB"}`)

	for _, tt := range []struct {
		name, want string
		explain    func() (fmt.Stringer, error)
	}{
		{"a change", "subscription 2 gets an event", func() (fmt.Stringer, error) {
			return explain.Change(r5, nil, encounter, "", budget.New("test", time.Hour))
		}},
		{"a change to one subscription", "subscription 1 gets no event", func() (fmt.Stringer, error) {
			return explain.Change(r5, nil, encounter, "1", budget.New("test", time.Hour))
		}},
		{"a change to a classic subscription", "subscription classic gets no event", func() (fmt.Stringer, error) {
			return explain.Change(r4, nil, of4, "classic", budget.New("test", time.Hour))
		}},
		{"what happened", "subscription 0 gets no event", func() (fmt.Stringer, error) {
			return explain.Happened(r, explain.About{Resource: "Encounter/e"}, budget.New("test", time.Hour)), nil
		}},
		{"what happened to a classic subscription", "subscription classic gets an event", func() (fmt.Stringer, error) {
			return explain.Happened(r, explain.About{Subscription: "classic"}, budget.New("test", time.Hour)), nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			during(t, r5, room.Operation{Type: "Encounter", ID: "e"}, func() {
				if got, err := tt.explain(); err != nil || !strings.Contains(got.String(), tt.want) {
					t.Errorf("got %v, %v, want it to contain %q", got, err, tt.want)
				}
			})
		})
	}
}

// While explanations are made, everything that they read changes: resources, filters,
// criteria, topics, subscriptions. This is for the race detector; each explanation must
// also be consistent.
func TestExplain_BesideWrites(t *testing.T) {
	t.Parallel()
	const rounds = 30
	r5 := withSubscriptions(t, 10)
	r := r5.Room()
	r4 := r.Base(fhir.R4)
	delete := func(b *room.Base, typ, id string) {
		if _, err := b.Write(room.Operation{Method: http.MethodDelete, Type: typ, ID: id}, room.Request{}); err != nil {
			t.Error(err)
		}
	}
	writes := []func(i int){
		func(i int) {
			put(t, r5, "Encounter", "e", fmt.Sprintf(`"status":"in-progress","subject":{"reference":"Patient/%d"}`, i%10))
		},
		func(i int) { put(t, r5, "Subscription", "3", onTopic(i)) },
		func(i int) {
			put(t, r5, "Subscription", "passing", onTopic(i))
			delete(r5, "Subscription", "passing")
		},
		func(i int) {
			put(t, r5, "SubscriptionTopic", "t", topicOn("Encounter")+`,"title":"`+strconv.Itoa(i)+`"`)
		},
		func(i int) {
			// One transaction replaces the topic by another.
			id := "u" + strconv.Itoa(i%2)
			_, err := r5.Transaction([]room.Operation{
				{Method: http.MethodDelete, Type: "SubscriptionTopic", ID: "u" + strconv.Itoa((i+1)%2), Place: "Bundle.entry[0]"},
				{Method: http.MethodPut, Type: "SubscriptionTopic", ID: id, Object: parse(t, "SubscriptionTopic", id, `"url":"http://example.org/u","status":"active","resourceTrigger":[{"resource":"Encounter"}]`), Place: "Bundle.entry[1]"},
			}, room.Request{})
			if err != nil {
				t.Error(err)
			}
		},
		func(i int) {
			put(t, r4, "Subscription", "classic", classic("Encounter?status=in-progress"))
			put(t, r4, "Encounter", "e", `"status":"in-progress","class":{"code":"AMB"}`)
			delete(r4, "Subscription", "classic")
		},
	}
	encounter := parse(t, "Encounter", "e", `"status":"in-progress","subject":{"reference":"Patient/2"}`)
	of4 := parse(t, "Encounter", "e", `"status":"planned","class":{"code":"AMB"}`)
	agrees := func(e *explain.Explanation, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		for _, on := range e.Topics {
			if on.More != 0 {
				t.Errorf("%s: %d subscriptions are not listed, want all of them", on.Topic, on.More)
			}
			for _, v := range on.Subscriptions {
				if v.Sent && !v.Numbered || v.Numbered && !on.Fires {
					t.Errorf("%s: got %+v of a topic that fires: %t", on.Topic, v, on.Fires)
				}
			}
		}
	}
	reads := []func(){
		func() { agrees(explain.Change(r5, nil, encounter, "", budget.New("test", time.Hour))) },
		func() { agrees(explain.Change(r5, nil, encounter, "3", budget.New("test", time.Hour))) },
		func() { agrees(explain.Change(r4, nil, of4, "", budget.New("test", time.Hour))) },
		func() {
			_ = explain.Happened(r, explain.About{Resource: "Encounter/e"}, budget.New("test", time.Hour)).String()
		},
		func() { _ = r.State() },
		func() { _ = r5.TopicURLs() },
	}
	ended := make(chan struct{})
	var writing, reading sync.WaitGroup
	for _, read := range reads {
		reading.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					read()
				}
			}
		})
	}
	for _, write := range writes {
		writing.Go(func() {
			for i := range rounds {
				write(i)
			}
		})
	}
	writing.Wait()
	close(ended)
	reading.Wait()
}
