package fhir

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Param is one in-parameter of an operation.
type Param struct {
	Name       string
	Value      string // the text of the value: a number as written, a boolean as true or false
	Type       string // the name of its member: "valueId"
	Expression string // its place: "Parameters.parameter[0]"
}

// ReadParameters reads the in-parameters of an operation from the body of a
// POST, in order. The operations of a Subscription take primitive values only;
// any value[x] may carry one (OP-9). All problems are reported together, with
// status 400 (spec.md 7.2).
func ReadParameters(o *Object) ([]Param, error) {
	if typ := o.Text("resourceType"); typ != "Parameters" {
		return nil, Refuse(http.StatusBadRequest, CodeInvalid, "got resourceType %q, expected Parameters or an empty body", typ)
	}
	var params []Param
	var issues []Issue
	wrong := func(code IssueCode, at, format string, args ...any) {
		issues = append(issues, Issue{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...), Expression: []string{at}})
	}
	list, isArray := o.Get("parameter").([]any)
	if o.Has("parameter") && !isArray {
		wrong(CodeStructure, "Parameters.parameter", "expected an array")
	}
	for i, member := range list {
		at := fmt.Sprintf("Parameters.parameter[%d]", i)
		p, isObject := member.(*Object)
		if !isObject {
			wrong(CodeStructure, at, "expected an object with name and value")
			continue
		}
		name := p.Text("name")
		if name == "" {
			wrong(CodeRequired, at+".name", "a parameter needs a name")
			continue
		}
		param, code, text := readParam(p)
		if code != "" {
			wrong(code, at, "%s: %s", name, text)
			continue
		}
		param.Name, param.Expression = name, at
		params = append(params, param)
	}
	if len(issues) > 0 {
		return nil, &Error{Status: http.StatusBadRequest, Issues: issues}
	}
	return params, nil
}

// readParam reads the value of one parameter. If the value is wrong, it returns
// an issue code and a text.
func readParam(p *Object) (param Param, code IssueCode, text string) {
	for _, name := range p.Names() {
		if !strings.HasPrefix(name, "value") {
			continue
		}
		if param.Type != "" {
			return Param{}, CodeInvariant, "has both " + param.Type + " and " + name + ", expected one value (inv-1)"
		}
		param.Type = name
	}
	switch {
	case param.Type != "" && (p.Has("part") || p.Has("resource")):
		return Param{}, CodeInvariant, "has a value and a part or resource, expected a value only (inv-1)"
	case param.Type == "" && p.Has("resource"):
		return Param{}, CodeValue, "is a resource, expected a primitive value such as valueId"
	case param.Type == "":
		return Param{}, CodeRequired, "has no value, expected one such as valueId"
	}
	switch value := p.Get(param.Type).(type) {
	case string:
		param.Value = value
	case json.Number:
		param.Value = value.String()
	case bool:
		param.Value = strconv.FormatBool(value)
	case nil:
		return Param{}, CodeStructure, param.Type + " is null, expected a primitive value"
	default:
		return Param{}, CodeValue, param.Type + " is complex, expected a primitive value such as valueId"
	}
	if param.Value == "" {
		return Param{}, CodeValue, param.Type + " is empty"
	}
	return param, "", ""
}

// BindingToken is the result of $get-ws-binding-token.
type BindingToken struct {
	Token         string
	Expiration    time.Time
	Subscriptions []string // ids
	WebsocketURL  string   // absolute, ws or wss
}

// EncodeBindingToken writes the out-parameters under their exact names and types
// (OPW-2, OPW-3, OPW-6). The expiration has whole seconds in UTC (OPW-5) and is
// rounded down, so that a client is never promised more than it gets.
func (r Release) EncodeBindingToken(t *BindingToken) []byte {
	dst := append([]byte(nil), `{"resourceType":"Parameters","parameter":[`...)
	dst = appendString(append(dst, `{"name":"token","valueString":`...), t.Token)
	dst = t.Expiration.UTC().AppendFormat(append(dst, `},{"name":"expiration","valueDateTime":`...), `"2006-01-02T15:04:05Z"`)
	for _, id := range t.Subscriptions {
		dst = appendString(append(dst, `},{"name":"subscription","valueString":`...), id)
	}
	dst = appendString(append(dst, `},{"name":"websocket-url","valueUrl":`...), t.WebsocketURL)
	return append(dst, "}]}"...)
}
