// Package logwriter writes a log without ever holding up whoever logs.
//
// A log mostly goes to a pipe, and a pipe that nobody reads is full after 64 kB. A write
// to it then blocks, and with it the request that logs. So a [Writer] only puts lines
// into a buffer of bounded size, and one goroutine writes them. While the buffer is full,
// lines are dropped and counted; once the goroutine can write again, a line in the place
// of the lost ones says how many they were.
//
// The package knows no format: the owner of the log words that line.
package logwriter

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultSize is the size of the buffer that a server needs: some ten thousand lines.
const DefaultSize = 1 << 20

// Writer is an [io.Writer] that does not block. Each Write is to be one line, or several
// whole ones. It is safe for concurrent use.
type Writer struct {
	out  io.Writer
	size int
	hide func(lines []byte) []byte
	wake chan struct{} // has a value if there may be something to write
	done chan struct{} // closed when the goroutine has ended

	dropped atomic.Uint64 // lines, ever

	mu      sync.Mutex // guards all below
	waiting []byte     // lines that are not being written yet, at most size bytes
	missed  uint64     // lines dropped after the last one that waits
	note    func(dropped uint64) []byte
	closed  bool
}

// New returns a writer to out that buffers up to size bytes. As many again may be on
// their way to out. hide returns lines without what a log may not show, whoever logs it.
func New(out io.Writer, size int, hide func(lines []byte) []byte) *Writer {
	w := &Writer{out: out, size: size, hide: hide, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.note = func(dropped uint64) []byte { return []byte(Note(dropped) + "\n") }
	go w.run()
	return w
}

// Note returns the text of the line that stands for dropped lines.
func Note(dropped uint64) string {
	if dropped == 1 {
		return "1 log line was dropped: the log was not read fast enough"
	}
	return fmt.Sprintf("%d log lines were dropped: the log was not read fast enough", dropped)
}

// SetNote sets the form of the line that stands for dropped lines. note must not call
// the writer.
func (w *Writer) SetNote(note func(dropped uint64) []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note = note
}

// Unwrap returns what the writer writes to, so that the log can find out whether that is
// a terminal.
func (w *Writer) Unwrap() io.Writer { return w.out }

// Dropped returns how many lines were dropped since the start.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Write keeps lines to be written, or drops them. It never fails.
func (w *Writer) Write(lines []byte) (int, error) {
	size := len(lines)
	lines = w.hide(lines)
	w.mu.Lock()
	defer w.mu.Unlock()
	// While lines are missing, those that follow are dropped too, also short ones that
	// would fit: the note stands where the lost lines would.
	if w.closed || w.missed > 0 || len(w.waiting)+len(lines) > w.size {
		n := count(lines)
		w.missed += n
		w.dropped.Add(n)
	} else {
		w.waiting = append(w.waiting, lines...)
	}
	if !w.closed {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return size, nil
}

// count returns how many lines a text has, at least one.
func count(lines []byte) uint64 { return uint64(max(1, bytes.Count(lines, []byte("\n")))) }

// Close writes what waits, for at most patience, and reports whether that was enough time.
// What is logged later is dropped. A write that blocks goes on until the process ends.
func (w *Writer) Close(patience time.Duration) bool {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
	w.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.done:
		return true
	case <-timer.C:
		return false
	}
}

// run writes what waits until Close.
func (w *Writer) run() {
	defer close(w.done)
	for range w.wake {
		w.flush()
	}
	w.flush()
}

// flush writes until nothing waits. If out fails, it is tried again with the next line: a
// disk may be full for a while only.
func (w *Writer) flush() {
	for {
		lines, missed := w.take()
		if len(lines) == 0 {
			return
		}
		if n, err := w.out.Write(lines); err != nil {
			w.lose(lines[n:], missed)
			return
		}
	}
}

// take returns what waits. The note about missed lines, if there are some, comes last.
func (w *Writer) take() (lines []byte, missed uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, missed = w.waiting, w.missed
	if missed > 0 {
		lines = append(lines, w.note(missed)...)
	}
	w.waiting, w.missed = nil, 0
	return lines, missed
}

// lose counts lines that could not be written. The last one is the note if lines were
// missed before.
func (w *Writer) lose(lines []byte, missed uint64) {
	lost := count(lines)
	if missed > 0 {
		lost--
	}
	w.dropped.Add(lost)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.missed += missed + lost
}
