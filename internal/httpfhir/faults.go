package httpfhir

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
)

// Spoiler is a fault that may spoil the response to an operation.
type Spoiler struct {
	rule  *fault.Rule
	about fault.About
}

// Misbehave does to an operation on subscriptions what the faults of its room want: it waits,
// or refuses the request. It returns the faults that spoil the response, if there will be one.
func Misbehave(r *Request, operation string, ids []string) ([]Spoiler, error) {
	var spoil []Spoiler
	set := r.Room.Faults()
	for _, rule := range set.On(fault.OnOperation) {
		about := fault.About{Method: r.Method, Release: string(r.Release), Path: "/fhir/" + string(r.Release) + r.Path, Operation: operation}
		if slices.Contains(ids, rule.Subscription) {
			about.Subscription = rule.Subscription
		}
		if rule.Action != fault.Delay && rule.Action != fault.Status {
			spoil = append(spoil, Spoiler{rule, about})
			continue
		}
		if !rule.Applies(about) {
			continue
		}
		done := func(text string) { set.Record(rule, about, "$"+operation+" "+text+" by fault "+rule.Name) }
		if rule.Action == fault.Delay {
			wait := rule.Wait()
			if err := r.Room.Faults().Wait(r.ctx, rule, wait, func() { done("was delayed for " + wait.String()) }); err != nil {
				return nil, err
			}
			continue
		}
		refusal := rule.Refusal()
		done("was refused with " + strconv.Itoa(refusal.Status))
		if seconds, says := rule.RetryIn(); says {
			r.Out.Set("Retry-After", strconv.FormatInt(seconds, 10))
		}
		return nil, refusal
	}
	return spoil, nil
}

// EncodeToken writes the response to $get-ws-binding-token, as the faults want it.
func EncodeToken(r *Request, issued token.Token, url string, spoil []Spoiler) fhir.Body {
	spoil = slices.DeleteFunc(spoil, func(s Spoiler) bool { return !s.rule.Applies(s.about) })
	t := &fhir.BindingToken{Token: issued.Secret, Expiration: issued.Expires, Subscriptions: issued.Subscriptions, WebsocketURL: url}
	for _, s := range spoil {
		switch s.rule.Action {
		case fault.RefusedToken:
			r.Room.Revoke(issued.Secret)
		case fault.ExpiredToken:
			t.Expiration = r.Room.Outdate(issued)
		case fault.OtherURL:
			t.WebsocketURL = s.rule.Address()
		}
	}
	body := r.Release.EncodeBindingToken(t)
	if m := r.Room.Manners(); m != nil && m.DraftNames {
		body = fhir.WithDraftNames(body)
	}
	for _, s := range spoil {
		before, what := body, "$"+s.about.Operation
		switch s.rule.Action {
		case fault.NoExpiration:
			body = fhir.WithoutExpiration(body)
		case fault.TextExpiration:
			body = fhir.WithTextExpiration(body)
		case fault.OldNames:
			body = fhir.WithDraftNames(body)
		default:
			before = nil
		}
		if bytes.Equal(before, body) { // another fault was there before
			s.rule.Undo()
			r.Room.Faults().Record(s.rule, s.about, "fault "+s.rule.Name+" ("+s.rule.Action+") could not be applied to "+what+": the response has no such part left")
			continue
		}
		r.Room.Faults().Record(s.rule, s.about, what+" got a response with "+strings.ReplaceAll(s.rule.Action, "-", " ")+" by fault "+s.rule.Name)
	}
	return fhir.Whole(body)
}
