// Package scenario runs named lists of steps against a room: what a server does to a client
// that has to survive it. A step is a request to the control API or the FHIR API of the
// room, or a wait, so whatever these APIs can do, a scenario can do. A [Definition] is data;
// some are built in, and users send their own.
package scenario

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"signalfhir/internal/fhir"
)

// Definition is a scenario as it is written.
type Definition struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"` // what happens
	Tests       string      `json:"tests,omitempty"`       // the behaviour of a client that it tests
	Good        string      `json:"good,omitempty"`        // what a good client does
	Keep        bool        `json:"keep,omitempty"`        // its faults stay when it ends
	Parameters  []Parameter `json:"parameters,omitempty"`
	Steps       []Step      `json:"steps"`
}

// Parameter is a value that a start may give.
type Parameter struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Default     json.RawMessage `json:"default,omitempty"` // a string, a number or a boolean; nil: it has to be given
	Least       *float64        `json:"least,omitempty"`   // of a number
	Most        *float64        `json:"most,omitempty"`
}

// value returns the default; nil if there is none.
func (p *Parameter) value() any {
	v, _ := decode(p.Default) // nil if it cannot be read
	return whole(v)
}

// Step is a request, a wait, or a list of steps that is repeated. In every text {{name}} is
// replaced by the value of a parameter; a text that is {{name}} and no more becomes the value.
type Step struct {
	Note    string          `json:"note,omitempty"`    // what happens
	Method  string          `json:"method,omitempty"`  // of a request
	Path    string          `json:"path,omitempty"`    // below /mock or /fhir of the room
	Each    string          `json:"each,omitempty"`    // the request is made for each socket or token of the subscription
	Body    json.RawMessage `json:"body,omitempty"`    // JSON
	Await   json.RawMessage `json:"await,omitempty"`   // body of POST /mock/await, or a list of those, in any order
	Advance string          `json:"advance,omitempty"` // a time of the room's clock that passes
	Repeat  json.RawMessage `json:"repeat,omitempty"`  // how often Steps are done
	Steps   []Step          `json:"steps,omitempty"`
}

// The parameter that most scenarios have, and the values that come with it. They need no
// declaration. Socket and token are those that the subscription has when the step is done;
// of a request for each of them, the one that it is made for.
const (
	subscriptionName = "subscription"
	patienceName     = "patience"      // as long as a client needs, if it has no default
	releaseName      = "release"       // of the subscription
	topicName        = "topic"         // canonical URL of its topic
	resourceName     = "topicResource" // the resource of its topic, "SubscriptionTopic/admission"
	socketName       = "socket"        // id of the socket that was bound to it last
	tokenName        = "token"         // fingerprint of the token that was issued for it last
	beginName        = "begin"         // number of the last entry of the journal before the scenario
	awaitedName      = "awaited"       // subscription of the entry that ended the last await
)

var implied = []string{releaseName, topicName, resourceName, socketName, tokenName, beginName, awaitedName}

// The bounds of a definition and of a run.
const (
	maxSteps   = 1000   // written
	maxDone    = 10_000 // done in one run
	maxNesting = 4
	maxOwn     = 100       // scenarios of the user's own
	maxSize    = 128 << 10 // bytes of one of those: all are listed at once
)

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	placeholder = regexp.MustCompile(`\{\{([^{}]*)\}\}`)
	methods     = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
)

func wrong(at string, code fhir.IssueCode, format string, args ...any) error {
	return fhir.Refuse(http.StatusBadRequest, code, format, args...).At(at)
}

