// Command gen makes the table of the invariants of a release from
// elements.<release>.json in the specification's folder: those of severity error, one
// line each, sorted by path, with fields separated by tabs.
//
//	path key expression
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type typeDefinition struct {
	Elements []struct {
		Path      string      `json:"path"`
		Invariant []invariant `json:"invariant"`
	} `json:"elements"`
}

// invariant holds key, severity and expression.
type invariant [3]string

type line struct{ path, key, expression string }

func main() {
	spec := flag.String("spec", os.Getenv("SIGNALFHIR_SPEC"), "folder of the specification")
	out := flag.String("out", "tables", "folder to write to")
	flag.Parse()
	if *spec == "" {
		*spec = filepath.Join("..", "..", "..", "shared", "spec")
	}
	for _, release := range flag.Args() {
		if err := generate(*spec, *out, release); err != nil {
			fmt.Fprintln(os.Stderr, "gen:", err)
			os.Exit(1)
		}
	}
}

func generate(spec, out, release string) error {
	data, err := os.ReadFile(filepath.Join(spec, "elements."+release+".json"))
	if err != nil {
		return err
	}
	var types map[string]typeDefinition
	if err := json.Unmarshal(data, &types); err != nil {
		return err
	}
	var lines []line
	for _, t := range types {
		for _, e := range t.Elements {
			for _, i := range e.Invariant {
				if i[1] == "error" && i[2] != "" {
					lines = append(lines, line{e.Path, i[0], strings.Join(strings.Fields(i[2]), " ")})
				}
			}
		}
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.key, b.key), cmp.Compare(a.expression, b.expression))
	})
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, l := range slices.Compact(lines) {
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", l.path, l.key, l.expression); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "invariants."+release+".gz"), packed.Bytes(), 0o644)
}
