package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func specFolder(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("SIGNALFHIR_SPEC")
	if folder == "" {
		folder = filepath.Join("..", "..", "..", "..", "shared", "spec")
	}
	if _, err := os.Stat(folder); err != nil {
		if os.Getenv("SIGNALFHIR_SPEC_REQUIRED") == "1" {
			t.Fatalf("the specification's folder is missing: %v", err)
		}
		t.Skipf("skipped: the specification's folder is missing (%v); name it by SIGNALFHIR_SPEC", err)
	}
	return folder
}

func unpack(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The tables in the repository match the generator; if not, run go generate in
// internal/fhir. Releases without tables must generate.
func TestGenerate_MakesTheTablesOfTheRepository(t *testing.T) {
	t.Parallel()
	spec := specFolder(t)
	for _, release := range []string{"R5", "R4B", "R4"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			if err := generate(spec, out, release); err != nil {
				t.Fatal(err)
			}
			name := "elements." + release + ".gz"
			made := unpack(t, filepath.Join(out, name))
			packed, err := os.Stat(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			if packed.Size() > 150<<10 {
				t.Errorf("%d bytes are more than the 150 KiB a release may add to the binary", packed.Size())
			}
			stored := filepath.Join("..", "tables", name)
			if _, err := os.Stat(stored); err != nil {
				t.Logf("%s has no tables in the repository yet; %d bytes of text made", release, len(made))
				return
			}
			if !bytes.Equal(unpack(t, stored), made) {
				t.Errorf("%s is not what the generator makes; run go generate in internal/fhir", stored)
			}
		})
	}
}

func TestGenerate_RefusesAnUnknownRelease(t *testing.T) {
	t.Parallel()
	if err := generate(t.TempDir(), t.TempDir(), "R5"); err == nil {
		t.Error("generated from nothing")
	}
}
