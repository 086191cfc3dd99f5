package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/clock"
	"signalfhir/internal/fhir"
	"signalfhir/internal/journal"
)

// Request is a request of a step. Its path is one in the room.
type Request struct {
	Method, Path string
	Body         []byte // JSON; nil: none
	By           string // which step of which scenario, for the journal
}

// Do serves a request in process, and returns when the context ends.
type Do func(context.Context, Request) (status int, body []byte)

// The states of a scenario.
const (
	Idle    = "idle" // it has not been started since the room opened or was reset
	Running = "running"
	Done    = "done"
	Failed  = "failed"  // a step was refused, or what it waited for did not happen
	Stopped = "stopped" // before its end
)

// State says how far a scenario is.
type State struct {
	State      string         `json:"state"`
	Why        string         `json:"why,omitempty"` // it failed or was stopped
	Parameters map[string]any `json:"parameters,omitempty"`
	Began      *time.Time     `json:"began,omitempty"`
	Ended      *time.Time     `json:"ended,omitempty"`
	Begin      uint64         `json:"begin,omitempty"`    // the entries of the journal after this one are of it
	Step       string         `json:"step,omitempty"`     // the step that is being done, or at which it ended early
	Note       string         `json:"note,omitempty"`     // of that step
	Since      *time.Time     `json:"since,omitempty"`    // when that step began
	WaitsFor   string         `json:"waitsFor,omitempty"` // what that step waits for
	Results    []Result       `json:"results,omitempty"`  // of the steps that are over
	Omitted    int            `json:"omitted,omitempty"`  // results that are not listed
}

// Result is what became of a step.
type Result struct {
	Step   string `json:"step"` // its place, "steps[0]"
	Did    string `json:"did"`
	Note   string `json:"note,omitempty"`
	Status int    `json:"status,omitempty"` // of the response
	Seq    uint64 `json:"seq,omitempty"`    // of the entry of the journal that ended an await
}

// maxResults bounds the results that a state lists.
const maxResults = 200

// run is a scenario that was started.
type run struct {
	set    *Set
	of     *Definition
	do     Do
	values map[string]any
	since  uint64 // of the journal, from await to await
	done   int    // steps

	awaited string // subscription of the entry that ended an await last; "": none had one

	settings Settings // what it changed of those of the room; nil: nothing
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when the goroutine ends

	mu    sync.Mutex // guards state; a leaf
	state State
}

// errStopped is the cause of a context that a stop has ended, with the reason as its text.
type errStopped struct {
	why  string
	bare bool // the room tidies up itself
}

func (e errStopped) Error() string { return e.why }

func (r *run) now() *time.Time {
	t := r.set.options.Clock.Now().UTC()
	return &t
}

// snapshot returns the state.
func (r *run) snapshot() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Results = slices.Clone(s.Results)
	s.Parameters = maps.Clone(s.Parameters)
	return s
}

func (r *run) record(what, text string) {
	id, _ := r.values[subscriptionName].(string)
	r.set.options.Record(journal.Entry{Kind: journal.Scenario, Type: what, Subscription: id, Text: r.of.Name + ": " + text})
}

// run does the steps. It is the goroutine of the scenario.
func (r *run) run(ctx context.Context) {
	began := withParameters(r.values)
	if n := r.removeFaults(); n > 0 {
		began += fmt.Sprintf("; faults of its last run were removed: %d", n)
	}
	r.record("begin", began)
	err := r.steps(ctx, r.of.Steps, "steps")
	state, why, tidied := Done, "", ""
	stopped := errStopped{}
	if errors.As(context.Cause(ctx), &stopped) {
		state, why = Stopped, stopped.why
	} else if err != nil {
		state, why = Failed, err.Error()
	}
	if !stopped.bare {
		tidied = r.tidy()
	}
	r.set.release(r)
	r.mu.Lock()
	at := r.state.Step
	r.state.State, r.state.Why, r.state.Ended, r.state.WaitsFor = state, why, r.now(), ""
	if state == Done {
		r.state.Step, r.state.Note, r.state.Since = "", "", nil
	}
	r.mu.Unlock()
	text := state
	if state != Done {
		text += " at " + at + ": " + why
	}
	r.record("end", text+tidied)
}

