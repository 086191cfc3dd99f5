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
	Since        time.Time // only entries of this time or later
	Limit        int       // only the newest entries, at most this many; 0: all
}

// Selects reports whether an entry passes the filter. It ignores Limit.
func (f *Filter) Selects(e *Entry) bool {
	return e.Seq > f.After &&
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
		entries, skipped := j.copyLocked(seq, min(last, seq+atOnce))
		j.mu.Unlock()
		if skipped > 0 {
			found = found[:0] // older than what was let go meanwhile
		}
		seq += skipped + uint64(len(entries))
		for i := range entries {
			if entries[i].Kind != "" && f.Selects(&entries[i]) {
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
	return j.seq - uint64(len(j.ring)) + 1, j.settledLocked()
}

// settledLocked returns the Seq of the last entry before the first that is not complete.
func (j *Journal) settledLocked() uint64 {
	if len(j.pending) > 0 {
		return j.pending[0] - 1
	}
	return j.seq
}

// Settle waits until every entry that is reserved now is complete, or ctx ends.
func (j *Journal) Settle(ctx context.Context) {
	j.mu.Lock()
	last := j.seq
	for j.settledLocked() < last {
		changed := j.changedLocked()
		j.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		j.mu.Lock()
	}
	j.mu.Unlock()
}

// Follow returns up to most entries after seq, oldest first. It waits until there
// is one or ctx ends. skipped is the number of entries after seq that are no
// longer kept.
func (j *Journal) Follow(ctx context.Context, seq uint64, most int) (entries []Entry, skipped uint64, err error) {
	for {
		entries, skipped, changed := j.after(seq, most)
		if len(entries) > 0 || skipped > 0 {
			return entries, skipped, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// after copies up to most kept entries after seq, none after one that is not complete.
// If there is none, changed is closed when there may be one.
func (j *Journal) after(seq uint64, most int) (entries []Entry, skipped uint64, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	settled := j.settledLocked()
	if seq >= settled {
		return nil, 0, j.changedLocked()
	}
	entries, skipped = j.copyLocked(seq, settled)
	return entries[:min(most, len(entries))], skipped, nil
}

// changedLocked returns a channel that is closed by the next entry, or the next one that
// is completed.
func (j *Journal) changedLocked() <-chan struct{} {
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// copyLocked copies the kept entries after seq, up to last. skipped is the number of
// entries after seq that are no longer kept.
func (j *Journal) copyLocked(seq, last uint64) (entries []Entry, skipped uint64) {
	if oldest := j.seq - uint64(len(j.ring)); seq < oldest {
		skipped, seq = oldest-seq, oldest
	}
	if seq >= last {
		return nil, skipped
	}
	entries = make([]Entry, 0, last-seq)
	for ; seq < last; seq++ {
		entries = append(entries, j.ring[seq%uint64(j.size)])
	}
	return entries, skipped
}
