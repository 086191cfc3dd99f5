package room

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"signalfhir/internal/budget"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/seed"
	"signalfhir/internal/synth"
)

// load fills a new room.
func (r *Room) load(s *seed.Seed) error {
	r.write.Lock()
	err := r.fillLocked(s)
	r.write.Unlock()
	return r.generate(s, err)
}

// fillLocked writes a seed, or nothing, to the empty room, with the same checks as for a
// client's writes. It writes topics before subscriptions, whatever their order in the file.
func (r *Room) fillLocked(s *seed.Seed) error {
	holds := "the room holds its seed"
	if s == nil && r.options.Seed != nil {
		holds = "the room holds nothing"
	}
	// The counts start after the seed, which is not an event of interest.
	defer r.journal.Record(journal.Entry{Kind: journal.Reset, Text: holds})
	if s == nil {
		return nil
	}
	for _, b := range r.bases {
		if err := b.loadLocked(s); err != nil {
			return err
		}
	}
	return nil
}

// generate adds the generators of a seed, unless filling the room has failed. They start
// as the seed says, unless the room starts none.
func (r *Room) generate(s *seed.Seed, failed error) error {
	if s == nil || failed != nil {
		return failed
	}
	specs := s.Generators
	if r.options.GeneratorsOff {
		specs = slices.Clone(specs)
		for i := range specs {
			specs[i].Running = false
		}
	}
	return r.generators.Reset(specs)
}

// loadLocked writes the resources of a seed to the base. A topic is only compiled if
// the release has no resource for topics. A seed that any room has loaded before is not
// checked again: the form of its resources depends on nothing else, and checking takes
// longer than storing.
func (b *Base) loadLocked(s *seed.Seed) error {
	form := seed.Check{Release: b.release, Invariants: !b.room.options.SkipInvariants}
	checked := s.Passed(form)
	whole := budget.New("seed", budget.Bundle)
	resources := s.Resources[b.release]
	for _, topics := range []bool{true, false} {
		for i, o := range resources {
			typ, id := o.Text("resourceType"), o.Text("id")
			if (typ == "SubscriptionTopic") != topics {
				continue
			}
			var err error
			within := whole.Part("resource", budget.Request)
			if topics && !b.release.IsResourceType(typ) {
				err = b.loadTopicLocked(id, o, checked)
			} else {
				if !checked {
					_, err = b.Check(typ, o, within)
				}
				if err == nil {
					err = b.writeLocked(Operation{Method: http.MethodPut, Type: typ, ID: id, Object: o.Clone()}, Request{Base: b.url(), Seeded: true, Budget: within})
				}
			}
			if err != nil {
				for j, issue := range fhir.IssuesOf(err) {
					fhir.IssuesOf(err)[j].Diagnostics = fmt.Sprintf("%s resources[%d] (%s/%s): %s", b.release, i, typ, id, issue.Diagnostics)
				}
				return err
			}
		}
	}
	s.Pass(form)
	return nil
}

// loadTopicLocked compiles a topic in the form of R5 for a release that cannot store
// it. If checked is true, its form is known to be valid.
func (b *Base) loadTopicLocked(id string, o *fhir.Object, checked bool) error {
	if !checked {
		if err := fhir.RefuseAll(fhir.R5.Validate(o)); err != nil {
			return err
		}
	}
	read, issues := b.release.ReadTopic(o)
	compiled, more := b.compile(read)
	if err := fhir.RefuseAll(append(issues, more...)); err != nil {
		return err
	}
	b.topics.Put("SubscriptionTopic/"+id, compiled)
	return nil
}

// Reset restores the seed. It removes tokens and everything that was written since, and
// takes the clock back to how the room began.
// Sockets stay open, but their bindings end. No write comes between: each finds the room as
// it was before, or with its seed.
func (r *Room) Reset() error { return r.reset(r.options.Seed) }

// Clear does what Reset does, but leaves the room without a seed, until the next Reset.
func (r *Room) Clear() error { return r.reset(nil) }

func (r *Room) reset(to *seed.Seed) error {
	if err := r.checkOpen(); err != nil {
		return err
	}
	defer func() {
		if r.open.Err() != nil { // it closed meanwhile; the generators are running again
			r.Close()
		}
	}()
	r.scenarios.Reset("the room was reset")
	defer r.endRound()()
	r.generators.Close()
	r.faults.Reset("the room was reset")
	r.resetClock()
	if r.heldMuch() {
		defer r.options.Memory.Freed()
	}
	r.write.Lock()
	r.stopTriggersLocked(fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the room was reset"))
	r.subscriptions.Reset()
	r.generations.Clear()
	for _, b := range r.bases {
		b.topics.Clear()
		b.store.Reset()
		b.classic.clear()
	}
	r.tokens.Reset()
	r.users.Store(nil)
	_ = r.useSettings(r.options.Settings) // New has used them
	_ = r.useManners(r.options.Manners)   // likewise
	r.began.Store(r.clock.Now().UnixNano())
	err := r.fillLocked(to)
	r.write.Unlock()
	return r.generate(to, err)
}

// generatorWrites writes to a room for its generators, as a client does.
type generatorWrites struct{ room *Room }

// Apply does one write of a scenario on the releases of its generator. It tries all
// releases and returns the first refusal.
func (g generatorWrites) Apply(w synth.Write) error {
	var refused error
	for i, b := range g.room.bases {
		if len(w.Releases) == 0 && i > 0 || len(w.Releases) > 0 && !slices.ContainsFunc(w.Releases, func(name string) bool { return strings.EqualFold(name, string(b.release)) }) {
			continue
		}
		if err := b.apply(w); err != nil && refused == nil {
			refused = err
		}
	}
	return refused
}

func (b *Base) apply(w synth.Write) error {
	q := Request{Base: b.url()}
	if w.Method == http.MethodDelete {
		_, err := b.Write(Operation{Method: http.MethodDelete, Type: w.Type, ID: w.ID}, q)
		return err
	}
	o, err := b.release.Adapt(w.Object), error(nil)
	if w.Method == http.MethodPost {
		_, err = b.Create(w.Type, o, "", q)
	} else {
		_, err = b.Update(w.Type, w.ID, o, q)
	}
	return err
}
