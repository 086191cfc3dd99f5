package soak

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// usage is what the process holds.
type usage struct {
	goroutines, files float64
	live              float64 // bytes of the heap that the last collection found in use
	gauges            map[string]float64
}

// held lists the gauges that go back to what they were.
var held = []string{
	"signalfhir_rooms", "signalfhir_sockets", "signalfhir_subscriptions", "signalfhir_tokens", "signalfhir_resources",
	"signalfhir_frames_queued", "signalfhir_queue_bytes", "signalfhir_event_log_bytes",
}

func (u usage) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f file descriptors, %.1f MB live heap", u.goroutines, u.files, u.live/1e6)
}

// use reads the metrics.
func use(server *api) (usage, error) {
	status, data, err := server.ask("GET", "/metrics", nil)
	if err != nil || status != 200 {
		return usage{}, fmt.Errorf("GET /metrics: %d %w", status, err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = n
		}
	}
	u := usage{
		goroutines: values["go_goroutines"], files: values["process_open_fds"],
		// The next collection begins when the live heap has grown by the percentage.
		live:   values["go_memstats_next_gc_bytes"] / (1 + values["go_gc_gogc_percent"]/100),
		gauges: map[string]float64{},
	}
	for _, name := range held {
		u.gauges[name] = values[name]
	}
	return u, nil
}

// churn makes the process collect its garbage several times: each room leaves some
// megabytes.
func churn(server *api) error {
	for i := range 20 {
		name := fmt.Sprintf("/rooms/churn-%d", i)
		if err := server.must("PUT", name, object{"seed": "builtin"}, nil); err != nil {
			return err
		}
		if err := server.must("DELETE", name, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// least returns the least of what the process holds in several looks: a look itself takes
// goroutines, and a connection that ended lingers a moment.
func least(server *api) (usage, error) {
	if err := churn(server); err != nil {
		return usage{}, err
	}
	// A transport may hold a connection that it dialled and did not need.
	server.client.CloseIdleConnections()
	best, err := use(server)
	for range 50 {
		u, again := use(server)
		if again != nil {
			return usage{}, again
		}
		best.goroutines, best.files, best.live = min(best.goroutines, u.goroutines), min(best.files, u.files), min(best.live, u.live)
		best.gauges = u.gauges
		time.Sleep(20 * time.Millisecond)
	}
	return best, err
}

// more lists what the process holds beyond what it held before. Memory may grow by so many
// bytes.
func (u usage) more(before usage, bytes float64) (problems []string) {
	add := func(what string, got, want float64) {
		if got > want {
			problems = append(problems, fmt.Sprintf("%s: %.0f, at most %.0f", what, got, want))
		}
	}
	add("goroutines", u.goroutines, before.goroutines)
	add("file descriptors", u.files, before.files)
	add("bytes of live heap", u.live, before.live+bytes)
	for _, name := range held {
		add(name, u.gauges[name], before.gauges[name])
	}
	return problems
}

// returns waits until the process holds no more than before, and lists what it still holds
// in the end.
func returns(server *api, before usage, bytes float64) (after usage, problems []string) {
	for end := time.Now().Add(patience); ; {
		after, err := least(server)
		if err != nil {
			return after, []string{err.Error()}
		}
		problems = after.more(before, bytes)
		if len(problems) == 0 || time.Now().After(end) {
			return after, problems
		}
	}
}
