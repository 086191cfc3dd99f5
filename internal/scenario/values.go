package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalfhir/internal/fhir"
	"signalfhir/internal/suggest"
)

// values returns the parameters of a start with their defaults filled in. The subscription
// may be left out, and the patience with a client of one.
func (d *Definition) values(given map[string]json.RawMessage) (map[string]any, error) {
	var names []string
	values := map[string]any{}
	for _, p := range d.Parameters {
		names = append(names, p.Name)
	}
	about := slices.Contains(names, subscriptionName)
	for _, p := range d.Parameters {
		at, fallback := "parameters."+p.Name, p.value()
		raw, is := given[p.Name]
		if !is {
			if values[p.Name] = fallback; fallback == nil && p.Name != subscriptionName && (p.Name != patienceName || !about) {
				return nil, wrong(at, fhir.CodeRequired, "the scenario %s needs the parameter %s: %s", d.Name, p.Name, p.Description)
			}
			continue
		}
		v, err := decode(raw)
		if kind := kindOf(v); err != nil || v == nil || kind == "" {
			return nil, wrong(at, fhir.CodeValue, "expected a string, a number or a boolean")
		} else if wanted := kindOf(fallback); fallback != nil && kind != wanted {
			return nil, wrong(at, fhir.CodeValue, "got %s, expected %s as the default %v", kind, wanted, fallback)
		}
		if text, is := v.(string); is && p.Name == patienceName {
			if d, err := time.ParseDuration(text); err != nil || d <= 0 {
				return nil, wrong(at, fhir.CodeValue, "got %.80q, expected a time such as 30s", text)
			}
		}
		values[p.Name] = whole(v)
		if err := p.bounds(v, at); err != nil {
			return nil, err
		}
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

// bounds refuses a number that a parameter does not allow.
func (p *Parameter) bounds(v any, at string) error {
	n, is := v.(json.Number)
	if !is {
		return nil
	}
	f, err := n.Float64()
	if err != nil || p.Least != nil && f < *p.Least || p.Most != nil && f > *p.Most {
		text := "a number"
		if p.Least != nil {
			text += fmt.Sprintf(", at least %v", *p.Least)
		}
		if p.Most != nil {
			text += fmt.Sprintf(", at most %v", *p.Most)
		}
		return wrong(at, fhir.CodeValue, "got %.40s, expected %s", n, text)
	}
	return nil
}

// whole returns a value, with 2.0 and 2e0 as 2: some members take whole numbers only.
func whole(v any) any {
	n, is := v.(json.Number)
	if !is || !strings.ContainsAny(n.String(), ".eE") {
		return v
	}
	const exact = 1 << 53
	if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < exact {
		return json.Number(strconv.FormatFloat(f, 'f', -1, 64))
	}
	return v
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
	n, ok := new(big.Int).SetString(fmt.Sprint(whole(v)), 10)
	if !ok || !n.IsInt64() || n.Int64() < 0 || n.Int64() > maxDone {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %.40s, expected how often: a whole number from 0 to %s", fmt.Sprint(v), strconv.Itoa(maxDone))
	}
	return int(n.Int64()), nil
}