// tidy removes what the scenario has left, and says what that was.
func (r *run) tidy() string {
	text := ""
	if r.settings != nil && !r.of.Keep {
		if r.settings.Restore() {
			text += "; the settings of the room are as before"
		} else {
			text += "; the settings of the room were changed meanwhile, so they stay"
		}
	}
	if !r.of.Keep {
		if n := r.removeFaults(); n > 0 {
			text += fmt.Sprintf("; its faults were removed: %d", n)
		}
	} else if n := len(r.faults()); n > 0 {
		text += fmt.Sprintf("; its faults stay: %d", n)
	}
	return text
}

// faults returns the names of the faults of the scenario.
func (r *run) faults() (names []string) {
	for _, f := range r.set.options.Faults.List() {
		if strings.HasPrefix(f.Name, r.prefix()) {
			names = append(names, f.Name)
		}
	}
	return names
}

// removeFaults removes the faults of the scenario, and returns how many there were.
func (r *run) removeFaults() int {
	names := r.faults()
	for _, name := range names {
		_ = r.set.options.Faults.Remove(name) // perhaps somebody was faster
	}
	return len(names)
}

// prefix begins the names of the faults of the scenario.
func (r *run) prefix() string { return "scenario:" + r.of.Name + ":" }

func withParameters(values map[string]any) string {
	if len(values) == 0 {
		return "without parameters"
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, fmt.Sprintf("%s %v", name, values[name]))
	}
	return "with " + strings.Join(list, ", ")
}

// steps does a list of steps.
func (r *run) steps(ctx context.Context, steps []Step, in string) error {
	for i := range steps {
		s, at := &steps[i], fmt.Sprintf("%s[%d]", in, i)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r.enter(s, at, "")
		rounds := 0
		if s.Steps != nil {
			var err error
			if rounds, err = r.repeats(s); err != nil {
				return fhir.At(err, at+".repeat")
			}
			for round := range rounds {
				if err := r.steps(ctx, s.Steps, fmt.Sprintf("%s.round[%d].steps", at, round)); err != nil {
					return err
				}
			}
		}
		if rounds > 0 {
			continue // its steps were counted
		}
		if r.done++; r.done > maxDone {
			return fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeTooCostly, "one run does at most %d steps; a repeat of no rounds is one", maxDone)
		}
		if s.Steps != nil {
			continue
		}
		if s.Each != "" {
			if err := r.each(ctx, s, at); err != nil {
				return err
			}
			continue
		}
		if err := r.one(ctx, s, at); err != nil {
			return err
		}
	}
	return nil
}

// one does a step that has no steps.
func (r *run) one(ctx context.Context, s *Step, at string) error {
	result, err := r.step(ctx, s, at)
	if err != nil {
		return err
	}
	result.Step, result.Note = at, r.note(s)
	r.finish(result)
	return nil
}

