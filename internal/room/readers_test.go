package room_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
	"signalfhir/internal/subscription"
)

// client is a socket that accepts all frames and drops them.
type client struct{}

func (client) ID() string                                                     { return "s1" }
func (client) Send(subscription.Frame, func(string, subscription.Frame)) bool { return true }
func (client) Ready(int64) <-chan struct{}                                    { return nil }
func (client) Lost(string, int64) (int64, bool)                               { return 0, true }
func (client) WhyClosing() string                                             { return "" }

func (client) Unbound(string, subscription.Reason, int) {}

// During a write, here one that applies a patch, everything can be read and sockets can
// bind. The patch runs under the write lock once three rehearsals were for a version that
// was replaced meanwhile.
func TestReaders_DoNotWaitForAWrite(t *testing.T) {
	t.Parallel()
	r, refused := room.New(room.Options{Releases: []fhir.Release{fhir.R4}})
	if refused != nil {
		t.Fatal(refused)
	}
	defer r.Close()
	b := r.Base(fhir.R4)
	put(t, b, "Patient", "p", `"active":true`)
	put(t, b, "Subscription", "classic", `"status":"requested","reason":"x","criteria":"Patient?active=true","channel":{"type":"websocket"}`)

	readers := map[string]func() bool{
		"state":         func() bool { return len(r.State().Subscriptions) == 1 },
		"counts":        func() bool { return r.Counts().Resources == 2 },
		"topics":        func() bool { return len(b.TopicURLs()) == 0 && len(b.TopicsFor("Patient")) == 0 },
		"bind":          func() bool { return r.BindLegacy(client{}, "classic") == nil },
		"bind of none":  func() bool { return r.BindLegacy(client{}, "none") != nil },
		"criteria":      func() bool { return len(b.Criteria()) == 1 && b.CriteriaOf("classic") != nil },
		"status":        func() bool { _, err := b.Status("classic"); return err == nil },
		"binding token": func() bool { _, err := b.BindingToken([]string{"classic"}); return err == nil },
		"search": func() bool {
			page, err := b.Search(t.Context(), "Patient", url.Values{"active": {"true"}}, true, 1<<20)
			return err == nil && page.Total == 1
		},
	}
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			rehearsals := 0
			patch := func(current *fhir.Object, _ *budget.Budget) (*fhir.Object, error) {
				if rehearsals++; rehearsals <= 3 {
					_, err := b.Update("Patient", "p", current.Clone(), room.Request{})
					return current.Clone(), err
				}
				done := make(chan bool)
				go func() { done <- read() }()
				select {
				case ok := <-done:
					if !ok {
						t.Error("got a wrong result during a write")
					}
				case <-time.After(10 * time.Second):
					go func() { <-done }()
					t.Error("it waits for the write to finish")
				}
				return current.Clone(), nil
			}
			if _, err := b.Write(room.Operation{Method: http.MethodPatch, Type: "Patient", ID: "p", Patch: patch}, room.Request{}); err != nil || rehearsals != 4 {
				t.Errorf("got %v after %d patches, want that the fourth runs under the lock", err, rehearsals)
			}
		})
	}
}
