package listen

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTracker_Handshake(t *testing.T) {
	t.Parallel()
	none := span{1, 0}
	rows := []struct {
		name      string
		before    tracker
		total     int64
		missed    span
		restarted bool
		last      int64
	}{
		{"the first says where to begin", tracker{}, 7, none, false, 7},
		{"the first of a new subscription", tracker{}, 0, none, false, 0},
		{"nothing happened since the last event", tracker{last: 7, known: true}, 7, span{8, 7}, false, 7},
		{"one event was missed", tracker{last: 7, known: true}, 8, span{8, 8}, false, 7},
		{"several events were missed", tracker{last: 7, known: true}, 10, span{8, 10}, false, 7},
		{"all events of a subscription were missed", tracker{known: true}, 3, span{1, 3}, false, 0},
		{"a restart", tracker{last: 7, known: true}, 0, span{1, 0}, true, 0},
		{"a restart with events since", tracker{last: 7, known: true}, 2, span{1, 2}, true, 0},
		{"a restart one event short", tracker{last: 7, known: true}, 6, span{1, 6}, true, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			track := row.before
			missed, restarted := track.handshake(row.total)
			if missed != row.missed || restarted != row.restarted {
				t.Errorf("got %v, %v, want %v, %v", missed, restarted, row.missed, row.restarted)
			}
			if want := (tracker{last: row.last, known: true}); track != want {
				t.Errorf("the tracker is %+v, want %+v", track, want)
			}
		})
	}
}

func TestTracker_Event(t *testing.T) {
	t.Parallel()
	known := tracker{last: 7, known: true}
	rows := []struct {
		name   string
		before tracker
		number int64
		missed span
		isNew  bool
	}{
		{"the next", known, 8, span{8, 7}, true},
		{"one too far", known, 9, span{8, 8}, true},
		{"much too far", known, 12, span{8, 11}, true},
		{"the last again", known, 7, span{1, 0}, false},
		{"an old one", known, 1, span{1, 0}, false},
		{"without a number", known, 0, span{1, 0}, false},
		{"the first of a subscription", tracker{known: true}, 1, span{1, 0}, true},
		{"before any handshake", tracker{}, 5, span{5, 4}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			track := row.before
			missed, isNew := track.event(row.number)
			if missed != row.missed || isNew != row.isNew {
				t.Errorf("got %v, %v, want %v, %v", missed, isNew, row.missed, row.isNew)
			}
			// An event counts when it is shown, not when it arrives.
			if again, still := track.event(row.number); again != missed || still != isNew {
				t.Errorf("asked again: got %v, %v, want %v, %v", again, still, missed, isNew)
			}
		})
	}
}

func TestTracker_ShownNeverGoesBack(t *testing.T) {
	t.Parallel()
	var track tracker
	for _, number := range []int64{4, 6, 5} {
		track.shown(number)
	}
	if want := (tracker{last: 6, known: true}); track != want {
		t.Errorf("the tracker is %+v, want %+v", track, want)
	}
}

// A client that shows or gives up everything a tracker calls missed or new accounts for
// every number once, in ascending order, and for nothing else.
func TestTracker_AccountsForEveryNumberOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			track   tracker
			started bool
			next    int64 // the number to account for next
			total   int64 // of the server
		)
		account := func(from, to int64) {
			if from != next {
				t.Fatalf("#%d is accounted for, but #%d is next", from, next)
			}
			if rapid.Bool().Draw(t, "give up") {
				track.shown(to)
			} else {
				for n := from; n <= to; n++ {
					track.shown(n)
				}
			}
			next = to + 1
		}
		handshake := func() {
			before := track.last
			missed, restarted := track.handshake(total)
			if restarted != (started && total < before) {
				t.Fatalf("a total of %d after #%d: restarted is %v", total, before, restarted)
			}
			switch {
			case !started:
				started, next = true, total+1
			case restarted:
				next = 1
			}
			if !missed.empty() {
				account(missed.from, missed.to)
			}
			if next != total+1 {
				t.Fatalf("after a handshake with a total of %d #%d is next", total, next)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"change":    func(t *rapid.T) { total += rapid.Int64Range(1, 4).Draw(t, "changes") },
			"handshake": func(*rapid.T) { handshake() },
			"restart": func(t *rapid.T) {
				// With as many events as before, the restart is undetectable.
				total = rapid.Int64Range(0, max(0, track.last-1)).Draw(t, "total")
				handshake()
			},
			"event": func(t *rapid.T) {
				if total == 0 {
					t.Skip("there is none")
				}
				number := rapid.Int64Range(1, total).Draw(t, "number")
				if !started {
					started, next = true, number
				}
				missed, isNew := track.event(number)
				if isNew != (number >= next) {
					t.Fatalf("#%d is new: %v, but #%d is next", number, isNew, next)
				}
				if !isNew {
					if !missed.empty() {
						t.Fatalf("#%d came again, and %v is missed", number, missed)
					}
					return
				}
				if !missed.empty() {
					account(missed.from, missed.to)
				}
				account(number, number)
			},
		})
	})
}

