package testkit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"testing"
)

// failing is a test that notes its failure instead of having it.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper()        {}
func (f *failing) Cleanup(func()) {}
func (f *failing) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func token(t *testing.T, res *http.Response) string {
	t.Helper()
	var out struct {
		Parameter []struct {
			Name        string `json:"name"`
			ValueString string `json:"valueString"`
		} `json:"parameter"`
	}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	for _, p := range out.Parameter {
		if p.Name == "token" {
			return p.ValueString
		}
	}
	t.Fatalf("no token in the answer %s", res.Status)
	return ""
}
