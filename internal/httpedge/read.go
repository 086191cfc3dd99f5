package httpedge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/suggest"
)

// ReadJSON reads the JSON body of a control route into the struct that into points to.
// An empty body leaves the struct as it is. ReadJSON refuses members that the struct does
// not have, also those that differ in case only, duplicate members, and anything after
// the value.
func ReadJSON(c echo.Context, into any) error {
	data, err := io.ReadAll(c.Request().Body)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return err
	}
	var m members
	m.check(data, reflect.TypeOf(into), "")
	if len(m.issues) > 0 {
		return &fhir.Error{Status: http.StatusBadRequest, Issues: m.issues}
	}
	if _, refused := fhir.Parse(data); refused != nil {
		return refused
	}
	err = json.Unmarshal(data, into)
	if refused := fhir.AsError(err); refused != nil { // of a type that reads itself
		return refused
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got a JSON %s, expected %s", wrong.Value, inWords(wrong.Type)).At(wrong.Field)
	}
	if err != nil {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "the body could not be read: %v", err)
	}
	return nil
}

// refuseBody refuses the body of a request whose route takes none. White space is accepted,
// and so is an empty object, which some clients send with every POST.
func refuseBody(c echo.Context) error {
	data, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	if text := bytes.Join(bytes.Fields(data), nil); len(text) == 0 || string(text) == "{}" {
		return nil
	}
	return fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, "the request has a body of %d bytes, but this route takes no body; send none", len(data))
}

// maxMistakes bounds the mistakes that one refusal reports.
const maxMistakes = 20

// members checks the names of members, about which encoding/json is lenient.
type members struct{ issues []fhir.Issue }

// check compares a JSON value with the type it is read into. path is where the value is.
// What is not JSON, or of another type, is for others to refuse.
func (m *members) check(data []byte, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if path != "" && reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return // it checks its members itself
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	open, _ := decoder.Token()
	switch {
	case open == json.Delim('[') && t.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage]():
		for i := 0; decoder.More(); i++ {
			var item json.RawMessage
			if decoder.Decode(&item) != nil {
				return
			}
			m.check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
	case open == json.Delim('{') && t.Kind() == reflect.Struct:
		m.checkObject(decoder, t, path)
	}
}

func (m *members) checkObject(decoder *json.Decoder, t reflect.Type, path string) {
	known := map[string]reflect.Type{}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			known[name] = f.Type
			names = append(names, name)
		}
	}
	if path != "" {
		path += "."
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, _ := decoder.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if !ok || decoder.Decode(&value) != nil {
			return
		}
		at := path + shortened(name)
		switch {
		case known[name] == nil:
			m.wrong(at, "unknown member %q; %s", shortened(name), expected(name, names))
		case seen[name]:
			m.wrong(at, "duplicate member %q; give it once", name)
		default:
			seen[name] = true
			m.check(value, known[name], at)
		}
	}
}

func (m *members) wrong(at, format string, args ...any) {
	if len(m.issues) < maxMistakes {
		m.issues = append(m.issues, fhir.Refuse(http.StatusBadRequest, fhir.CodeStructure, format, args...).At(at).Issues...)
	}
}

// expected says what would be right in the place of a name that is not one of names.
func expected(name string, names []string) string {
	if nearest := suggest.Nearest(name, names); nearest != "" {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return "known are " + strings.Join(names, ", ")
}

// shortened returns a name as a refusal shows it.
func shortened(name string) string {
	const most = 60
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// OnlyParameters refuses a query parameter that is not known, which is most likely a
// misspelt one, one that cannot be decoded, which net/url would drop silently, and one that
// is repeated. A known parameter written as "kind*" may be repeated.
func OnlyParameters(c echo.Context, known ...string) error {
	parameters, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "the query of the address could not be read: %v", err)
	}
	names, once := make([]string, len(known)), []string{}
	for i, name := range known {
		var repeats bool
		if names[i], repeats = strings.CutSuffix(name, "*"); !repeats {
			once = append(once, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if slices.Contains(names, name) {
			continue
		}
		hint := "this route has no parameters"
		if len(names) > 0 {
			hint = "known are " + strings.Join(names, ", ")
		}
		return fhir.Refuse(http.StatusBadRequest, fhir.CodeNotSupported, "there is no such parameter; %s", hint).At(shortened(name))
	}
	for _, name := range once {
		if len(parameters[name]) > 1 {
			return fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "duplicate parameter %q; give it once", name).At(name)
		}
	}
	return nil
}

// NoBody refuses a body, and what [OnlyParameters] refuses.
func NoBody(c echo.Context, known ...string) error {
	if err := OnlyParameters(c, known...); err != nil {
		return err
	}
	return refuseBody(c)
}

// inWords returns how a member of a type is written.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint64:
		return "a whole number from 0 to 18446744073709551615"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}
