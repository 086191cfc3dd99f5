package subscription_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"signalfhir/internal/fhir"
	"signalfhir/internal/subscription"
)

// looking is a filter by one of several values of one of two members. Without values,
// everything passes it and it is not indexed.
type looking struct {
	member string
	values []string
}

func (f looking) Match(res *fhir.Resource) (bool, []string) {
	got, applies := f.Values(res)
	passes := len(f.values) == 0 || !applies || slices.ContainsFunc(f.values, func(v string) bool { return slices.Contains(got, v) })
	return passes, []string{fmt.Sprint(f.member, f.values)}
}

func (f looking) Index() (string, []string) {
	if len(f.values) == 0 {
		return "", nil
	}
	return f.member, f.values
}

func (f looking) Values(res *fhir.Resource) ([]string, bool) {
	var values []string
	for _, v := range res.Object.Array(f.member) {
		values = append(values, v.(string))
	}
	return values, res.Type == "Encounter"
}

// However subscriptions come, change, move and go: an event reaches those whose
// filters let it pass, once each, in order of creation. The others are explained
// or counted.
func TestAppend_FindsExactlyThoseWhoseFiltersPass(test *testing.T) {
	test.Parallel()
	rapid.Check(test, func(t *rapid.T) {
		r := newRig(test, silent)
		filters := map[string]looking{}
		var order []string
		values := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := strconv.Itoa(rapid.IntRange(1, 30).Draw(t, "id"))
			switch rapid.SampledFrom([]string{"put", "put", "put", "move", "remove", "append", "append"}).Draw(t, "step") {
			case "put":
				f := looking{rapid.SampledFrom([]string{"x", "y"}).Draw(t, "member"), values.Draw(t, "values")}
				slices.Sort(f.values)
				if _, known := filters[id]; !known {
					order = append(order, id)
				}
				filters[id] = f
				r.Put(spec(id, func(s *subscription.Spec) { s.Filter = f }))
			case "move": // the other topic has no subscription of this model
				if _, known := filters[id]; known {
					r.Put(spec(id, onTopic("u")))
					r.Append("u", occurrence(), state)
					r.Put(spec(id, func(s *subscription.Spec) { s.Filter = filters[id] }))
				}
			case "remove":
				r.Remove(id)
				delete(filters, id)
				order = slices.DeleteFunc(order, func(other string) bool { return other == id })
			case "append":
				res := fhir.NewResource(fhir.R5, fhir.NewObject("resourceType", rapid.SampledFrom([]string{"Encounter", "Patient"}).Draw(t, "type"), "id", "1",
					"x", list(values.Draw(t, "x")), "y", list(values.Draw(t, "y"))))
				var want []string
				for _, id := range order {
					if passes, _ := filters[id].Match(res); passes {
						want = append(want, id)
					}
				}
				var got []string
				explained := 0
				deliveries, others := r.Append("t", occurrence(), res)
				for _, d := range deliveries {
					if d.Number > 0 {
						got = append(got, d.Subscription)
					} else {
						explained++
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("the event reached %v, want %v", got, want)
				}
				if len(got)+explained+others != len(order) {
					t.Fatalf("%d got it, %d were explained, %d only counted: want %d in all", len(got), explained, others, len(order))
				}
			}
		}
	})
}

func list(values []string) []any {
	all := []any{}
	for _, v := range values {
		all = append(all, v)
	}
	return all
}

// slow is a filter that calls a function while it is evaluated.
type slow struct{ meanwhile func() }

func (f slow) Match(*fhir.Resource) (bool, []string)       { f.meanwhile(); return true, []string{"slow"} }
func (f slow) Index() (string, []string)                   { return "", nil }
func (f slow) Values(*fhir.Resource) (v []string, ok bool) { return nil, false }

// A subscription takes events while its filters are evaluated for an assessment.
func TestAssess_DoesNotDelayEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent)
	asked := 0
	meanwhile := func() {
		asked++
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := r.AppendTo("s", fhir.NewOccurrence(start, nil, nil)); err != nil {
				t.Error(err)
			}
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("an event waits for the filter")
		}
	}
	s := spec("s")
	s.Filter = slow{meanwhile}
	r.Put(s)
	state := &fhir.Resource{Type: "Encounter", ID: "e"}
	if stands, more := r.Assess(s.TopicKey, state, "", 10); len(stands) != 1 || more != 0 || !stands[0].Passes || stands[0].Next != 1 {
		t.Errorf("got %+v and %d more", stands, more)
	}
	if stand, ok := r.AssessOne("s", state); !ok || stand.Next != 2 || asked != 2 {
		t.Errorf("got %+v, %t after %d questions", stand, ok, asked)
	}
}

func TestAssess_CountsThoseItLeavesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, silent)
	for i := range 5 {
		r.Put(spec(fmt.Sprint(i)))
	}
	key, state := spec("0").TopicKey, &fhir.Resource{Type: "Encounter", ID: "e"}
	for _, tt := range []struct {
		wanted          string
		most            int
		listed, further int
	}{{"", 10, 5, 0}, {"", 5, 5, 0}, {"", 2, 2, 3}, {"3", 2, 1, 0}, {"none", 2, 0, 0}} {
		if stands, more := r.Assess(key, state, tt.wanted, tt.most); len(stands) != tt.listed || more != tt.further {
			t.Errorf("%q, at most %d: got %d and %d more, want %d and %d", tt.wanted, tt.most, len(stands), more, tt.listed, tt.further)
		}
	}
}
