package fhirpath

import (
	"context"
	"fmt"
	"strings"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// Element is a part of a resource that an expression can be evaluated on: an object or a
// primitive value, with its type.
type Element struct{ value types.Value }

// Object returns the element of a type, given as JSON. The type is written as
// [fhir.PathModel] returns it: "Period", or "Encounter.participant" for an element that
// defines its own members.
func Object(data []byte, typ string) Element {
	return Element{types.NewObjectValueWithType(data, typ)}
}

// Member returns the values of a member of an object, as elements of a type.
func (e Element) Member(name, typ string) []Element {
	o, ok := e.value.(*types.ObjectValue)
	if !ok {
		return nil
	}
	var members []Element
	for _, value := range o.GetCollectionWithType(name, typ) {
		members = append(members, Element{value})
	}
	return members
}

// Scope evaluates expressions on the elements of one resource, which it parses once. It is not safe for concurrent use.
type Scope struct {
	root types.Collection
	ctx  *eval.Context
}

// NewScope returns a scope of a resource, given as JSON, that is not a contained resource.
// The deadline of ctx applies to all evaluations together.
func NewScope(ctx context.Context, release fhir.Release, resource []byte) *Scope {
	s := &Scope{ctx: eval.NewContext(resource)}
	s.root = s.ctx.Root()
	s.ctx.SetContext(ctx)
	s.ctx.SetLimit("maxDepth", maxDepth)
	s.ctx.SetLimit("maxCollectionSize", maxItems)
	s.ctx.SetModel(exactModel{release.Model()})
	for name, url := range constants {
		s.ctx.SetVariable(name, types.Collection{types.NewString(url)})
	}
	return s
}

// Eval evaluates an expression on an element. within is the contained resource that the
// element is in, or the zero Element if it is not in a contained resource.
func (s *Scope) Eval(e *Expr, on, within Element) (result types.Collection, err error) {
	defer recovered(&err)
	if err := s.ctx.CheckCancellation(); err != nil {
		return nil, err
	}
	focus := types.Collection{on.value}
	resource := s.root
	if within.value != nil {
		resource = types.Collection{within.value}
	}
	s.ctx.SetVariable("context", focus)
	s.ctx.SetVariable("resource", resource)
	result, err = eval.NewEvaluator(s.ctx.WithThis(focus), registry{}).Evaluate(e.tree)
	if err != nil {
		return nil, fmt.Errorf("evaluating %q: %w", e.source, err)
	}
	return result, nil
}

// exactModel tells the engine which members are not choice elements. If a member is absent
// and the model has no choice types for it, the engine searches the whole object for each
// type of FHIR, forty times.
type exactModel struct{ fhir.PathModel }

// noChoice has a type that no member name ends in: the engine takes an empty list for an
// unknown one.
var noChoice = []string{"-"}

// ChoiceTypes returns the types that a choice element may have.
func (m exactModel) ChoiceTypes(path string) []string {
	if types := m.PathModel.ChoiceTypes(path); types != nil {
		return types
	}
	at := max(0, strings.LastIndexByte(path, '.'))
	owner := path[:at]
	if name, sibling := strings.CutPrefix(path[at:], "._"); sibling { // what stands beside a primitive
		return m.PathModel.ChoiceTypes(owner + "." + name)
	}
	if m.TypeOf(owner+".id") == "" { // of a type that is not known, anything goes
		return nil
	}
	return noChoice
}
