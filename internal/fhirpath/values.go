package fhirpath

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/gofhir/fhirpath/types"

	"signalfhir/internal/fhir"
)

// Two items have the same key exactly if they are equal. The library compares each item with
// each other one, and objects by their bytes. With keys, one pass over a collection makes a
// set of it.

// exactness says how precisely a key distinguishes items.
type exactness bool

const (
	exact exactness = false // of =: every character counts
	loose exactness = true  // of ~: neither case, nor white space, nor the order of a list does
)

func keyOf(item types.Value, how exactness) string {
	switch v := item.(type) {
	case types.Integer:
		return "number " + normalNumber(v.String())
	case types.Decimal:
		return "number " + normalNumber(v.String())
	case types.String:
		return "string " + how.text(v.Value())
	case types.Quantity:
		n := inUCUM(v).Normalize()
		return "quantity " + strconv.FormatFloat(n.Value, 'g', 15, 64) + " " + n.Code
	case *types.ObjectValue:
		if o, err := fhir.Parse(v.Data()); err == nil {
			return string(how.appendTree([]byte("object "), o))
		}
	}
	if m, ok := momentOf(item); ok {
		return m.key()
	}
	return item.Type() + " " + item.String()
}

func (how exactness) text(s string) string {
	if how == loose {
		return strings.ToLower(strings.Join(strings.Fields(s), " "))
	}
	return s
}

// appendTree appends a value of a [fhir.Object] tree, with its members in an order that does
// not depend on the source.
func (how exactness) appendTree(to []byte, value any) []byte {
	switch v := value.(type) {
	case *fhir.Object:
		to = append(to, '{')
		for _, name := range slices.Sorted(slices.Values(v.Names())) {
			to = append(strconv.AppendQuote(to, name), ':')
			to = append(how.appendTree(to, v.Get(name)), ',')
		}
		return append(to, '}')
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, string(how.appendTree(nil, item)))
		}
		if how == loose {
			slices.Sort(items)
		}
		return append(append(append(to, '['), strings.Join(items, ",")...), ']')
	case json.Number:
		return append(to, normalNumber(v.String())...)
	case string:
		return strconv.AppendQuote(to, how.text(v))
	case bool:
		return strconv.AppendBool(to, v)
	}
	return append(to, "null"...)
}

// normalNumber returns a decimal as digits and a power of ten, so that 1.0, 1 and 10E-1 have
// the same text. It never expands the zeros of an exponent.
func normalNumber(text string) string {
	digits, exponentText, _ := strings.Cut(strings.ToLower(text), "e")
	exponent, err := strconv.Atoi(strings.TrimPrefix(exponentText, "+"))
	if err != nil && exponentText != "" {
		return text // of an exponent no int holds
	}
	sign := ""
	if rest, negative := strings.CutPrefix(digits, "-"); negative {
		sign, digits = "-", rest
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(digits, "+"), ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	return sign + short + "e" + strconv.Itoa(exponent+len(digits)-len(short))
}

// set has the keys of the items of a collection.
type set map[string]bool

func setOf(items types.Collection) set {
	s := set{}
	for _, item := range items {
		s[keyOf(item, exact)] = true
	}
	return s
}

// distinct returns the items of a collection without repetitions, each at its first place.
func distinct(items types.Collection) types.Collection {
	seen, result := set{}, types.Collection{}
	for _, item := range items {
		if key := keyOf(item, exact); !seen[key] {
			seen[key] = true
			result = append(result, item)
		}
	}
	return result
}

// within reports whether all items are in others.
func within(items, others types.Collection) bool {
	all := setOf(others)
	return !slices.ContainsFunc(items, func(item types.Value) bool { return !all[keyOf(item, exact)] })
}

// sharing returns the items of a collection that are in others, or those that are not.
func sharing(items, others types.Collection, in bool) types.Collection {
	all, result := setOf(others), types.Collection{}
	for _, item := range items {
		if all[keyOf(item, exact)] == in {
			result = append(result, item)
		}
	}
	return result
}

// boolean returns a collection of one boolean.
func boolean(b bool) types.Collection {
	if b {
		return types.TrueCollection
	}
	return types.FalseCollection
}