// each does a request for each socket or token that the subscription has now.
func (r *run) each(ctx context.Context, s *Step, at string) error {
	id, _ := r.values[subscriptionName].(string)
	var list []string
	if s.Each == tokenName {
		list = r.set.options.Tokens(id)
	} else {
		var err error
		if list, err = r.set.options.Sockets(id); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		r.finish(Result{Step: at, Note: r.note(s), Did: "there was no " + s.Each + " to do it for"})
	}
	defer delete(r.values, s.Each)
	for i, one := range list {
		r.values[s.Each] = one
		if err := r.one(ctx, s, fmt.Sprintf("%s.each[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}

// note returns the note of a step, as far as its values are known.
func (r *run) note(s *Step) string {
	note, err := fillWith(s.Note, r.value, func(s string) string { return s })
	if err != nil {
		return s.Note
	}
	return note
}

func (r *run) repeats(s *Step) (int, error) {
	v, err := fillJSON(s.Repeat, r.value)
	if err != nil {
		return 0, err
	}
	return count(v)
}

// enter notes which step is being done.
func (r *run) enter(s *Step, at, waitsFor string) {
	note := r.note(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Step, r.state.Note, r.state.Since, r.state.WaitsFor = at, note, r.now(), waitsFor
}

func (r *run) finish(result Result) {
	text := result.Did
	if result.Status > 0 {
		text += fmt.Sprintf(" returned %d", result.Status)
	}
	if result.Note != "" {
		text = result.Note + ": " + text
	}
	r.record("step", result.Step+", "+text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.state.Results) == maxResults {
		r.state.Results = slices.Delete(r.state.Results, 0, 1)
		r.state.Omitted++
	}
	r.state.Results = append(r.state.Results, result)
}

// value returns the value of a parameter, or of what comes with the subscription.
func (r *run) value(name string) (any, error) {
	if v, is := r.values[name]; is && v != nil {
		return v, nil
	}
	id, _ := r.values[subscriptionName].(string)
	switch name {
	case socketName:
		return r.set.options.Socket(id)
	case tokenName:
		return r.set.options.Token(id)
	case beginName:
		return json.Number(fmt.Sprint(r.state.Begin)), nil // which does not change
	case awaitedName:
		if r.awaited != "" {
			return r.awaited, nil
		}
	}
	return nil, fhir.Refuse(http.StatusUnprocessableEntity, fhir.CodeNotFound, "there is no value for {{%s}}", name)
}

// step does one step.
func (r *run) step(ctx context.Context, s *Step, at string) (Result, error) {
	switch {
	case s.Await != nil:
		return r.await(ctx, s, at)
	case s.Advance != "":
		return r.advance(ctx, s, at)
	}
	address, err := fillPath(s.Path, r.value)
	if err != nil {
		return Result{}, err
	}
	path, err := checkPath(address, at+".path")
	if err != nil {
		return Result{}, err
	}
	body, err := fillJSON(s.Body, r.value)
	if err != nil {
		return Result{}, err
	}
	if err := checkBody(path, body, at+".body"); err != nil {
		return Result{}, err
	}
	if path == "/mock/faults" {
		r.nameFaults(body, at)
	}
	if name, is := strings.CutPrefix(path, "/mock/faults/"); is && !strings.HasPrefix(name, r.prefix()) {
		address = "/mock/faults/" + url.PathEscape(r.prefix()+name) + query(address)
	}
	if path == settingsPath && s.Method != http.MethodGet {
		if err := r.claimSettings(); err != nil {
			return Result{}, err
		}
		defer r.settings.Changed()
	}
	status, _, err := r.request(ctx, s.Method, address, body, at)
	return Result{Did: s.Method + " " + address, Status: status}, err
}

// query returns the query of an address, with its question mark.
func query(address string) string {
	_, query, has := strings.Cut(address, "?")
	if has {
		query = "?" + query
	}
	return query
}

// claimSettings begins to change the settings of the room. It refuses to while another
// scenario does: nobody could say then what the settings were before.
func (r *run) claimSettings() error {
	r.set.mu.Lock()
	defer r.set.mu.Unlock()
	if err := r.set.claimLocked(r); err != nil {
		return err
	}
	if r.settings == nil {
		r.settings = r.set.options.Settings()
	}
	r.settings.Change()
	return nil
}

// nameFaults makes the names of faults in a body those of the scenario.
func (r *run) nameFaults(body any, at string) {
	faults := []any{body}
	if o, is := body.(map[string]any); is && o["faults"] != nil {
		faults, _ = o["faults"].([]any)
	}
	for i, f := range faults {
		o, is := f.(map[string]any)
		if !is {
			continue
		}
		name, _ := o["name"].(string)
		if name == "" {
			name = fmt.Sprintf("%s-%d", strings.NewReplacer("steps[", "", "round[", "", "each[", "", "]", "").Replace(at), i+1)
		}
		if !strings.HasPrefix(name, r.prefix()) {
			o["name"] = r.prefix() + name
		}
	}
}

// request sends a request and returns the response. It refuses what the response refuses.
func (r *run) request(ctx context.Context, method, address string, body any, at string) (int, []byte, error) {
	request := Request{Method: method, Path: address, By: "scenario " + r.of.Name + ", " + at}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		request.Body = data
	}
	status, response := r.do(ctx, request)
	if err := context.Cause(ctx); err != nil {
		return status, response, err
	}
	if status >= 300 {
		return status, response, fhir.Refuse(status, fhir.CodeProcessing, "%s %s returned %d: %s", method, address, status, refusal(response))
	}
	return status, response, nil
}

// refusal returns what a refusal says: the detail of a problem, or the issues of an
// OperationOutcome.
func refusal(body []byte) string {
	var said struct {
		Detail string `json:"detail"`
		Issue  []struct {
			Diagnostics string `json:"diagnostics"`
		} `json:"issue"`
	}
	_ = json.Unmarshal(body, &said) // what is not JSON says nothing
	texts := []string{}
	if said.Detail != "" {
		texts = append(texts, said.Detail)
	}
	for _, i := range said.Issue {
		texts = append(texts, i.Diagnostics)
	}
	if len(texts) == 0 {
		return fmt.Sprintf("%.200s", body)
	}
	return strings.Join(texts, "; ")
}

// await waits until something has happened since the last await. Of several things the order
// does not matter.
func (r *run) await(ctx context.Context, s *Step, at string) (Result, error) {
	result := Result{Did: "awaited ", Seq: r.since}
	for i, body := range conditions(s.Await) {
		if _, err := fill(body, r.value); err != nil {
			return Result{}, err
		}
		wanted, _ := json.Marshal(body) // read from JSON
		r.enter(s, at, string(wanted))
		if since, said := body["since"]; !said {
			body["since"] = r.since
		} else if since == nil {
			delete(body, "since")
		}
		status, response, err := r.request(ctx, http.MethodPost, "/mock/await", body, at)
		if err != nil {
			return Result{}, err
		}
		var met struct {
			Seq   uint64
			Entry struct{ Subscription string }
		}
		_ = json.Unmarshal(response, &met) // our own
		if met.Entry.Subscription != "" {
			r.awaited = met.Entry.Subscription
		}
		if i > 0 {
			result.Did += " and "
		}
		result.Did += string(wanted)
		result.Status, result.Seq = status, max(result.Seq, met.Seq)
	}
	r.since = result.Seq
	return result, nil
}

// advance lets time of the room's clock pass: it moves the clock if that is manual, and
// waits otherwise.
func (r *run) advance(ctx context.Context, s *Step, at string) (Result, error) {
	text, err := fillText(s.Advance, r.value)
	if err != nil {
		return Result{}, err
	}
	by, err := time.ParseDuration(fmt.Sprint(text))
	if err != nil || by < 0 {
		return Result{}, wrong(at+".advance", fhir.CodeValue, "got %.80v, expected a time such as 31m", text)
	}
	r.enter(s, at, by.String()+" of the room's clock")
	if r.set.options.Clock.IsManual() {
		status, response, err := r.request(ctx, http.MethodPost, "/mock/clock/advance", map[string]any{"by": by.String(), "timeout": "5m"}, at)
		if err != nil {
			return Result{}, err
		}
		var moved struct {
			Done bool
			Note string
		}
		_ = json.Unmarshal(response, &moved) // our own
		if !moved.Done {
			return Result{}, fhir.Refuse(http.StatusConflict, fhir.CodeTimeout, "the clock did not come so far: %s", moved.Note)
		}
		return Result{Did: "the clock was advanced by " + by.String(), Status: status}, nil
	}
	over := make(chan struct{})
	timer := r.set.options.Clock.AfterFunc(by, func() { close(over) }, clock.What{Kind: clock.Scenario, Of: r.of.Name})
	defer timer.Stop()
	select {
	case <-over:
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
	return Result{Did: by.String() + " passed"}, nil
}
