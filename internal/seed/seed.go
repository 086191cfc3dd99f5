// Package seed reads seed files: the content of a room when it is new or was reset.
//
// A seed file is one JSON object; every member is optional:
//
//	{
//	  "description": "what this room is for",
//	  "random": 42,
//	  "resources": [ FHIR R5 resources, each with its id, in load order ],
//	  "R4B": {"resources": [ … ]},
//	  "R4": {"resources": [ …, topics as SubscriptionTopic of R5 ]},
//	  "generators": [
//	    {"name": "ward", "scenario": "admission-to-discharge", "rate": "10/min",
//	     "patients": 8, "seed": 7, "running": true}
//	  ]
//	}
//
// random seeds the generators that have no seed of their own, each differently.
//
// The package checks the form of the file and reports all mistakes together, each with
// its path. It checks only the type and id of resources and does not load them: the
// room checks them like the writes of a client.
package seed

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"signalfhir/internal/fhir"
	"signalfhir/internal/synth"
)

// Seed is the content of a seed file.
type Seed struct {
	Description string
	Random      uint64
	Resources   map[fhir.Release][]*fhir.Object // each with resourceType and id; read-only
	Generators  []synth.Spec                    // each with its seed

	passed sync.Map // of Check
}

// Check is what the resources of a release were checked for. Its outcome depends on
// the seed alone, so that of many rooms with one seed only the first has to check.
type Check struct {
	Release    fhir.Release
	Invariants bool // not only the form
}

// Passed reports whether [Seed.Pass] was called with the check.
func (s *Seed) Passed(c Check) bool {
	_, ok := s.passed.Load(c)
	return ok
}

// Pass remembers that every resource of the release passed a check. The resources
// must not be modified afterwards.
func (s *Seed) Pass(c Check) { s.passed.Store(c, nil) }

// MaxIssues bounds the mistakes that one refusal reports.
const MaxIssues = 20

// Read parses a seed file. It refuses invalid JSON, unknown members, values of the
// wrong type, resources without a known type or a valid id, duplicate resources or
// generator names, and generators that could not run. The issues have paths into the
// file ("generators[0].rate").
func Read(data []byte) (*Seed, error) {
	o, err := fhir.Parse(data)
	if err != nil {
		return nil, err
	}
	r := reader{}
	s := r.seed(o)
	if len(r.issues) > 0 {
		return nil, &fhir.Error{Status: http.StatusBadRequest, Issues: r.issues}
	}
	return s, nil
}

// reader collects the mistakes.
type reader struct{ issues []fhir.Issue }

func (r *reader) wrong(path string, code fhir.IssueCode, format string, args ...any) {
	if len(r.issues) < MaxIssues {
		r.issues = append(r.issues, fhir.Refuse(http.StatusBadRequest, code, format, args...).At(path).Issues...)
	}
}

// known reports members that are not among names.
func (r *reader) known(o *fhir.Object, path string, names ...string) {
	for _, name := range o.Names() {
		if !slices.Contains(names, name) {
			r.wrong(path+name, fhir.CodeStructure, "unknown member; expected %s", strings.Join(names, ", "))
		}
	}
}

func (r *reader) seed(o *fhir.Object) *Seed {
	r.known(o, "", "description", "random", "resources", "R4B", "R4", "generators")
	s := &Seed{Description: r.text(o, "", "description"), Random: r.seedNumber(o, "", "random"), Resources: map[fhir.Release][]*fhir.Object{}}
	s.Resources[fhir.R5] = r.resources(fhir.R5, o, "")
	for _, release := range fhir.Releases {
		name := string(release)
		if part, ok := o.Get(name).(*fhir.Object); ok {
			r.known(part, name+".", "resources")
			s.Resources[release] = r.resources(release, part, name+".")
		} else if o.Has(name) {
			r.wrong(name, fhir.CodeStructure, "expected an object with resources, got %s", kind(o.Get(name)))
		}
	}
	names := map[string]int{}
	for i, v := range r.array(o, "", "generators") {
		path := "generators[" + strconv.Itoa(i) + "]"
		generator, ok := v.(*fhir.Object)
		if !ok {
			r.wrong(path, fhir.CodeStructure, "expected an object, got %s", kind(v))
			continue
		}
		spec := r.generator(generator, path+".")
		if !generator.Has("seed") {
			spec.Seed = s.Random + uint64(i) + 1
		}
		if first, twice := names[spec.Name]; twice {
			r.wrong(path+".name", fhir.CodeDuplicate, "duplicate name %q, already used by generators[%d]", spec.Name, first)
		}
		names[spec.Name] = i
		s.Generators = append(s.Generators, spec)
	}
	if len(s.Generators) > synth.MaxGenerators {
		r.wrong("generators", fhir.CodeTooCostly, "got %d, expected at most %d", len(s.Generators), synth.MaxGenerators)
	}
	return s
}

