package socket

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
	"signalfhir/internal/subscription"
)

// What faults make of a frame before it joins the line.

// aboutLocked returns what a fault may want to know of a frame. Its dialect is that of its
// binding or, if it has none, that of the client's last message.
func (s *Socket) aboutLocked(f subscription.Frame) fault.About {
	return fault.About{Subscription: f.Subscription, Also: f.Also, Socket: s.id, Dialect: cmp.Or(f.Dialect, s.dialect), Release: string(f.Release), Path: s.route, Type: string(f.Type), First: f.First, Last: f.Last}
}

// subject returns what a text calls a frame.
func subject(a fault.About) string {
	switch {
	case a.First > 0 && a.First == a.Last:
		return fmt.Sprintf("event %d", a.First)
	case a.First > 0:
		return fmt.Sprintf("events %d to %d", a.First, a.Last)
	}
	return "the " + a.Type
}

// sentence returns a text about a frame: what happened to it, "was dropped".
func sentence(a fault.About, what string) string {
	if rest, is := strings.CutPrefix(what, "was "); is && a.Last > a.First {
		what = "were " + rest
	}
	return subject(a) + " " + what
}

// act is what a fault did to a frame, for the journal.
type act struct {
	rule  *fault.Rule
	text  string
	stays bool // also if a later fault drops the frame
}

// tamperLocked applies the faults to a frame, in order. It returns what is to be sent
// instead: nothing, the frame, or several. The journal gets what has come of it: of a frame
// that is dropped, nothing that was done to it before.
func (s *Socket) tamperLocked(l *line, h *held) (all []*held) {
	a, content, acts := h.about, fhir.Tamper(h.frame.Bytes), []act(nil)
	if by := l.shift(a.Subscription); by != 0 {
		_ = fault.Renumber(content, func(n int64) int64 { return n + by }) // or it has no numbers
	}
	var dropped *fault.Rule
	for _, r := range s.faults.On(fault.OnFrame) {
		if dropped != nil || !r.Applies(a) {
			continue
		}
		done := func(format string, args ...any) *act {
			acts = append(acts, act{rule: r, text: sentence(a, fmt.Sprintf(format, args...)+" by fault "+r.Name)})
			return &acts[len(acts)-1]
		}
		cannot := func(err error) {
			r.Undo()
			acts = append(acts, act{r, fmt.Sprintf("fault %s (%s) could not be applied to %s: %v", r.Name, r.Action, subject(a), err), true})
		}
		switch r.Action {
		case fault.Drop, fault.NoHandshake, fault.NoHeartbeat:
			acts = slices.DeleteFunc(acts, func(one act) bool {
				if !one.stays {
					one.rule.Undo()
				}
				return !one.stays
			})
			done("was dropped")
			dropped = r
		case fault.Delay:
			wait := r.Wait()
			h.holds = append(h.holds, &hold{by: r, of: h, due: s.faults.Elapsed() + wait, firm: !r.Overtake})
			done("was delayed for %s", wait)
		case fault.Duplicate:
			h.copies += r.Copies()
			done("was sent %d times", h.copies)
		case fault.Swap:
			switch {
			case a.Subscription == "":
				cannot(errors.New("it is of no subscription"))
			case len(l.swaps[a.Subscription]) > 0:
				r.Undo() // it is the one that passes
			default:
				h.holds = append(h.holds, &hold{by: r, of: h})
				done("was held until the next frame of its subscription was sent")
			}
		case fault.SkipNumber, fault.RepeatNumber:
			by := r.Shift()
			if err := fault.Renumber(content, func(n int64) int64 { return n + by }); err != nil {
				cannot(err)
				continue
			}
			l.addShift(a.Subscription, r, by)
			done("got a number changed by %+d, as what follows does,", by).stays = true
		case fault.HeartbeatFirst:
			beat, err := r.Heartbeat(content.Bytes())
			if err != nil {
				cannot(err)
				continue
			}
			first := &held{frame: h.frame, sent: h.sent, about: a, copies: 1, extra: true}
			first.frame.Type, first.about.Type = fhir.Heartbeat, string(fhir.Heartbeat)
			first.change(beat)
			all = append(all, first)
			done("came after a heartbeat").stays = true
		default:
			did, err := r.Change(content)
			if err != nil {
				cannot(err)
				continue
			}
			done("%s", did)
		}
	}
	for _, one := range acts {
		s.faults.Record(one.rule, a, one.text)
	}
	if dropped != nil {
		s.noteLost(a, "was dropped by fault "+dropped.Name)
		return all
	}
	if changed := content.Bytes(); !bytes.Equal(changed, h.frame.Bytes) {
		h.change(changed)
	}
	return append(all, h)
}

// change gives the frame other bytes. Those that it had are shared.
func (h *held) change(to []byte) { h.frame.Bytes, h.frame.Waiting = to, nil }

// noteLost writes to the journal that events did not reach the socket.
func (s *Socket) noteLost(a fault.About, what string) {
	has := "; $events has it"
	if a.Last > a.First {
		has = "; $events has them"
	}
	if a.First > 0 {
		s.room.Record(journal.Entry{Kind: journal.NotSent, Subscription: a.Subscription, Socket: s.id, First: a.First, Last: a.Last, Text: sentence(a, what) + has})
	}
}

// shift returns by how much the numbers of a subscription are shifted.
func (l *line) shift(subscription string) (by int64) {
	for _, one := range l.shifts[subscription] {
		by += one
	}
	return by
}

func (l *line) addShift(subscription string, r *fault.Rule, by int64) {
	if l.shifts[subscription] == nil {
		l.shifts[subscription] = map[*fault.Rule]int64{}
	}
	l.shifts[subscription][r] += by
}
