package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// world is one room with its actors.
type world struct {
	name    string
	room    *api
	server  *api
	sockets string // address
	report  *report
	witness *witness
	model   *model

	fences  atomic.Int64 // names them
	closing atomic.Bool  // the room is being deleted: it may refuse anything

	mu       sync.Mutex // guards all below
	clients  []*client
	secrets  []string       // tokens that were issued
	accepted map[string]int // writes, as in model.changes
	once     map[string]bool
}

// What is in a world. The names say what a filter lets pass: the subscription p1-0 those
// encounters whose name begins with p1, all-0 every one.
var (
	subscriptionIDs = []string{"all-0", "all-1", "p0-0", "p0-1", "p1-0", "p1-1", "p2-0"}
	patientIDs      = []string{"p0", "p1", "p2"}
)

const (
	encountersPerPatient = 12
	openSockets          = 16 // at once, about
	topicURL             = "http://soak.example.org/topic"
	neverWritten         = "never-" // begins the id of an encounter that only refused transactions have
)

// passes reports whether a subscription gets events of an encounter.
func passes(subscription, resource string) bool {
	filter, _, _ := strings.Cut(subscription, "-")
	patient, _, _ := strings.Cut(strings.TrimPrefix(resource, "Encounter/"), "-")
	return filter == "all" || filter == patient
}

type object = map[string]any

// topic fires for every change of an encounter.
var topic = object{
	"resourceType": "SubscriptionTopic", "id": "encounters", "url": topicURL, "status": "active",
	"resourceTrigger": []any{object{"resource": "Encounter", "supportedInteraction": []any{"create", "update", "delete"}}},
	"canFilterBy":     []any{object{"resource": "Encounter", "filterParameter": "patient"}},
}

// open opens a room and follows its journal.
func open(server *api, name string, ttl time.Duration, r *report) (*world, error) {
	w := &world{name: name, server: server, room: server.at("/rooms/" + name), report: r, accepted: map[string]int{}, once: map[string]bool{}}
	var ready struct{ WS string }
	if err := server.must("PUT", "/rooms/"+name, object{"seed": object{"resources": []any{topic}}}, &ready); err != nil {
		return nil, err
	}
	w.sockets = ready.WS
	w.model = newModel(ttl, func(v violation) { // called by the witness, which holds its lock
		v.world = w.name
		if w.first(v) {
			v.history = w.witness.historyLocked(v)
			r.violated(v)
		}
	})
	w.witness = newWitness(w.model)
	r.count("rooms opened", 1)
	return w, w.witness.follow(w.room)
}

// violated reports a violation that the witness did not find.
func (w *world) violated(v violation) {
	v.world = w.name
	if !w.first(v) {
		return
	}
	// The entries that say why may be on their way.
	if !w.closing.Load() {
		w.fence()
	}
	w.witness.mu.Lock()
	v.history = w.witness.historyLocked(v)
	w.witness.mu.Unlock()
	w.report.violated(v)
}

// first reports whether a violation is the first one about its subject in this world.
func (w *world) first(v violation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	subject := v.subscription + " " + v.socket + " " + v.client
	if w.once[subject] {
		return false
	}
	w.once[subject] = true
	return true
}

// live lets actors act until stop is closed.
func (w *world) live(seed, number uint64, actors int, stop <-chan struct{}) {
	var all sync.WaitGroup
	for i := range actors {
		a := &actor{world: w, rng: rand.New(rand.NewPCG(seed, number<<8|uint64(i)))}
		all.Go(func() { a.act(i == 0, stop) })
	}
	all.Wait()
}

// Only a failure takes that long.
const patience = 2 * time.Minute

// fence returns once the witness has seen everything that happened before the call.
func (w *world) fence() {
	name := fmt.Sprint(w.fences.Add(1))
	if _, _, err := w.room.ask("GET", "/fhir/R5/Encounter/"+fenceMark+name, nil); err != nil {
		return
	}
	if !w.witness.await(patience, func() bool { return w.witness.marks[name] }) && !w.closing.Load() {
		w.report.violated(violation{world: w.name, text: "the journal does not have a request"})
	}
}

// settle waits until nothing is going on any more, and compares what came out with the
// model.
func (w *world) settle() {
	clients := w.all()
	w.catchUp(clients) // what they asked for last is done
	w.fence()
	if !w.witness.await(patience, func() bool { return len(w.model.bound()) == 0 }) {
		w.witness.mu.Lock()
		left := w.model.bound()
		w.witness.mu.Unlock()
		w.violated(violation{text: fmt.Sprintf("the bindings %v did not end with their tokens", left)})
		return
	}
	// A binding that ends takes the lock of its subscription until its socket was told, and
	// so does a look at the events. From here on, nothing is sent but what is asked for.
	for _, id := range subscriptionIDs {
		w.compareEvents(id)
	}
	w.catchUp(clients)
	w.fence()
	w.witness.mu.Lock()
	defer w.witness.mu.Unlock()
	w.model.settle()
	w.compareWritesLocked()
	for _, c := range clients {
		w.compareFramesLocked(c, true)
	}
}

// catchUp returns once every client has read what was sent to it.
func (w *world) catchUp(clients []*client) {
	for _, c := range clients {
		c.catchUp()
	}
}

// close deletes the room. All its sockets end.
func (w *world) close() {
	w.closing.Store(true)
	if err := w.server.must("DELETE", "/rooms/"+w.name, nil, nil); err != nil {
		w.report.violated(violation{world: w.name, text: err.Error()})
	}
	for _, c := range w.all() {
		c.hurry.Store(true)
		if c.pace == never {
			c.cut(false)
		}
		select {
		case <-c.over:
		case <-time.After(patience):
			w.violated(violation{client: c.name, text: "the socket outlived its room"})
			c.cut(false)
		}
	}
	w.witness.await(patience, func() bool { return w.witness.ended })
	w.witness.mu.Lock()
	defer w.witness.mu.Unlock()
	if !w.witness.ended {
		w.report.violated(violation{world: w.name, text: "the stream of the journal outlived its room"})
	}
	for _, c := range w.all() {
		w.compareFramesLocked(c, false)
		w.report.count("frames read", len(c.frames))
		for _, f := range c.frames {
			w.report.count("events read", int(f.last-f.first+1)*min(1, int(f.first)))
		}
	}
	w.report.count("journal entries checked", len(w.witness.entries))
	for _, s := range w.model.sockets {
		if s.slow {
			w.report.count("sockets cut for being slow", 1)
		}
	}
}

// accept notes a version that the server says it stored.
func (w *world) accept(resource, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[resource+" "+version]++
}

func (w *world) all() []*client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.clients)
}
