package journal

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"
)

// Filter selects entries; an empty field selects all.
type Filter struct {
	Kinds        []string
	Subscription string
	Socket       string
	Text         string    // found in any text of the entry, frame and bodies included, in any case
	After        uint64    // only entries with a greater Seq
	Upto         uint64    // only entries with at most this Seq; 0: all
	Since        time.Time // only entries of this time or later
	Limit        int       // only the newest entries, at most this many; 0: all
}

// Selects reports whether an entry is complete and passes the filter. It ignores Limit.
func (f *Filter) Selects(e *Entry) bool {
	return e.Kind != "" && e.Seq > f.After &&
		(f.Upto == 0 || e.Seq <= f.Upto) &&
		(f.Since.IsZero() || !e.Time.Before(f.Since)) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) &&
		(f.Subscription == "" || e.Subscription == f.Subscription) &&
		(f.Socket == "" || e.Socket == f.Socket) &&
		(f.Text == "" || e.mentions(f.Text))
}

// mentions reports whether any text of the entry contains text.
func (e *Entry) mentions(text string) bool {
	for _, field := range []string{e.Kind, e.Subscription, e.Socket, e.Topic, e.Resource, e.Interaction, e.Type, e.Dialect, e.Token, e.Text} {
		if contains(field, text) {
			return true
		}
	}
	if x := e.Exchange; x != nil {
		return contains(x.Method+" "+x.Path, text) || containsBytes(x.RequestBody, text) || containsBytes(x.ResponseBody, text)
	}
	return containsBytes(e.Frame, text)
}

func contains(in, text string) bool {
	return strings.Contains(strings.ToLower(in), strings.ToLower(text))
}

func containsBytes(in []byte, text string) bool {
	return len(in) > 0 && bytes.Contains(bytes.ToLower(in), bytes.ToLower([]byte(text)))
}

// atOnce is the number of entries copied under the lock at a time. Recording waits
// for no more.
const atOnce = 200

// Entries returns the selected entries that are kept, oldest first, without those that
// are reserved and not complete.
func (j *Journal) Entries(f Filter) []Entry {
	found := []Entry{}
	j.mu.Lock()
	last := j.seq
	j.mu.Unlock()
	for seq := f.After; seq < last; {
		j.mu.Lock()
		entries, skipped := j.copyLocked(seq, last, atOnce)
		j.mu.Unlock()
		if skipped > 0 {
			found = found[:0] // older than entries that were dropped meanwhile
		}
		seq += skipped + uint64(len(entries))
		for i := range entries {
			if f.Selects(&entries[i]) {
				found = append(found, entries[i])
			}
		}
	}
	if f.Limit > 0 && len(found) > f.Limit {
		found = found[len(found)-f.Limit:]
	}
	return found
}

// Entry returns one entry, or false if it is not kept or not complete.
func (j *Journal) Entry(seq uint64) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq == 0 || seq > j.seq || seq <= j.seq-uint64(len(j.ring)) {
		return Entry{}, false
	}
	e := j.ring[(seq-1)%uint64(j.size)]
	return e, e.Kind != ""
}

// Range returns the Seq of the oldest entry kept and of the last one before which every
// entry is complete; first is 0 if none is kept. Whoever has read up to last misses
// nothing.
func (j *Journal) Range() (first, last uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.ring) == 0 {
		return 0, j.seq
	}
	last, _ = j.settledLocked()
	return j.seq - uint64(len(j.ring)) + 1, last
}

// Span returns the Seq of the last reset, after which tallies count, and of the last entry.
// They are 0 if there was none.
func (j *Journal) Span() (reset, last uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.start, j.seq
}

// Keeps reports whether the journal keeps entries, rather than only counting them.
func (j *Journal) Keeps() bool { return j.size > 0 }

// settledLocked returns the Seq of the last entry before the first that readers wait for,
// and how long they do; 0 if there is none.
func (j *Journal) settledLocked() (last uint64, wait time.Duration) {
	for _, p := range j.pending {
		if wait := time.Until(p.until); wait > 0 {
			return p.seq - 1, wait
		}
	}
	return j.seq, 0
}

// Settle waits until every entry that is reserved now is complete, or readers wait for it
// no longer, or ctx ends.
func (j *Journal) Settle(ctx context.Context) {
	j.mu.Lock()
	last := j.seq
	j.mu.Unlock()
	for {
		j.mu.Lock()
		settled, wait := j.settledLocked()
		changed := j.changedLocked()
		j.mu.Unlock()
		if settled >= last || !await(ctx, changed, wait) {
			return
		}
	}
}

// await returns when changed is closed or, unless it is 0, wait has passed. It returns
// false if ctx ended before.
func await(ctx context.Context, changed <-chan struct{}, wait time.Duration) bool {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-changed:
	case <-over:
	case <-ctx.Done():
		return false
	}
	return true
}

// Follow returns up to most entries after seq, oldest first. It waits until there
// is one or ctx ends. skipped is the number of entries after seq that are no
// longer kept. Entries without a Kind were given up: see [Journal.Reserve].
func (j *Journal) Follow(ctx context.Context, seq uint64, most int) (entries []Entry, skipped uint64, err error) {
	return j.follow(ctx, seq, most, j.settledLocked)
}

// FollowAtOnce is Follow for a reader that waits for no reserved entry, since it does not
// ask for exchanges. Such an entry has no Kind, and the reader does not get it again when
// it is complete.
func (j *Journal) FollowAtOnce(ctx context.Context, seq uint64, most int) (entries []Entry, skipped uint64, err error) {
	return j.follow(ctx, seq, most, func() (uint64, time.Duration) { return j.seq, 0 })
}

// follow waits for entries up to the one whose Seq upto returns. It calls upto with the
// lock held.
func (j *Journal) follow(ctx context.Context, seq uint64, most int, upto func() (uint64, time.Duration)) (entries []Entry, skipped uint64, err error) {
	for {
		entries, skipped, changed, wait := j.after(seq, most, upto)
		if len(entries) > 0 || skipped > 0 {
			return entries, skipped, nil
		}
		if !await(ctx, changed, wait) {
			return nil, 0, ctx.Err()
		}
	}
}

// after copies up to most kept entries after seq, none after the one that upto returns. If
// there is none, there may be one when changed is closed or, unless it is 0, wait has
// passed.
func (j *Journal) after(seq uint64, most int, upto func() (uint64, time.Duration)) (entries []Entry, skipped uint64, changed <-chan struct{}, wait time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last, wait := upto()
	if seq >= last {
		return nil, 0, j.changedLocked(), wait
	}
	entries, skipped = j.copyLocked(seq, last, most)
	return entries, skipped, nil, 0
}

// changedLocked returns a channel that is closed by the next entry, or the next one that
// is completed.
func (j *Journal) changedLocked() <-chan struct{} {
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// copyLocked copies the kept entries after seq, up to last and at most so many. skipped is
// the number of entries after seq that are no longer kept.
func (j *Journal) copyLocked(seq, last uint64, most int) (entries []Entry, skipped uint64) {
	if oldest := j.seq - uint64(len(j.ring)); seq < oldest {
		skipped, seq = oldest-seq, oldest
	}
	if seq >= last {
		return nil, skipped
	}
	last = min(last, seq+uint64(most))
	entries = make([]Entry, 0, last-seq)
	for ; seq < last; seq++ {
		entries = append(entries, j.ring[seq%uint64(j.size)])
	}
	return entries, skipped
}
