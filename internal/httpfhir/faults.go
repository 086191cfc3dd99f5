package httpfhir

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fault"
	"signalfhir/internal/fhir"
	"signalfhir/internal/token"
)

// Misbehave does to an operation on subscriptions what the faults of its room want: it waits,
// or refuses the request. It returns the faults that spoil the response.
func Misbehave(r *Request, operation string, ids []string) ([]*fault.Rule, error) {
	var spoil []*fault.Rule
	set := r.Room.Faults()
	for _, rule := range set.On(fault.OnOperation) {
		about := fault.About{Method: r.Method, Release: string(r.Release), Path: "/fhir/" + string(r.Release) + r.Path, Operation: operation}
		if slices.Contains(ids, rule.Subscription) {
			about.Subscription = rule.Subscription
		}
		if !rule.Applies(about) {
			continue
		}
		done := func(text string) { set.Record(rule, about, "$"+operation+" "+text+" by fault "+rule.Name) }
		switch rule.Action {
		case fault.Delay:
			wait := rule.Wait()
			done("was delayed for " + wait.String())
			if err := awaitFault(r, rule, wait); err != nil {
				return nil, err
			}
		case fault.Status:
			refusal := rule.Refusal()
			done("was refused with " + strconv.Itoa(refusal.Status))
			if seconds, says := rule.RetryIn(); says {
				r.Out.Set("Retry-After", strconv.FormatInt(seconds, 10))
			}
			return nil, refusal
		default:
			done("got a response with " + strings.ReplaceAll(rule.Action, "-", " "))
			spoil = append(spoil, rule)
		}
	}
	return spoil, nil
}

// awaitFault waits while a fault delays a request. The wait ends with the request and with
// its room.
func awaitFault(r *Request, rule *fault.Rule, wait time.Duration) error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(r.Room.Context(), cancel)()
	return r.Room.Faults().Wait(ctx, rule, wait)
}

// EncodeToken writes the response to $get-ws-binding-token, as the faults want it.
func EncodeToken(r *Request, issued token.Token, url string, spoil []*fault.Rule) fhir.Body {
	t := &fhir.BindingToken{Token: issued.Secret, Expiration: issued.Expires, Subscriptions: issued.Subscriptions, WebsocketURL: url}
	for _, rule := range spoil {
		switch rule.Action {
		case fault.RefusedToken:
			r.Room.Revoke(issued.Secret)
		case fault.ExpiredToken:
			r.Room.Outdate(issued)
			t.Expiration = issued.Issued.Add(-time.Minute)
		case fault.OtherURL:
			t.WebsocketURL = rule.Address()
		}
	}
	body := r.Release.EncodeBindingToken(t)
	for _, rule := range spoil {
		switch rule.Action {
		case fault.NoExpiration:
			body = fhir.WithoutExpiration(body)
		case fault.TextExpiration:
			body = fhir.WithTextExpiration(body)
		case fault.OldNames:
			body = fhir.WithDraftNames(body)
		}
	}
	return fhir.Whole(body)
}
