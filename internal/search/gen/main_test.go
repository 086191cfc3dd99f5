package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// The table in the repository matches the generator; if not, run go generate in
// internal/search. Releases without a table must generate, too.
func TestGenerate_MakesTheTablesOfTheRepository(t *testing.T) {
	t.Parallel()
	spec := os.Getenv("SIGNALFHIR_SPEC")
	if spec == "" {
		spec = filepath.Join("..", "..", "..", "..", "shared", "spec")
	}
	if _, err := os.Stat(spec); err != nil {
		if os.Getenv("SIGNALFHIR_SPEC_REQUIRED") == "1" {
			t.Fatalf("the specification's folder is missing: %v", err)
		}
		t.Skipf("skipped: the specification's folder is missing (%v); name it by SIGNALFHIR_SPEC", err)
	}
	for _, release := range []string{"R5", "R4B", "R4"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			if err := generate(spec, out, release); err != nil {
				t.Fatal(err)
			}
			made, err := os.ReadFile(filepath.Join(out, "parameters."+release+".gz"))
			if err != nil {
				t.Fatal(err)
			}
			if len(made) > 64<<10 {
				t.Errorf("the table has %d bytes, want at most 64 KiB", len(made))
			}
			kept, err := os.ReadFile(filepath.Join("..", "tables", "parameters."+release+".gz"))
			if os.IsNotExist(err) && release != "R5" {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(unpack(t, made), unpack(t, kept)) {
				t.Error("the table of the repository is not the one the generator makes")
			}
		})
	}
}

// unpack returns the text of a table: another version of Go may compress differently.
func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGenerate_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if err := generate(t.TempDir(), t.TempDir(), "R5"); !os.IsNotExist(err) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
}