// Check refuses a definition that cannot be run, whatever its parameters.
func (d *Definition) Check() error {
	if !nameForm.MatchString(d.Name) {
		return wrong("name", fhir.CodeValue, "got %.70q, expected 1 to 64 letters, digits, dots, hyphens or underscores, a letter or digit first", d.Name)
	}
	known := []string{beginName, awaitedName}
	for i, p := range d.Parameters {
		at := fmt.Sprintf("parameters[%d]", i)
		switch {
		case !nameForm.MatchString(p.Name):
			return wrong(at+".name", fhir.CodeValue, "got %.70q, expected 1 to 64 letters, digits, dots, hyphens or underscores", p.Name)
		case slices.Contains(implied, p.Name):
			return wrong(at+".name", fhir.CodeInvariant, "the name %s is taken: a scenario gets %s by itself", p.Name, strings.Join(implied, ", "))
		case slices.Contains(known, p.Name):
			return wrong(at+".name", fhir.CodeDuplicate, "the parameter %s is there twice", p.Name)
		case kindOf(p.value()) == "":
			return wrong(at+".default", fhir.CodeValue, "expected a string, a number or a boolean")
		}
		if p.Least != nil || p.Most != nil {
			if _, is := p.value().(json.Number); !is {
				return wrong(at, fhir.CodeInvariant, "least and most are of a number, so the default has to be one")
			}
			const exact = 1<<53 - 1
			for member, bound := range map[string]*float64{"least": p.Least, "most": p.Most} {
				if bound != nil && (*bound < -exact || *bound > exact) {
					return wrong(at+"."+member, fhir.CodeValue, "got %v, expected a number from %d to %d", *bound, -exact, exact)
				}
			}
			if err := p.bounds(p.value(), at+".default"); err != nil {
				return err
			}
		}
		if known = append(known, p.Name); p.Name == subscriptionName {
			known = append(known, releaseName, topicName, resourceName, socketName, tokenName)
		}
	}
	if len(d.Steps) == 0 {
		return wrong("steps", fhir.CodeRequired, "expected at least one step")
	}
	left := maxSteps
	return checkSteps(d.Steps, "steps", known, 1, &left)
}

func checkSteps(steps []Step, in string, known []string, depth int, left *int) error {
	for i := range steps {
		s, at := &steps[i], fmt.Sprintf("%s[%d]", in, i)
		if *left--; *left < 0 {
			return wrong(at, fhir.CodeTooCostly, "a scenario has at most %d steps", maxSteps)
		}
		kinds := 0
		for _, is := range []bool{s.Method != "" || s.Path != "" || s.Body != nil, s.Await != nil, s.Advance != "", s.Repeat != nil || s.Steps != nil} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			return wrong(at, fhir.CodeInvariant, "expected one of: method and path (and body), await, advance, repeat and steps")
		}
		for _, text := range []struct{ member, text string }{{"note", s.Note}, {"path", s.Path}, {"body", string(s.Body)}, {"await", string(s.Await)}, {"advance", s.Advance}, {"repeat", string(s.Repeat)}} {
			for _, m := range placeholder.FindAllStringSubmatch(text.text, -1) {
				if !slices.Contains(known, m[1]) {
					return wrong(at+"."+text.member, fhir.CodeInvalid, "%.80s is no parameter; there are %s", m[0], strings.Join(known, ", "))
				}
			}
		}
		if s.Each != "" {
			switch {
			case s.Each != socketName && s.Each != tokenName:
				return wrong(at+".each", fhir.CodeCodeInvalid, "got %.40q, expected %q or %q", s.Each, socketName, tokenName)
			case s.Method == "":
				return wrong(at+".each", fhir.CodeInvariant, "it goes with a request: method and path")
			case !slices.Contains(known, s.Each):
				return wrong(at+".each", fhir.CodeInvariant, "it goes with a parameter %s", subscriptionName)
			}
		}
		switch {
		case s.Method != "" || s.Path != "" || s.Body != nil:
			if !slices.Contains(methods, s.Method) {
				return wrong(at+".method", fhir.CodeCodeInvalid, "got %.40q, expected one of %s", s.Method, strings.Join(methods, ", "))
			}
			p, err := checkPath(s.Path, at+".path")
			if err != nil {
				return err
			}
			body, _ := decode(s.Body) // nil if there is none
			if err := checkBody(p, body, at+".body"); err != nil {
				return err
			}
		case s.Await != nil:
			if len(conditions(s.Await)) == 0 {
				return wrong(at+".await", fhir.CodeValue, `expected the body of POST /mock/await, such as {"bound":{"subscription":"{{subscription}}"}}, or a list of those`)
			}
		case s.Advance != "":
			if _, err := time.ParseDuration(s.Advance); err != nil && !placeholder.MatchString(s.Advance) {
				return wrong(at+".advance", fhir.CodeValue, "got %.80q, expected a time such as 31m", s.Advance)
			}
		default:
			if len(s.Steps) == 0 || s.Repeat == nil {
				return wrong(at, fhir.CodeRequired, `expected how often and what: {"repeat":3,"steps":[…]}`)
			}
			if depth == maxNesting {
				return wrong(at, fhir.CodeTooCostly, "repeats may be %d deep", maxNesting-1)
			}
			if err := checkSteps(s.Steps, at+".steps", known, depth+1, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// uses reports whether a text of a step has a placeholder.
func (d *Definition) uses(name string) bool {
	data, _ := json.Marshal(d.Steps) // it was read from JSON
	return bytes.Contains(data, []byte("{{"+name+"}}"))
}

// awaits reports whether a step waits for one of these conditions, or with none for any.
func (d *Definition) awaits(names ...string) bool { return awaits(d.Steps, names) }

func awaits(steps []Step, names []string) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		if s.Await != nil && len(names) == 0 || awaits(s.Steps, names) {
			return true
		}
		return s.Await != nil && slices.ContainsFunc(conditions(s.Await), func(body map[string]any) bool {
			return slices.ContainsFunc(names, func(name string) bool { return body[name] != nil })
		})
	})
}

