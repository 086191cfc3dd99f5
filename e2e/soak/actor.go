package soak

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// actor does random things in a world, one after the other.
type actor struct {
	world *world
	rng   *rand.Rand
}

// deed is something that an actor does.
type deed struct {
	name   string
	weight int // how often, compared with the others
	do     func(*actor)
}

var deeds = []deed{
	{"write", 40, (*actor).write},
	{"write much", 4, (*actor).writeMuch},
	{"delete", 8, (*actor).delete},
	{"transaction", 6, (*actor).transaction},
	{"refused transaction", 2, (*actor).refusedTransaction},
	{"trigger", 4, (*actor).trigger},
	{"flood", 1, (*actor).flood},
	{"subscribe", 14, (*actor).subscribe},
	{"turn off", 2, (*actor).turnOff},
	{"unsubscribe", 1, (*actor).unsubscribe},
	{"open", 14, (*actor).open},
	{"bind", 20, (*actor).bind},
	{"unbind", 3, (*actor).unbind},
	{"revoke", 3, (*actor).revoke},
	{"cut", 4, (*actor).cut},
	{"ping", 4, (*actor).ping},
	{"nonsense", 2, (*actor).nonsense},
	{"look", 4, (*actor).look},
	{"reset", 1, (*actor).reset},
}

// act does things until stop is closed. The first actor of a world begins with each of them.
func (a *actor) act(first bool, stop <-chan struct{}) {
	a.subscribeToAll()
	var next []deed
	if first {
		next = slices.Clone(deeds)
		a.rng.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		if len(next) == 0 {
			next = append(next, a.choose())
		}
		next[0].do(a)
		a.world.report.count("did: "+next[0].name, 1)
		next = next[1:]
		time.Sleep(time.Duration(a.rng.IntN(3)) * time.Millisecond)
	}
}

func (a *actor) choose() deed {
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	n := a.rng.IntN(total)
	for _, d := range deeds {
		if n -= d.weight; n < 0 {
			return d
		}
	}
	panic("the weights do not add up")
}

func pick[T any](a *actor, from []T) T { return from[a.rng.IntN(len(from))] }

// ask sends a request that may have one of these statuses. It reports false if the room is
// closing, or has refused.
func (a *actor) ask(method, path string, body any, expected ...int) (data []byte, ok bool) {
	w := a.world
	status, data, err := w.room.ask(method, path, body)
	switch {
	case w.closing.Load() && (err != nil || slices.Contains([]int{404, 409, 410, 503}, status)):
		return nil, false
	case err != nil:
		w.violated(violation{text: err.Error()})
		return nil, false
	case !slices.Contains(expected, status):
		w.violated(violation{text: fmt.Sprintf("%s %s: got %d %s, want one of %v", method, path, status, data, expected)})
		return nil, false
	}
	return data, status < 300
}

func (a *actor) encounterID() string {
	return fmt.Sprintf("%s-%d", pick(a, patientIDs), a.rng.IntN(encountersPerPatient))
}

// encounter returns an encounter with a text of so many bytes.
func encounter(id string, size int) object {
	patient, _, _ := strings.Cut(id, "-")
	e := object{"resourceType": "Encounter", "id": id, "status": "in-progress", "subject": object{"reference": "Patient/" + patient}}
	if size > 0 {
		e["text"] = object{"status": "generated", "div": `<div xmlns="http://www.w3.org/1999/xhtml">` + strings.Repeat("x", size) + `</div>`}
	}
	return e
}

func (a *actor) write()     { a.putEncounter(a.encounterID(), a.rng.IntN(200)) }
func (a *actor) writeMuch() { a.putEncounter(a.encounterID(), 20_000+a.rng.IntN(40_000)) }

func (a *actor) putEncounter(id string, size int) {
	data, ok := a.ask("PUT", "/fhir/R5/Encounter/"+id, encounter(id, size), 200, 201)
	if !ok {
		return
	}
	var stored struct{ Meta struct{ VersionID string } }
	if err := json.Unmarshal(data, &stored); err != nil {
		a.world.violated(violation{text: fmt.Sprintf("%v in %s", err, data)})
		return
	}
	a.world.accept("Encounter/"+id, stored.Meta.VersionID)
}

func (a *actor) delete() { a.ask("DELETE", "/fhir/R5/Encounter/"+a.encounterID(), nil, 200, 204) }

func (a *actor) transaction() {
	var entries []any
	for i := range 2 + a.rng.IntN(5) {
		id := fmt.Sprintf("%s-%d", pick(a, patientIDs), i) // each once
		if slices.ContainsFunc(entries, func(e any) bool { return e.(object)["fullUrl"] == "urn:"+id }) {
			continue
		}
		entries = append(entries, put(id, encounter(id, a.rng.IntN(200))))
	}
	data, ok := a.ask("POST", "/fhir/R5", object{"resourceType": "Bundle", "type": "transaction", "entry": entries}, 200)
	if !ok {
		return
	}
	var response struct {
		Entry []struct{ Response struct{ Location string } }
	}
	if err := json.Unmarshal(data, &response); err != nil || len(response.Entry) != len(entries) {
		a.world.violated(violation{text: fmt.Sprintf("a transaction: %v in %s", err, data)})
		return
	}
	for _, e := range response.Entry {
		resource, version, _ := strings.Cut(e.Response.Location, "/_history/")
		a.world.accept(lastPart(resource, 2), version)
	}
}

func put(id string, resource object) object {
	return object{"fullUrl": "urn:" + id, "resource": resource, "request": object{"method": "PUT", "url": "Encounter/" + id}}
}

