package fhirpath

import (
	"context"
	"fmt"
	"strings"

	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// Element is a part of a resource an expression can be evaluated on: an object or
// a primitive value, with its type.
type Element struct{ value types.Value }

// Object is the element of a type, given as JSON. The type is the one
// [fhir.PathModel] answers: "Period", or "Encounter.participant" for an element
// that defines its members itself.
func Object(data []byte, typ string) Element {
	return Element{types.NewObjectValueWithType(data, typ)}
}

// Member answers the values a member of an object has, read as ones of a type.
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

// Scope evaluates expressions on the elements of one resource, which is read once
// for all of them. It is not safe for concurrent use.
type Scope struct {
	root types.Collection
	ctx  *eval.Context
}

// NewScope makes a scope of a resource that is contained in none, given as JSON.
// All evaluations together end with the deadline of ctx.
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

// Eval evaluates an expression on an element. within is the contained resource it
// is an element of, the zero Element where it is one of the resource itself.
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

// exactModel tells the engine of a member that is no choice that it is none. Of a
// member that is not there, and for which the model knows no choice, the engine
// would look for every type FHIR has: forty times through the whole object.
type exactModel struct{ fhir.PathModel }

// noChoice is a type no member ends in, as the engine takes an empty list for one
// that is not known.
var noChoice = []string{"-"}

// ChoiceTypes lists the types a choice element may have.
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
