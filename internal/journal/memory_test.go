package journal_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"signalfhir/internal/clock"
	"signalfhir/internal/journal"
)

// heap returns the bytes that are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// The bound is on the memory that entries take, whatever makes them large. Not parallel:
// the test measures the heap of the process.
func TestJournal_TakesTheMemoryThatItsBoundAllows(t *testing.T) {
	long := func(i, size int) string { return fmt.Sprint(i, strings.Repeat("x", size)) }
	const size, payload = 10_000, 8 << 20
	for name, entry := range map[string]func(i int) journal.Entry{
		"addresses": func(i int) journal.Entry {
			return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "GET", Path: long(i, 8000)}}
		},
		"texts": func(i int) journal.Entry {
			return journal.Entry{Kind: journal.Refused, Text: long(i, 8000)}
		},
		"frames": func(i int) journal.Entry {
			return journal.Entry{Kind: journal.Received, Text: long(i, 200), Frame: []byte(long(i, 8000))}
		},
		"bodies": func(i int) journal.Entry {
			return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "GET", Path: "/", RequestBody: []byte(long(i, 4000)), ResponseBody: []byte(long(i, 4000))}}
		},
		"headers": func(i int) journal.Entry {
			headers := map[string]string{}
			for n := range 60 {
				headers[fmt.Sprint("Header-", i, "-", n)] = long(i, 40)
			}
			return journal.Entry{Kind: journal.HTTP, Exchange: &journal.Exchange{Method: "GET", Path: "/", RequestHeaders: headers}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := heap()
			j := journal.New(clock.Real(), journal.Options{Size: size, Payload: payload})
			for i := range size + size/5 {
				j.Record(entry(i))
			}
			took := heap() - before
			// What is not payload takes up to about 1 kB for an entry.
			if most := payload*3/2 + size*1024; took > most {
				t.Errorf("%d entries take %d kB, want at most %d kB", size, took>>10, most>>10)
			}
			if _, held := j.Held(); held > payload || held < payload/2 {
				t.Errorf("the journal says that it holds %d kB, want up to %d kB", held>>10, payload>>10)
			}
			runtime.KeepAlive(j)
		})
	}
}