// resources reads the resources of a release.
func (r *reader) resources(release fhir.Release, o *fhir.Object, place string) []*fhir.Object {
	var list []*fhir.Object
	seen := map[string]int{}
	for i, v := range r.array(o, place, "resources") {
		path := place + "resources[" + strconv.Itoa(i) + "]"
		resource, ok := v.(*fhir.Object)
		if !ok {
			r.wrong(path, fhir.CodeStructure, "expected a resource, got %s", kind(v))
			continue
		}
		r.resource(release, resource, path, i, seen)
		list = append(list, resource)
	}
	return list
}

// resource checks what loading a resource requires: a type and an id. A topic can be
// seeded on every release; R4 has no such type, so there it has the form of R5 (TOP-1).
func (r *reader) resource(release fhir.Release, o *fhir.Object, path string, i int, seen map[string]int) {
	typ, id := o.Text("resourceType"), o.Text("id")
	if !release.IsResourceType(typ) && typ != "SubscriptionTopic" {
		r.wrong(path+".resourceType", fhir.CodeStructure, "expected a resource type of FHIR %s, got %s", release, kind(o.Get("resourceType")))
		return
	}
	if !fhir.IsID(id) {
		r.wrong(path+".id", fhir.CodeValue, "a seeded %s needs an id of 1 to 64 letters, digits, - and ., got %s", typ, kind(o.Get("id")))
		return
	}
	key := typ + "/" + id
	if first, twice := seen[key]; twice {
		r.wrong(path+".id", fhir.CodeDuplicate, "duplicate resource %s, already in resources[%d]", key, first)
		return
	}
	seen[key] = i
}

func (r *reader) generator(o *fhir.Object, path string) synth.Spec {
	before := len(r.issues)
	r.known(o, path, "name", "scenario", "rate", "patients", "seed", "running", "releases")
	spec := synth.Spec{
		Name:     r.text(o, path, "name"),
		Scenario: r.text(o, path, "scenario"),
		Rate:     r.text(o, path, "rate"),
		Patients: r.whole(o, path, "patients"),
		Seed:     r.seedNumber(o, path, "seed"),
		Running:  r.boolean(o, path, "running"),
	}
	for i, v := range r.array(o, path, "releases") {
		name, ok := v.(string)
		if !ok {
			r.wrong(path+"releases["+strconv.Itoa(i)+"]", fhir.CodeStructure, "expected a string, got %s", kind(v))
		}
		spec.Releases = append(spec.Releases, name)
	}
	if len(r.issues) > before {
		return spec // its values are not those of the file
	}
	if err := spec.Check(); err != nil {
		for _, issue := range fhir.IssuesOf(err) {
			r.wrong(path+issue.Expression[0], issue.Code, "%s", issue.Diagnostics)
		}
	}
	return spec
}

func (r *reader) text(o *fhir.Object, path, name string) string {
	text, ok := o.Get(name).(string)
	if !ok && o.Has(name) {
		r.wrong(path+name, fhir.CodeStructure, "expected a string, got %s", kind(o.Get(name)))
	}
	return text
}

func (r *reader) boolean(o *fhir.Object, path, name string) bool {
	b, ok := o.Get(name).(bool)
	if !ok && o.Has(name) {
		r.wrong(path+name, fhir.CodeStructure, "expected true or false, got %s", kind(o.Get(name)))
	}
	return b
}

func (r *reader) array(o *fhir.Object, path, name string) []any {
	values, ok := o.Get(name).([]any)
	if !ok && o.Has(name) {
		r.wrong(path+name, fhir.CodeStructure, "expected an array, got %s", kind(o.Get(name)))
	}
	return values
}

func (r *reader) whole(o *fhir.Object, path, name string) int {
	if !o.Has(name) {
		return 0
	}
	number, _ := o.Get(name).(json.Number)
	n, err := strconv.Atoi(string(number))
	if err != nil {
		r.wrong(path+name, fhir.CodeStructure, "expected a whole number, got %s", kind(o.Get(name)))
	}
	return n
}

func (r *reader) seedNumber(o *fhir.Object, path, name string) uint64 {
	if !o.Has(name) {
		return 0
	}
	number, _ := o.Get(name).(json.Number)
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		r.wrong(path+name, fhir.CodeStructure, "expected a whole number of at least 0, got %s", kind(o.Get(name)))
	}
	return n
}

// kind describes an unexpected value.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		if len(v) > 80 {
			return "a string of " + strconv.Itoa(len(v)) + " bytes"
		}
		return strconv.Quote(v)
	case json.Number:
		return "the number " + string(v)
	case *fhir.Object:
		return "an object"
	case []any:
		return "an array"
	}
	return fmt.Sprint(v)
}
