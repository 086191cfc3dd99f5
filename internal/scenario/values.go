package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/suggest"
)

// values returns the parameters of a start with their defaults filled in. The subscription
// may be left out.
func (d *Definition) values(given map[string]json.RawMessage) (map[string]any, error) {
	var names []string
	values := map[string]any{}
	for _, p := range d.Parameters {
		names = append(names, p.Name)
		at := "parameters." + p.Name
		raw, is := given[p.Name]
		if !is {
			if values[p.Name] = p.Default; p.Default == nil && p.Name != subscriptionName {
				return nil, wrong(at, fhir.CodeRequired, "the scenario %s needs the parameter %s: %s", d.Name, p.Name, p.Description)
			}
			continue
		}
		v, err := decode(raw)
		if kind := kindOf(v); err != nil || v == nil || kind == "" {
			return nil, wrong(at, fhir.CodeValue, "expected a string, a number or a boolean")
		} else if wanted := kindOf(p.Default); p.Default != nil && kind != wanted {
			return nil, wrong(at, fhir.CodeValue, "got %s, expected %s as the default %v", kind, wanted, p.Default)
		}
		values[p.Name] = v
	}
	for name := range given {
		if slices.Contains(names, name) {
			continue
		}
		hint := "it has none"
		if len(names) > 0 {
			hint = "it has " + strings.Join(names, ", ")
		}
		if nearest := suggest.Nearest(name, names); nearest != "" {
			hint = fmt.Sprintf("did you mean %q?", nearest)
		}
		return nil, wrong("parameters", fhir.CodeNotSupported, "the scenario %s has no parameter %.60q; %s", d.Name, name, hint)
	}
	if id, is := values[subscriptionName]; is && id != nil {
		if _, text := id.(string); !text {
			return nil, wrong("parameters."+subscriptionName, fhir.CodeValue, "expected the id of a subscription, a string")
		}
	}
	return values, nil
}

// decode reads a JSON value with numbers as they are written.
func decode(data []byte) (v any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err = decoder.Decode(&v)
	return v, err
}

// lookup returns the value of a name.
type lookup func(name string) (any, error)

// fill replaces the placeholders in all texts of a JSON value.
func fill(v any, value lookup) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return fillText(v, value)
	case []any:
		for i := range v {
			if v[i], err = fill(v[i], value); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = fill(v[name], value); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// fillText replaces the placeholders in a text. A text that is one becomes the value.
func fillText(text string, value lookup) (any, error) {
	if m := placeholder.FindStringSubmatch(text); m != nil && m[0] == text {
		return value(m[1])
	}
	return fillWith(text, value, func(s string) string { return s })
}

// fillPath replaces the placeholders in an address. checkPath sees to it that they lead
// nowhere else.
func fillPath(address string, value lookup) (string, error) {
	p, query, has := strings.Cut(address, "?")
	p, err := fillWith(p, value, url.PathEscape)
	if err != nil || !has {
		return p, err
	}
	query, err = fillWith(query, value, url.QueryEscape)
	return p + "?" + query, err
}

func fillWith(text string, value lookup, escape func(string) string) (string, error) {
	var failed error
	filled := placeholder.ReplaceAllStringFunc(text, func(m string) string {
		v, err := value(strings.Trim(m, "{}"))
		if err != nil && failed == nil {
			failed = err
		}
		return escape(fmt.Sprint(v))
	})
	return filled, failed
}

// fillJSON is fill for a text of JSON; nil for none.
func fillJSON(data json.RawMessage, value lookup) (any, error) {
	if data == nil {
		return nil, nil
	}
	v, err := decode(data)
	if err != nil {
		return nil, err
	}
	return fill(v, value)
}

// count returns how often a step is repeated.
func count(v any) (int, error) {
	n, ok := new(big.Int).SetString(strings.TrimSuffix(fmt.Sprint(v), ".0"), 10)
	if !ok || !n.IsInt64() || n.Int64() < 0 || n.Int64() > maxDone {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %.40s, expected how often: a whole number from 0 to %s", fmt.Sprint(v), strconv.Itoa(maxDone))
	}
	return int(n.Int64()), nil
}
