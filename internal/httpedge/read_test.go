package httpedge

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

func TestReadJSON_FindsMistakesAtAnyDepth(t *testing.T) {
	t.Parallel()
	type common struct {
		Name string `json:"name"`
	}
	type in struct {
		common
		Steps []struct {
			Count *int            `json:"count"`
			Focus json.RawMessage `json:"focus"`
		} `json:"steps"`
		Tags   []string `json:"tags"`
		hidden string
		Skip   string `json:"-"`
	}
	for body, want := range map[string]string{
		``:                                    "",
		" \n":                                 "",
		`{}`:                                  "",
		`{"name":"a","tags":["b"]}`:           "",
		`{"steps":[{"focus":{"a":[{}]}}]}`:    "",
		`{"steps":[{"count":1},{"Count":2}]}`: `steps[1].Count: unknown member "Count"; did you mean "count"?`,
		`{"steps":[{"count":1,"count":2}],"name":"a"}`: `steps[0].count: duplicate member "count"; give it once`,
		`{"steps":[{"n\u0061me":1}]}`:                  `steps[0].name: unknown member "name"; known are count, focus`,
		`{"name":"a","n\u0061me":"b"}`:                 `name: duplicate member "name"; give it once`,
		`{"hidden":1}`:                                 `hidden: unknown member "hidden"; known are name, steps, tags`,
		`{"Skip":"a"}`:                                 `Skip: unknown member "Skip"; known are name, steps, tags`,
		`{"-":"a"}`:                                    `-: unknown member "-"; known are name, steps, tags`,
		`{"":"a"}`:                                     `unknown member ""; known are name, steps, tags`,
		`{"tags":"b"}`:                                 `tags: got a JSON string, expected an array`,
		`{"steps":[{"count":"1"}]}`:                    `steps.count: got a JSON string, expected a whole number`,
		`{"steps":[{"focus":{"a":1,"a":2}}]}`:          `invalid JSON at line 1, column 27: duplicate member "a"`,
		`{"` + strings.Repeat("é", 50) + `":1}`:        strings.Repeat("é", 30) + `…: unknown member "` + strings.Repeat("é", 30) + `…"; known are name, steps, tags`,
		`{"name":"a"`:                                  "invalid JSON at line 1, column 12: expected , or } after a member, got the end of the body",
		"{\n\"name\":\"a\",}":                          "invalid JSON at line 2, column 12: expected the name of a member in double quotes, got '}'",
		`{"steps":[{"x":1},{"x":1},` + strings.Repeat(`{"x":1},`, 30) + `{}]}`: strings.TrimSuffix(many(20), "; "),
	} {
		c := echo.New().NewContext(httptest.NewRequest("POST", "/", strings.NewReader(body)), httptest.NewRecorder())
		got := ""
		if err := ReadJSON(c, &in{}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	_ = in{}.hidden
}

func many(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `steps[%d].x: unknown member "x"; known are count, focus; `, i)
	}
	return text.String()
}

// What ReadJSON accepts is what encoding/json reads when it is strict, and a refusal says
// where.
func FuzzReadJSON(f *testing.F) {
	for _, body := range []string{``, `{}`, `{"name":"a","tags":["b"]}`, `{"steps":[{"focus":{"a":[{}]}},null]}`, `{"steps":[{"count":1},{"Count":2}]}`, `{"n\u0061me":"a"}`, `{"name":"a"`, `[1]`, `null`, `{"name":1}{`, `{"steps":{}}`, `{"tags":null}`} {
		f.Add(body)
	}
	type in struct {
		Name  string `json:"name"`
		Steps []struct {
			Count *int            `json:"count"`
			Focus json.RawMessage `json:"focus"`
		} `json:"steps"`
		Tags []string `json:"tags"`
	}
	f.Fuzz(func(t *testing.T, body string) {
		c := echo.New().NewContext(httptest.NewRequest("POST", "/", strings.NewReader(body)), httptest.NewRecorder())
		var got, want in
		if err := ReadJSON(c, &got); err != nil {
			if err.Error() == "" || len(err.Error()) > 64<<10 {
				t.Fatalf("%q: the refusal has %d bytes", body, len(err.Error()))
			}
			return
		}
		strict := json.NewDecoder(strings.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&want); err != nil && strings.TrimSpace(body) != "" {
			t.Fatalf("%q is accepted, but %v", body, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) && !strings.Contains(body, "count") { // pointers
			t.Fatalf("%q is read as %+v, want %+v", body, got, want)
		}
	})
}
