package room

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// DefaultName is the name of the default room, whose addresses begin at the root of
// the server.
const DefaultName = "default"

// nameForm is the form of a room's name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckName refuses what cannot be the name of a room.
func CheckName(name string) error {
	// A browser takes a segment of dots for a way up.
	if !nameForm.MatchString(name) || name == "." || name == ".." {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%q is not the name of a room: a name has 1 to 64 letters, digits, dots, hyphens or underscores, and not only one or two dots", name)
	}
	return nil
}

// Path returns the path below which the addresses of a room are: "" for the default
// room, which is also meant by an empty name.
func Path(name string) string {
	if name == "" || name == DefaultName {
		return ""
	}
	return "/rooms/" + name
}

// NoRoom refuses a request in a room that does not exist.
func NoRoom(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "there is no room %q; PUT %s makes one, GET /rooms lists them. A room that is idle for long is closed", name, Path(name))
}

// RoomsOptions are the settings of [Rooms].
type RoomsOptions struct {
	Default *Room
	Clock   clock.Clock
	Max     int           // open rooms besides the default one
	TTL     time.Duration // a room is closed after this time without a request, a socket and a scenario
	// Leave ends the sockets of a room that closes, and returns when they have ended.
	// It is called without a lock, when no request can enter the room any more.
	Leave func(name string, r *Room, why string)
}

// Rooms is the registry of the open rooms of a server. It is safe for concurrent use.
type Rooms struct {
	options RoomsOptions

	mu     sync.Mutex // guards open, closed and every tenant; a leaf
	open   map[string]*tenant
	closed bool

	closing sync.WaitGroup // rooms that close by themselves
}

// tenant is a room that others may come to.
type tenant struct {
	name     string
	settings [sha256.Size]byte
	ready    chan struct{} // closed when room and err are set
	room     *Room         // nil if it could not be opened
	err      error
	opened   time.Time
	busy     int           // requests in it; a socket is one, and so is a scenario
	empty    chan struct{} // set while the room closes; closed when busy is 0
	idle     clock.Timer   // runs while busy is 0
	used     time.Time     // when busy last became 0
}

// Info describes an open room.
type Info struct {
	Name   string
	Room   *Room
	Opened time.Time
	Busy   int // requests, sockets and scenarios in it
}

// NewRooms returns a registry that holds the default room only.
func NewRooms(o RoomsOptions) *Rooms {
	return &Rooms{options: o, open: map[string]*tenant{}}
}

// Default returns the default room.
func (r *Rooms) Default() *Room { return r.options.Default }

// Enter returns the room of a name, "" for the default room. The room is not closed as
// idle until leave is called. It returns nil if there is no such room.
func (r *Rooms) Enter(name string) (in *Room, leave func()) {
	if name == "" || name == DefaultName {
		return r.options.Default, func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.open[name]
	if t == nil || t.room == nil {
		return nil, nil
	}
	t.busy++
	t.idle.Stop()
	return t.room, func() { r.leave(t) }
}

func (r *Rooms) leave(t *tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.busy--
	switch {
	case t.busy > 0:
	case t.empty != nil:
		close(t.empty)
	default:
		t.used = r.options.Clock.Now()
		t.idle.Reset(r.options.TTL)
	}
}

// Put opens a room under a name. settings describes how, open makes it. If a room of
// that name is open with the same settings, Put returns that one; it refuses others.
func (r *Rooms) Put(name, settings string, open func() (*Room, error)) (info Info, created bool, err error) {
	if err := CheckName(name); err != nil {
		return Info{}, false, err
	}
	if name == DefaultName {
		return Info{}, false, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "%q is the name of the default room, which is always open; choose another name", name)
	}
	digest := sha256.Sum256([]byte(settings))
	t, known, err := r.reserve(name, digest)
	switch {
	case err != nil:
		return Info{}, false, err
	case !known:
		r.settle(t, open)
	}
	<-t.ready
	switch {
	case t.err != nil:
		return Info{}, false, t.err
	case t.settings != digest:
		return Info{}, false, fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the room %q is open already, with other settings; choose another name, or DELETE %s first", name, Path(name))
	}
	if _, leave := r.Enter(name); leave != nil {
		leave() // whoever hears that the room is open has time to use it
	}
	return r.info(t), !known, nil
}

// reserve returns the tenant of a name, or takes the name for a new one.
func (r *Rooms) reserve(name string, settings [sha256.Size]byte) (t *tenant, known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, known := r.open[name]; known {
		return t, true, nil
	}
	switch {
	case r.closed:
		return nil, false, errStopping()
	case len(r.open) >= r.options.Max:
		return nil, false, fhir.Refuse(http.StatusConflict, fhir.CodeTooCostly, "%d rooms are open, and --max-rooms allows no more; DELETE one of them (GET /rooms lists them), or start the server with a higher --max-rooms", r.options.Max)
	}
	t = &tenant{name: name, settings: settings, ready: make(chan struct{}), opened: r.options.Clock.Now()}
	r.open[name] = t
	return t, false, nil
}

func errStopping() error {
	return fhir.Refuse(http.StatusServiceUnavailable, fhir.CodeTransient, "the server is stopping")
}

