package synth

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Plots: what happens to one patient, as a sequence of writes. Random choices are
// made when a plot begins, so that they stay the same from its first write to its
// last.

// stay is an admission to a hospital ward and everything until the discharge. An
// emergency is not planned; one in ten of the others is cancelled before it begins.
func (s *story) stay(r *role) []beat {
	v := s.newVisit(r)
	var before []beat
	if !v.kind.unannounced {
		before = []beat{func(now time.Time) Write {
			v.planned = now
			return put("admission planned", s.encounter(v, "planned"))
		}}
		if s.chance(10) {
			return append(before, func(time.Time) Write {
				return put("admission cancelled", s.encounter(v, "cancelled"))
			})
		}
	}
	admitted := func(now time.Time) Write {
		v.start = now
		return put("admitted", s.encounter(v, "in-progress"))
	}
	discharged := func(now time.Time) Write {
		v.end = now
		return put("discharged", s.encounter(v, "completed"))
	}
	// Labs and the task interleave.
	meanwhile := s.mix(s.labs(r, v, 1+s.rand.IntN(maxLabs)), s.task(r, v))
	return slices.Concat(before, []beat{admitted}, meanwhile, []beat{discharged})
}

// labResults is a round of laboratory results for an outpatient.
func (s *story) labResults(r *role) []beat {
	return s.labs(r, nil, 1+s.rand.IntN(maxLabs))
}

// tasks is one task from the request to its end.
func (s *story) tasks(r *role) []beat { return s.task(r, nil) }

// maxLabs bounds the results of one patient at a time.
const maxLabs = 3

// labs are the results of different tests. A result may be preliminary first, and may
// be corrected after it was final.
func (s *story) labs(r *role, v *visit, count int) []beat {
	tests := s.sample(len(labTests()), count)
	var beats []beat
	for i, test := range tests {
		l := s.newLab(fmt.Sprintf("%s-lab-%d", r.id, i+1), r, v, labTests()[test])
		if s.chance(3) {
			beats = append(beats, func(now time.Time) Write {
				l.taken = now
				return put("preliminary "+l.test.short, s.observation(l, "preliminary", now))
			})
		}
		beats = append(beats, func(now time.Time) Write {
			if l.taken.IsZero() {
				l.taken = now
			}
			return put("result "+l.test.short, s.observation(l, "final", now))
		})
		if s.chance(6) {
			corrected := l.test.draw(s.rand)
			beats = append(beats, func(now time.Time) Write {
				l.value = corrected
				return put("corrected "+l.test.short, s.observation(l, "amended", now))
			})
		}
	}
	return beats
}

// task is a task for the nurse. One in eight is rejected, one in eight fails, and some
// wait for a while.
func (s *story) task(r *role, v *visit) []beat {
	t := s.newChore(r.id+"-task", r, v)
	statuses := []string{"requested", "accepted", "in-progress", "completed"}
	switch s.rand.IntN(8) {
	case 0:
		statuses = []string{"requested", "rejected"}
	case 1:
		statuses = []string{"requested", "accepted", "in-progress", "failed"}
	case 2:
		statuses = []string{"requested", "accepted", "in-progress", "on-hold", "in-progress", "completed"}
	}
	var beats []beat
	for _, status := range statuses {
		beats = append(beats, func(now time.Time) Write {
			t.reach(status, now)
			return put("task "+status, s.taskResource(t, status, now))
		})
	}
	return beats
}

// mix merges two sequences at random and keeps the order of each.
func (s *story) mix(a, b []beat) []beat {
	mixed := make([]beat, 0, len(a)+len(b))
	for len(a)+len(b) > 0 {
		if s.rand.IntN(len(a)+len(b)) < len(a) {
			mixed, a = append(mixed, a[0]), a[1:]
		} else {
			mixed, b = append(mixed, b[0]), b[1:]
		}
	}
	return mixed
}

// sample returns count different numbers from 0 to n-1.
func (s *story) sample(n, count int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	for i := range count {
		j := i + s.rand.IntN(n-i)
		all[i], all[j] = all[j], all[i]
	}
	return all[:count]
}

// visit is one stay of a patient.
type visit struct {
	id, number          string
	role                *role
	kind                visitKind
	reason              code
	source, destination code
	bed                 string
	planned, start, end time.Time
}

func (s *story) newVisit(r *role) *visit {
	kind := pick(s.rand, visitKinds())
	return &visit{
		id:          r.id,
		number:      fmt.Sprintf("%s-%04d", r.id, r.visits%10_000),
		role:        r,
		kind:        kind,
		reason:      pick(s.rand, reasons()),
		source:      pick(s.rand, kind.sources),
		destination: pick(s.rand, dispositions()),
		bed:         "Bed " + strconv.Itoa(1+s.rand.IntN(24)),
	}
}

// lab is one laboratory result.
type lab struct {
	id    string
	role  *role
	visit *visit // nil: outside a stay
	test  labTest
	value string
	taken time.Time
}

func (s *story) newLab(id string, r *role, v *visit, test labTest) *lab {
	return &lab{id: id, role: r, visit: v, test: test, value: test.draw(s.rand)}
}

// chore is one task.
type chore struct {
	id                       string
	role                     *role
	visit                    *visit // nil: outside a stay
	work                     string
	priority                 string
	authored, started, ended time.Time
}

func (s *story) newChore(id string, r *role, v *visit) *chore {
	return &chore{
		id:       id,
		role:     r,
		visit:    v,
		work:     pick(s.rand, work()),
		priority: pick(s.rand, []string{"routine", "routine", "routine", "urgent", "asap", "stat"}),
	}
}

// reach records when a status was reached.
func (c *chore) reach(status string, now time.Time) {
	switch status {
	case "requested":
		c.authored = now
	case "in-progress":
		if c.started.IsZero() {
			c.started = now
		}
	case "completed", "failed":
		c.ended = now
	}
}