// The same for the whole way from frames to output, with a server that forgets events
// and is sometimes down.
func TestListener_ShowsEveryEventOnceOrReportsItLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		log := &eventLog{lost: map[int64]bool{}}
		var seen transcript
		l := &listener{server: fakeServer(log.respond).server(), print: seen.printer(false), id: "abc"}
		var (
			started bool
			next    int64 // the number to account for next
		)
		send := func(data []byte) {
			err := l.frame(context.Background(), data)
			if err != nil && !log.down {
				t.Fatalf("%s: %v", data, err)
			}
			for _, line := range seen.take() {
				if strings.HasPrefix(line, "# the numbering started again") {
					next = 1
				}
				numbers, lost := accounted(line)
				for _, n := range numbers {
					if n != next {
						t.Fatalf("%q accounts for #%d, but #%d is next", line, n, next)
					}
					if lost && !log.lost[n] {
						t.Fatalf("%q: the server still has #%d", line, n)
					}
					next++
				}
			}
		}
		handshake := func() {
			if !started {
				started, next = true, log.total+1
			}
			send(bundle("handshake", log.total))
			if !log.down && next != log.total+1 {
				t.Fatalf("after a handshake with a total of %d #%d is next", log.total, next)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"change":    func(t *rapid.T) { log.total += rapid.Int64Range(1, 4).Draw(t, "changes") },
			"handshake": func(*rapid.T) { handshake() },
			"heartbeat": func(*rapid.T) { send(bundle("heartbeat", log.total)) },
			"outage":    func(t *rapid.T) { log.down = !log.down },
			"forget": func(t *rapid.T) {
				if log.total == 0 {
					t.Skip("nothing to forget")
				}
				log.lost[rapid.Int64Range(1, log.total).Draw(t, "number")] = true
			},
			"restart": func(t *rapid.T) {
				log.total, log.lost = rapid.Int64Range(0, max(0, l.track.last-1)).Draw(t, "total"), map[int64]bool{}
				handshake()
			},
			"events": func(t *rapid.T) {
				if log.total == 0 {
					t.Skip("there are none")
				}
				numbers := rapid.SliceOfN(rapid.Int64Range(1, log.total), 1, 4).Draw(t, "numbers")
				if !started {
					started, next = true, numbers[0]
				}
				send(bundle("event-notification", log.total, numbers...))
			},
		})
		log.down = false
		handshake()
		if len(seen.bad) > 0 {
			t.Fatalf("lines without a time: %q", seen.bad)
		}
	})
}

var (
	shownLine = regexp.MustCompile(`^[a-z-]+ +abc  #(\d+)(?:  recovered)?$`)
	lostLine  = regexp.MustCompile(`^# lost #(\d+)(?: to #(\d+))?:`)
)

// accounted returns the numbers that a line shows or reports as lost.
func accounted(line string) (numbers []int64, lost bool) {
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	if m := shownLine.FindStringSubmatch(line); m != nil {
		return []int64{number(m[1])}, false
	}
	if m := lostLine.FindStringSubmatch(line); m != nil {
		m = slices.DeleteFunc(m[1:], func(s string) bool { return s == "" })
		for n := number(m[0]); n <= number(m[len(m)-1]); n++ {
			numbers = append(numbers, n)
		}
		return numbers, true
	}
	return nil, false
}
