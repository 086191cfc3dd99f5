package httpfhir

import (
	"bytes"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fhir"
)

// Params are the in-parameters of an operation by name, each as often as it was given.
type Params map[string][]fhir.Param

// QueryParams returns the parameters of a query.
func QueryParams(query url.Values) Params {
	params := Params{}
	for name, values := range query {
		for _, value := range values {
			params[name] = append(params[name], fhir.Param{Name: name, Value: value, Expression: name})
		}
	}
	return params
}

// Params reads the in-parameters of an operation from the query and, on a POST, from the
// body (OP-4 to OP-10). It ignores unknown ones unless the request is strict.
func (r *Request) Params(known ...string) (Params, error) {
	var all []fhir.Param
	query := QueryParams(r.Query)
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch name {
		case "_format", "_pretty", "_summary", "_elements":
			continue // OP-7
		}
		all = append(all, query[name]...)
	}
	if r.Method == http.MethodPost {
		body, err := r.parametersResource()
		if err != nil {
			return nil, err
		}
		if body != nil {
			in, refused := fhir.ReadParameters(body)
			if refused != nil {
				return nil, refused
			}
			all = append(all, in...)
		}
	}
	params := Params{}
	for _, p := range all {
		if !slices.Contains(known, p.Name) && r.Strict {
			return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "the operation has no parameter %q; it has %s (OP-8)", p.Name, strings.Join(known, ", ")).At(p.Expression)
		}
		params[p.Name] = append(params[p.Name], p)
	}
	return params, nil
}

// parametersResource reads the body of an operation; nil if it has none.
func (r *Request) parametersResource() (*fhir.Object, error) {
	if r.http == nil {
		return r.resource, nil
	}
	data, err := r.body()
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil, err
	}
	if err := r.checkJSON(); err != nil {
		return nil, err
	}
	return fhir.Parse(data)
}

// one returns the value of a parameter that may be given once; nil if it was not.
func (p Params) one(name string) (*fhir.Param, error) {
	given := p[name]
	switch len(given) {
	case 0:
		return nil, nil
	case 1:
		return &given[0], nil
	}
	return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeInvalid, "%s is given %d times; at most once is possible", name, len(given)).At(given[0].Expression)
}

// Instant returns a parameter that is a time; the zero time if it was not given.
func (p Params) Instant(name string) (time.Time, error) {
	given, err := p.one(name)
	if given == nil {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, given.Value)
	if err != nil {
		return time.Time{}, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s: got %q, expected an instant such as 2026-01-01T10:00:00Z", name, given.Value).At(given.Expression)
	}
	return at, nil
}

// Number returns a parameter that is a whole number, 0 or more; fallback if it was not
// given.
func (p Params) Number(name string, fallback int64) (int64, error) {
	given, err := p.one(name)
	if given == nil {
		return fallback, err
	}
	n, err := strconv.ParseInt(given.Value, 10, 64)
	if err != nil || n < 0 {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%s: got %q, expected a whole number, 0 or more", name, given.Value).At(given.Expression)
	}
	return n, nil
}

// Content returns a parameter that is a payload level; "" if it was not given.
func (p Params) Content(name string) (fhir.Content, error) {
	given, err := p.one(name)
	if given == nil {
		return "", err
	}
	content := fhir.Content(given.Value)
	if content != fhir.Empty && content != fhir.IDOnly && content != fhir.FullResource {
		return "", fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "%s: got %q, expected empty, id-only or full-resource", name, content).At(given.Expression)
	}
	return content, nil
}

// SubscriptionIDs returns a parameter that names subscriptions: by id, as Subscription/x
// or absolute (OP-10), each value possibly a comma list (OP-5).
func (p Params) SubscriptionIDs(name string) ([]string, error) {
	var ids []string
	for _, given := range p[name] {
		for value := range strings.SplitSeq(given.Value, ",") {
			id := strings.TrimSpace(value)
			if i := strings.LastIndex(id, "Subscription/"); i >= 0 {
				id = id[i+len("Subscription/"):]
			}
			if !fhir.IsID(id) {
				return nil, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "id: got %q, expected the id of a Subscription: 1 to 64 letters, digits, - or .", value).At(given.Expression)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Values returns the values of a parameter, each possibly a comma list.
func (p Params) Values(name string) []string {
	var list []string
	for _, given := range p[name] {
		list = append(list, strings.Split(given.Value, ",")...)
	}
	return list
}
