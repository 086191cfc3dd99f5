package logwriter_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalfhir/internal/logwriter"
)

// disk is a destination that can fail.
type disk struct {
	mu   sync.Mutex // guards all below
	buf  bytes.Buffer
	fail error // returned by Write unless nil
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return 0, d.fail
	}
	return d.buf.Write(p)
}

func (d *disk) failWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

func TestWriter_WritesWhatIsLoggedInOrder(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := logwriter.New(&out, 1<<20, keep)
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintln("line", i)
		want.WriteString(line)
		if n, err := io.WriteString(w, line); n != len(line) || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if !w.Close(time.Minute) {
		t.Fatal("not everything was written")
	}
	if out.String() != want.String() || w.Dropped() != 0 {
		t.Errorf("got %d bytes and %d dropped lines, want all %d bytes", out.Len(), w.Dropped(), want.Len())
	}
}

// blocked is a destination that takes nothing until open is closed, as a full pipe does.
type blocked struct {
	io.Writer
	open chan struct{}
}

func (b blocked) Write(p []byte) (int, error) {
	<-b.open
	return b.Writer.Write(p)
}

func TestWriter_DropsAndCountsLinesThatNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		open := make(chan struct{})
		w := logwriter.New(blocked{&out, open}, 100, keep)
		log := func(text string) {
			_, _ = fmt.Fprintln(w, text)
			synctest.Wait() // the goroutine takes what it can take
		}
		log("first")                 // is being written
		log(strings.Repeat("x", 99)) // waits, and fills the buffer
		log("lost")                  // one line
		log("lost\nand lost")        // two lines
		if got := w.Dropped(); got != 3 {
			t.Errorf("%d lines are counted as dropped, want 3", got)
		}
		close(open)
		synctest.Wait()
		log("last")
		want := "first\n" + strings.Repeat("x", 99) + "\n" + logwriter.Note(3) + "\nlast\n"
		if !w.Close(time.Second) || out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestWriter_DropsShortLinesToo_AfterALostOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		open := make(chan struct{})
		w := logwriter.New(blocked{&out, open}, 10, keep)
		for _, line := range []string{"first\n", "a\n", "a line that is too long\n", "b\n"} {
			_, _ = io.WriteString(w, line)
			synctest.Wait()
		}
		close(open)
		if want := "first\na\n" + logwriter.Note(2) + "\n"; !w.Close(time.Second) || out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestWriter_CloseGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		w := logwriter.New(blocked{io.Discard, open}, 100, keep)
		_, _ = io.WriteString(w, "line\n")
		begun := time.Now()
		if w.Close(time.Second) {
			t.Error("Close says that a line was written which is not")
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Close took %s, want 1s", took)
		}
		close(open)
	})
}

func TestWriter_GoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &disk{}
		w := logwriter.New(out, 100, keep)
		w.SetNote(func(dropped uint64) []byte { return fmt.Appendf(nil, "<%d>\n", dropped) })
		log := func(text string) {
			_, _ = io.WriteString(w, text)
			synctest.Wait()
		}
		log("a\n")
		out.failWith(errors.New("no space left"))
		log("b\n")
		log("c\n")
		out.failWith(nil)
		log("d\n") // writes the note, and is lost
		log("e\n")
		if want := "a\n<3>\ne\n"; !w.Close(time.Second) || out.buf.String() != want || w.Dropped() != 3 {
			t.Errorf("got %q and %d dropped, want %q and 3", out.buf.String(), w.Dropped(), want)
		}
	})
}

func TestWriter_MayBeUsedAfterClose(t *testing.T) {
	t.Parallel()
	w := logwriter.New(io.Discard, 100, keep)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 1000 {
				_, _ = io.WriteString(w, "line\n")
			}
		})
	}
	w.Close(time.Minute)
	w.Close(time.Minute)
	writers.Wait()
}

// keep hides nothing.
func keep(lines []byte) []byte { return lines }

func TestWriter_HidesBeforeItWrites(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := logwriter.New(&out, 100, func(lines []byte) []byte { return bytes.ReplaceAll(lines, []byte("secret"), []byte("…")) })
	if n, err := io.WriteString(w, "a secret\n"); n != len("a secret\n") || err != nil {
		t.Errorf("Write returned %d, %v; a writer has taken all of the line", n, err)
	}
	if !w.Close(time.Minute) || out.String() != "a …\n" {
		t.Errorf("got %q", out.String())
	}
}
