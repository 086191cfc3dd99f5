package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalfhir/testkit"
)

var (
	lasts   = flag.Duration("soak.for", 10*time.Second, "how long the load lasts")
	seed    = flag.Uint64("soak.seed", 0, "repeats the decisions of a run; 0 chooses one")
	workers = flag.Int("soak.actors", 4, "actors in each world")
	worlds  = flag.Int("soak.worlds", 3, "worlds at a time")
)

const (
	tokenTTL = 2 * time.Second
	// mayGrow bounds how much more memory the process holds in the end: caches that the load
	// filled, and the journal of the default room, which names every room.
	mayGrow = 8 << 20
)

// The server keeps its promises, whatever many clients do to it at once, and what it took it
// gives back.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	chosen := *seed
	if chosen == 0 {
		chosen = rand.Uint64()
	}
	t.Logf("go test -race -count=1 ./e2e/soak -soak.for %s -soak.seed %d -soak.actors %d -soak.worlds %d", *lasts, chosen, *workers, *worlds)

	s := testkit.StartProcess(t, testkit.WithoutSeed(), testkit.WithTokenTTL(tokenTTL),
		testkit.WithArgs("--slow-after", "1s", "--queue-bytes", "4000000", "--journal-size", "100000", "--log-level", "warn"))
	server := newAPI(s.URL)

	// What is compiled or cached at the first use is not what the load leaves behind.
	warm := newReport()
	load(server, warm, chosen+1, time.Second)
	before, err := least(server)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := newReport()
	load(server, r, chosen, *lasts)
	t.Logf("in %s:\n%s", time.Since(began).Round(time.Second), r)
	for _, v := range append(warm.found(), r.found()...) {
		t.Errorf("%s", v)
	}
	if r.of("events read") == 0 && !t.Failed() {
		t.Error("no client read any event: nothing was tested")
	}

	began = time.Now()
	after, problems := returns(server, before, mayGrow)
	t.Logf("before: %s", before)
	t.Logf("after:  %s, reached in %s", after, time.Since(began).Round(time.Second))
	for _, problem := range problems {
		t.Errorf("not given back: %s", problem)
	}
	server.client.CloseIdleConnections()
	process, err := os.FindProcess(s.PID)
	if err == nil {
		err = process.Signal(syscall.SIGTERM)
	}
	if err != nil {
		t.Error(err)
	}
	s.Stop() // fails the test unless the exit code is 0; the race detector makes it 66
	if log := s.Log(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		t.Errorf("the log of the process:\n%s", log)
	}
}

// load lets worlds come and go for a time, or until a promise is broken.
func load(server *api, r *report, seed uint64, lasts time.Duration) {
	over := make(chan struct{})
	timer := time.AfterFunc(lasts, func() { close(over) })
	defer timer.Stop()
	ended := func() bool {
		select {
		case <-over:
			return true
		case <-r.broken:
			return true
		default:
			return false
		}
	}
	var lanes sync.WaitGroup
	for lane := range *worlds {
		lanes.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(lane)))
			for n := 0; n == 0 || !ended(); n++ {
				number := uint64(n**worlds + lane)
				liveOnce(server, r, seed, number, rng, over)
			}
		})
	}
	lanes.Wait()
	server.client.CloseIdleConnections()
}

// liveOnce lets one world live. Most worlds come to rest before they go; the others are
// deleted while everything goes on.
func liveOnce(server *api, r *report, seed, number uint64, rng *rand.Rand, over <-chan struct{}) {
	w, err := open(server, fmt.Sprintf("world-%d", number), tokenTTL, r)
	if err != nil {
		r.violated(violation{text: err.Error()})
		return
	}
	life := time.Duration(2000+rng.IntN(6000)) * time.Millisecond
	abrupt := rng.IntN(4) == 0
	stop, rest := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(rest)
		w.live(seed, number, *workers, stop)
	}()
	select {
	case <-time.After(life):
	case <-over:
	case <-r.broken:
	}
	if abrupt {
		w.closing.Store(true)
		w.close()
		close(stop)
		<-rest
		for _, c := range w.all() { // also those that opened meanwhile
			c.cut(false)
		}
		r.count("rooms deleted under load", 1)
		return
	}
	close(stop)
	<-rest
	w.settle()
	w.close()
}