// settle opens the room of a tenant. Whatever happens, the tenant is ready then, or its
// name is free again.
func (r *Rooms) settle(t *tenant, open func() (*Room, error)) {
	var opened *Room
	err := errors.New("the room could not be opened") // stays if open panics
	defer func() {
		r.mu.Lock()
		if err == nil && r.closed { // while it was being opened; Close did not see it
			err = errStopping()
		}
		if t.err = err; err != nil {
			delete(r.open, t.name)
		} else {
			t.room, t.used = opened, r.options.Clock.Now()
			t.idle = r.options.Clock.AfterFunc(r.options.TTL, func() { r.expire(t) })
		}
		close(t.ready)
		r.mu.Unlock()
		switch {
		case err == nil:
			r.note("opened", "the room "+t.name+" was opened")
		case opened != nil:
			r.options.Leave(t.name, opened, "the server is stopping")
			opened.Close()
		}
	}()
	opened, err = open()
}

// note writes what happens to the rooms to the journal of the default room.
func (r *Rooms) note(kind, text string) {
	r.options.Default.Record(journal.Entry{Kind: journal.Rooms, Type: kind, Text: text})
}

func (r *Rooms) info(t *tenant) Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Info{Name: t.name, Room: t.room, Opened: t.opened, Busy: t.busy}
}

// Get describes the room of a name.
func (r *Rooms) Get(name string) (Info, error) {
	if name == DefaultName {
		return Info{Name: DefaultName, Room: r.options.Default}, nil
	}
	r.mu.Lock()
	t := r.open[name]
	ready := t != nil && t.room != nil
	r.mu.Unlock()
	if !ready {
		return Info{}, NoRoom(name)
	}
	return r.info(t), nil
}

// List describes every open room, the default one first, then by name.
func (r *Rooms) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []Info{{Name: DefaultName, Room: r.options.Default}}
	for _, t := range r.open {
		if t.room != nil {
			list = append(list, Info{Name: t.name, Room: t.room, Opened: t.opened, Busy: t.busy})
		}
	}
	slices.SortFunc(list[1:], func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Delete closes the room of a name. It returns when its sockets have ended.
func (r *Rooms) Delete(name string) error {
	if name == DefaultName {
		return fhir.Refuse(http.StatusConflict, fhir.CodeConflict, "the default room cannot be deleted; POST /mock/reset takes it back to its seed")
	}
	r.mu.Lock()
	t := r.open[name]
	if t == nil || t.room == nil {
		r.mu.Unlock()
		return NoRoom(name)
	}
	r.removeLocked(t)
	r.closing.Add(1)
	r.mu.Unlock()
	r.close(t, "it was deleted")
	return nil
}

// expire closes a room that was idle for its time.
func (r *Rooms) expire(t *tenant) {
	r.mu.Lock()
	// A request may have come, and gone, since the timer fired.
	if t.busy > 0 || t.empty != nil || r.options.Clock.Now().Sub(t.used) < r.options.TTL {
		r.mu.Unlock()
		return
	}
	r.removeLocked(t)
	r.closing.Add(1)
	r.mu.Unlock()
	r.close(t, fmt.Sprintf("it was idle for %s (--room-ttl)", r.options.TTL))
}

// removeLocked takes a room out of the registry, so that no request enters it.
func (r *Rooms) removeLocked(t *tenant) {
	t.idle.Stop()
	delete(r.open, t.name)
	t.empty = make(chan struct{})
	if t.busy == 0 {
		close(t.empty)
	}
}

// leavePatience is how long a room that closes waits for requests in it.
const leavePatience = time.Second

func (r *Rooms) close(t *tenant, why string) {
	defer r.closing.Done()
	t.room.end()
	t.room.scenarios.Close()
	r.options.Leave(t.name, t.room, why)
	patience := time.NewTimer(leavePatience)
	defer patience.Stop()
	select {
	case <-t.empty:
	case <-patience.C: // a body that never comes
	}
	_, payload := t.room.journal.Held()
	heldMuch := payload >= much || t.room.heldMuch()
	t.room.Close()
	if heldMuch {
		t.room.options.Memory.Freed()
	}
	r.note("closed", "the room "+t.name+" was closed: "+why)
}

// Relieve lets go of what the rooms can do without, and reports whether there was any.
func (r *Rooms) Relieve() bool {
	relieved := false
	for _, i := range r.List() {
		relieved = i.Room.relieve() || relieved
	}
	return relieved
}

// Counts returns how much all rooms hold together.
func (r *Rooms) Counts() Counts {
	var all Counts
	for _, i := range r.List() {
		c := i.Room.Counts()
		all.Resources += c.Resources
		all.Subscriptions += c.Subscriptions
		all.Tokens += c.Tokens
		all.EventLogBytes += c.EventLogBytes
		all.TokenBytes += c.TokenBytes
	}
	return all
}

// End ends the context of every room, and opens no more.
func (r *Rooms) End() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for _, i := range r.List() {
		i.Room.end()
	}
}

// Close closes every room, the default one last. The sockets must have ended.
func (r *Rooms) Close() {
	r.End()
	r.mu.Lock()
	var left []*tenant
	for _, t := range r.open {
		if t.room != nil {
			r.removeLocked(t)
			left = append(left, t)
		}
	}
	r.mu.Unlock()
	for _, t := range left {
		t.room.Close()
	}
	r.closing.Wait()
	r.options.Default.Close()
}
