//go:build !race

package e2e

// With the race detector the test takes minutes, and memory is another.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The journal keeps 64 MiB, also of requests that are long only in their addresses.
func TestMemory_OfLongAddressesIsBounded(t *testing.T) {
	t.Setenv("GOGC", "25") // the heap of the server has a quarter of garbage at most
	p := startPiped(t, "--log-level", "error")
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		t.Fatal(err)
	}
	const requests = 12_000 // more than the journal has entries
	go func() {
		out := bufio.NewWriter(conn)
		for i := range requests {
			fmt.Fprintf(out, "GET /fhir/R5/Patient?_id=%d%s HTTP/1.1\r\nHost: localhost\r\n\r\n", i, strings.Repeat("a", 7900))
		}
		_ = out.Flush()
	}()
	in := bufio.NewReader(conn)
	for range requests {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
	}
	const metric = "\ngo_memstats_heap_alloc_bytes "
	_, rest, _ := strings.Cut(p.get("/metrics"), metric)
	value, _, _ := strings.Cut(rest, "\n")
	used, err := strconv.ParseFloat(value, 64)
	if err != nil {
		t.Fatalf("%s: %v", metric, err)
	}
	if used > 180<<20 {
		t.Errorf("the server uses %.0f MB, want less than 180", used/(1<<20))
	}
}
