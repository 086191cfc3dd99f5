package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The root has four files, none of them long.
func TestHouse_RootIsFourFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if want := []string{"handlers.go", "hub.go", "main.go", "server.go"}; !slices.Equal(files, want) {
		t.Errorf("got %v, want %v; what else there is belongs below internal/", files, want)
	}
	const longest = 350
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte("\n")); lines > longest {
			t.Errorf("%s has %d lines, at most %d fit at one sitting", name, lines, longest)
		}
	}
}

// The test files of the root mirror its files. house_test.go is about the house, and
// support_test.go about no file.
func TestHouse_RootTestsMirrorItsFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	const longest = 600
	for _, name := range files {
		of, _, _ := strings.Cut(name, "_")
		if _, err := os.Stat(of + ".go"); err != nil && name != "house_test.go" && name != "support_test.go" {
			t.Errorf("%s mirrors no file; a test that only speaks to the server belongs in e2e/protocol", name)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte("\n")); lines > longest {
			t.Errorf("%s has %d lines, at most %d; some may be about a package below internal/", name, lines, longest)
		}
	}
}

// Packages know only what their job needs.
func TestHouse_WhoKnowsWhat(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", ".", "./internal/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); err == io.EOF { //nolint:errorlint // Decode returns io.EOF itself
			break
		} else if err != nil {
			t.Fatal(err)
		}
		known[p.ImportPath] = p.Imports
	}
	if len(known) < 20 {
		t.Fatalf("only %d packages were found", len(known))
	}
	const own = "signalfhir/internal/"
	for name, imports := range known {
		root := name == "signalfhir"
		web := strings.HasPrefix(name, own+"http")
		for _, i := range imports {
			inside := strings.HasPrefix(i, "signalfhir/")
			switch {
			case strings.HasPrefix(i, "github.com/labstack/echo") && !root && !web:
				t.Errorf("%s knows Echo", name)
			case strings.HasPrefix(i, "github.com/olahol/melody") && !root && name != own+"socket":
				t.Errorf("%s knows melody", name)
			case strings.HasPrefix(i, own+"http") && !root && !web:
				t.Errorf("%s knows its caller %s", name, i)
			case inside && name == own+"fhir":
				t.Errorf("fhir imports %s", i)
			case i == own+"subscription" && name == own+"store":
				t.Error("store knows subscriptions")
			}
		}
	}
}
