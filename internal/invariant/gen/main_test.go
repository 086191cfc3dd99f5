package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"signalfhir/internal/fhir/fhirtest"
)

// The tables in the repository match the generator; if not, run go generate in
// internal/invariant. Releases without a table must generate, too.
func TestGenerate_MakesTheTablesOfTheRepository(t *testing.T) {
	t.Parallel()
	spec := fhirtest.Spec(t)
	for _, release := range []string{"R5", "R4B", "R4"} {
		out := t.TempDir()
		if err := generate(spec, out, release); err != nil {
			t.Fatal(err)
		}
		name := "invariants." + release + ".gz"
		made, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		stored, err := os.ReadFile(filepath.Join("..", "tables", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(stored, made) {
			t.Errorf("%s is not what the generator makes; run go generate in internal/invariant", name)
		}
	}
}

func TestGenerate_RefusesAnUnknownRelease(t *testing.T) {
	t.Parallel()
	if err := generate(t.TempDir(), t.TempDir(), "R5"); err == nil {
		t.Error("generated from nothing")
	}
}