// refusedTransaction has one entry that is wrong, so nothing of it may be stored.
func (a *actor) refusedTransaction() {
	good, bad := neverWritten+"a", neverWritten+"b"
	wrong := encounter(bad, 0)
	delete(wrong, "status")
	a.ask("POST", "/fhir/R5", object{"resourceType": "Bundle", "type": "transaction", "entry": []any{put(good, encounter(good, 0)), put(bad, wrong)}}, 400, 422)
}

func (a *actor) trigger() {
	a.ask("POST", "/mock/trigger", object{"subscription": pick(a, subscriptionIDs), "count": 1 + a.rng.IntN(40), "focus": encounter(a.encounterID(), a.rng.IntN(5000))}, 200, 404, 409, 410, 422)
}

// flood sends more than the buffers of the system take. Frames wait for the slow sockets,
// and those that do not read are cut.
func (a *actor) flood() {
	a.ask("POST", "/mock/trigger", object{"subscription": "all-0", "count": 300, "focus": encounter(a.encounterID(), 20_000)}, 200, 404, 409, 410, 422)
}

func (a *actor) subscribe() { a.put(pick(a, subscriptionIDs), "requested") }
func (a *actor) turnOff()   { a.put(pick(a, subscriptionIDs), "off") }
func (a *actor) unsubscribe() {
	a.ask("DELETE", "/fhir/R5/Subscription/"+pick(a, subscriptionIDs), nil, 200, 204)
}

func (a *actor) subscribeToAll() {
	for _, id := range subscriptionIDs {
		a.put(id, "requested")
	}
}

// put writes a subscription. Its name says all but its status.
func (a *actor) put(id, status string) {
	s := object{
		"resourceType": "Subscription", "id": id, "status": status, "topic": topicURL,
		"channelType": object{"system": "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "code": "websocket"},
		"contentType": "application/fhir+json", "content": "full-resource", "heartbeatPeriod": 1,
	}
	filter, number, _ := strings.Cut(id, "-")
	if filter != "all" {
		s["filterBy"] = []any{object{"resourceType": "Encounter", "filterParameter": "patient", "value": "Patient/" + filter}}
	}
	if number != "0" {
		s["content"] = "id-only"
		delete(s, "heartbeatPeriod")
	}
	a.ask("PUT", "/fhir/R5/Subscription/"+id, s, 200, 201)
}

// socket returns an open socket, or nil.
func (a *actor) socket() *client {
	open := slices.DeleteFunc(a.world.all(), func(c *client) bool { return !c.isOpen() })
	if len(open) == 0 {
		return nil
	}
	return pick(a, open)
}

func (a *actor) open() {
	w := a.world
	clients := w.all()
	if len(slices.DeleteFunc(slices.Clone(clients), func(c *client) bool { return !c.isOpen() })) >= openSockets {
		return
	}
	p := healthy
	switch a.rng.IntN(8) {
	case 0:
		p = never
	case 1:
		p = slow
	}
	c, err := dial(w.sockets, fmt.Sprintf("c%d-%d", len(clients), a.rng.Uint32()), p, w.violated)
	if err != nil {
		if !w.closing.Load() {
			w.violated(violation{text: err.Error()})
		}
		return
	}
	w.report.count(p.String()+" sockets", 1)
	w.mu.Lock()
	w.clients = append(w.clients, c)
	w.mu.Unlock()
	a.bindOn(c)
}

// bind binds a socket, or renews its bindings.
func (a *actor) bind() {
	if c := a.socket(); c != nil {
		a.bindOn(c)
	}
}

func (a *actor) bindOn(c *client) {
	w := a.world
	ids := "id=" + pick(a, subscriptionIDs)
	for range max(0, a.rng.IntN(5)-2) {
		ids += "&id=" + pick(a, subscriptionIDs)
	}
	data, ok := a.ask("POST", "/fhir/R5/Subscription/$get-ws-binding-token?"+ids, nil, 200, 404, 410, 422)
	if !ok {
		return
	}
	var parameters struct {
		Parameter []struct{ Name, ValueString string }
	}
	if err := json.Unmarshal(data, &parameters); err != nil || parameters.Parameter[0].Name != "token" {
		w.violated(violation{text: fmt.Sprintf("a token: %v in %s", err, data)})
		return
	}
	secret := parameters.Parameter[0].ValueString
	w.mu.Lock()
	w.secrets = append(w.secrets, secret)
	w.mu.Unlock()
	c.send("bind-with-token " + secret)
}

// secret returns one of the last tokens, or "".
func (a *actor) secret() string {
	w := a.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.secrets) == 0 {
		return ""
	}
	return pick(a, w.secrets[max(0, len(w.secrets)-10):])
}

func (a *actor) unbind() {
	if c, secret := a.socket(), a.secret(); c != nil && secret != "" {
		c.unbind(secret)
	}
}

func (a *actor) revoke() {
	if secret := a.secret(); secret != "" {
		a.ask("DELETE", "/mock/tokens/"+secret, nil, 200, 204, 404)
	}
}

func (a *actor) cut() {
	if c := a.socket(); c != nil {
		c.cut(a.rng.IntN(2) == 0)
	}
}

func (a *actor) ping() {
	if c := a.socket(); c != nil {
		c.ping()
	}
}

func (a *actor) nonsense() {
	if c := a.socket(); c != nil {
		c.send(pick(a, []string{"hello", "bind-with-token", "bind-with-token no-such-token", "{", `{"type":"x"}`, ""}))
	}
}

// look reads what is compared at the end only.
func (a *actor) look() {
	a.world.events(pick(a, subscriptionIDs), pick(a, []string{"$events", "$status"}))
}

func (a *actor) reset() {
	a.ask("POST", "/mock/reset", nil, 200, 204)
	a.subscribeToAll()
}