// conditions returns the bodies of an await; nil if it is something else.
func conditions(data json.RawMessage) []map[string]any {
	v, _ := decode(data) // nil if it cannot be read
	list, is := v.([]any)
	if !is {
		list = []any{v}
	}
	bodies := make([]map[string]any, len(list))
	for i := range list {
		if bodies[i], is = list[i].(map[string]any); !is {
			return nil
		}
	}
	return bodies
}

// forbidden are the addresses that would wait for the scenario itself, or for ever, each
// with what to do instead.
var forbidden = []struct{ path, instead string }{
	{"/mock/await", `a step of its own: {"await":{…}}`},
	{"/mock/scenarios", "the steps of the other scenario"},
	{"/mock/reset", "a request when the scenario has ended, since a reset ends it"},
	{"/mock/journal/stream", "an await"},
}

// checkPath refuses an address that a step may not have, and returns its path as the server
// reads it: decoded, without the query.
func checkPath(address, at string) (string, error) {
	written, _, _ := strings.Cut(address, "?")
	p, err := url.PathUnescape(written)
	if err != nil {
		return "", wrong(at, fhir.CodeValue, "got %.200q, which has a %% that begins no character; write a %% itself as %%25", address)
	}
	if strings.Contains(address, "#") || p != path.Clean(p) || !strings.HasPrefix(p, "/mock/") && !strings.HasPrefix(p, "/fhir/") {
		return "", wrong(at, fhir.CodeValue, "got %.200q, expected an address of the room below /mock/ or /fhir/, such as /mock/faults or /fhir/R5/Encounter, without #, and decoded without . and .. and empty parts", address)
	}
	for _, f := range forbidden {
		if p == f.path || strings.HasPrefix(p, f.path+"/") {
			return "", wrong(at, fhir.CodeNotSupported, "a step cannot use %s, however it is written; use %s", f.path, f.instead)
		}
	}
	return p, nil
}

// checkBody refuses a body that a step may not have.
func checkBody(path string, body any, at string) error {
	if o, _ := body.(map[string]any); path == "/mock/trigger" && o["interval"] != nil {
		return wrong(at+".interval", fhir.CodeNotSupported, `the events would go on after the scenario; use {"repeat":3,"steps":[…]} with a trigger and an advance`)
	}
	return nil
}

// kindOf returns what a value of a parameter is, in words; "" if it cannot be one.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "anything"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	}
	return ""
}

//go:embed builtin/*.json
var files embed.FS

// Builtin returns the built-in scenarios, in order of their names. They are not modified.
var Builtin = sync.OnceValue(func() []*Definition {
	entries, err := files.ReadDir("builtin")
	var list []*Definition
	for _, e := range entries {
		var data []byte
		if data, err = files.ReadFile("builtin/" + e.Name()); err != nil {
			break
		}
		d := &Definition{}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err = decoder.Decode(d); err == nil {
			err = d.Check()
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", e.Name(), err)
			break
		}
		list = append(list, d)
	}
	if err != nil {
		panic("scenario: " + err.Error()) // they are part of the program
	}
	return list
})
