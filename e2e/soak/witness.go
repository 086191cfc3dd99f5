package soak

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"signalfhir/testkit"
)

// witness follows the journal of a room with the model, and keeps the entries for the
// history of a failure.
type witness struct {
	model *model

	mu      sync.Mutex // guards all below and model
	entries []testkit.Entry
	marks   map[string]bool // paths of requests to fences that the journal has
	ended   bool            // the stream has ended
	more    *sync.Cond      // entries came, or the stream ended
}

// fenceMark begins the ids of encounters that do not exist. A request for one makes an entry
// in the journal that says how far the witness has come.
const fenceMark = "fence-"

func newWitness(m *model) *witness {
	w := &witness{model: m, marks: map[string]bool{}}
	w.more = sync.NewCond(&w.mu)
	return w
}

// follow opens the stream of the journal of a room. It is followed until the room is closed.
func (w *witness) follow(room *api) error {
	client := &http.Client{Transport: &http.Transport{}} // the stream lasts as long as the room
	res, err := client.Get(room.root + "/mock/journal/stream?since=0&most=1000000")
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return fmt.Errorf("the stream of the journal: %s", res.Status)
	}
	go func() {
		defer client.CloseIdleConnections()
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for event := ""; lines.Scan(); {
			field, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
			switch string(field) {
			case "":
				event = ""
			case "event":
				event = string(value)
			case "data":
				w.take(event, value)
			}
		}
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.more.Broadcast()
	}()
	return nil
}

func (w *witness) take(event string, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.more.Broadcast()
	switch event {
	case "hello":
	case "gap":
		w.model.violated(violation{text: "the journal is faster than this test: " + string(data) + "; give it more entries with --journal-size"})
	default:
		var e testkit.Entry
		if err := json.Unmarshal(data, &e); err != nil {
			w.model.violated(violation{text: fmt.Sprintf("an entry of the journal: %v in %s", err, data)})
			return
		}
		w.entries = append(w.entries, e)
		if e.Kind == "http" {
			if _, name, is := strings.Cut(e.HTTP.Path, "/Encounter/"+fenceMark); is {
				w.marks[name] = true
			}
		}
		w.model.take(e)
	}
}

// await waits until a condition on the model holds. It reports false if the stream ended
// before, or after the patience.
func (w *witness) await(patience time.Duration, met func() bool) bool {
	late := false
	timer := time.AfterFunc(patience, func() {
		w.mu.Lock()
		late = true
		w.mu.Unlock()
		w.more.Broadcast()
	})
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !met() {
		if w.ended || late {
			return false
		}
		w.more.Wait()
	}
	return true
}

// historyLocked returns the last entries about a subscription or a socket, for people.
func (w *witness) historyLocked(v violation) string {
	most := 60
	if v.subscription+v.socket+v.client == "" {
		most = 10
	}
	socket := v.socket
	if s := w.model.byClient[v.client]; s != nil && v.client != "" {
		socket = s.id
	}
	var lines []string
	for i := len(w.entries) - 1; i >= 0 && len(lines) < most; i-- {
		e := w.entries[i]
		of := v.subscription != "" && (e.Subscription == v.subscription || strings.HasSuffix(e.Resource, "/"+v.subscription))
		on := socket != "" && e.Socket == socket
		if of && on || of && e.Socket == "" || on && (e.Subscription == "" || v.subscription == "") || of && socket == "" || v.subscription+socket == "" {
			lines = append(lines, e.String())
		}
	}
	var text strings.Builder
	for i := len(lines) - 1; i >= 0; i-- {
		fmt.Fprintln(&text, "  "+lines[i])
	}
	return text.String()
}
