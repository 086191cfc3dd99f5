package room

import (
	"fmt"
	"net/http"

	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/synth"
)

// load puts the seed into the room, through the same checks as a client's
// writes. Topics come before subscriptions whatever their order in the file.
func (r *Room) load() *fhir.Error {
	// Counting begins once the seed is there: it is no news to anybody.
	defer r.journal.Record(journal.Entry{Kind: journal.Reset, Text: "the room holds its seed"})
	s := r.options.Seed
	if s == nil {
		return nil
	}
	r.write.Lock()
	b := r.bases[0]
	for _, topics := range []bool{true, false} {
		for i, o := range s.Resources {
			typ, id := o.Text("resourceType"), o.Text("id")
			if (typ == "SubscriptionTopic") != topics {
				continue
			}
			err := b.check(typ, o)
			if err == nil && !fhir.IsID(id) {
				err = fhir.Refuse(http.StatusBadRequest, "value", "a seeded resource needs a valid id, got %q", id).At(typ + ".id")
			}
			if err == nil {
				_, err = b.updateLocked(typ, id, o.Clone(), Request{Base: b.url()})
			}
			if err != nil {
				r.write.Unlock()
				for j := range err.Issues {
					err.Issues[j].Diagnostics = fmt.Sprintf("resources[%d] (%s/%s): %s", i, typ, id, err.Issues[j].Diagnostics)
				}
				return err
			}
		}
	}
	r.write.Unlock()
	return r.generators.Reset(s.Generators)
}

// Reset returns the room to its seed: sockets stay open but lose their
// bindings, tokens and everything written since are gone.
func (r *Room) Reset() *fhir.Error {
	r.generators.Close()
	r.write.Lock()
	r.stopTriggersLocked()
	r.subscriptions.Reset()
	r.lives.Clear()
	for _, b := range r.bases {
		b.topics.Clear()
		b.store.Reset()
		clear(b.classic)
	}
	r.tokens.Reset()
	r.write.Unlock()
	return r.load()
}

// generatorWrites lets generators write like clients.
type generatorWrites struct{ room *Room }

// Apply performs one write of a scenario.
func (g generatorWrites) Apply(w synth.Write) *fhir.Error {
	b := g.room.bases[0]
	q := Request{Base: b.url()}
	switch w.Method {
	case http.MethodDelete:
		return b.Delete(w.Type, w.ID, q)
	case http.MethodPost:
		_, err := b.Create(w.Type, w.Object, "", q)
		return err
	default:
		_, err := b.Update(w.Type, w.ID, w.Object, q)
		return err
	}
}
