// Command gen makes the element tables of a release from elements.<release>.json
// and required-codes.<release>.json in the specification's folder.
//
// The table is text, so that a change can be reviewed, and gzipped
// deterministically. It has a block for each type, separated by empty lines:
//
//	Encounter resource DomainResource
//	status <min> <max> <types> <binding> <targets>
//
// Members are separated by tabs; max is 1 or *; types, targets and codes by |;
// an element that shares the content of another has #Path in place of its types.
// After the types comes a block for each value set: "!name" and a line of codes.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type typeDefinition struct {
	Kind     string `json:"kind"`
	Base     string `json:"base"`
	Abstract bool   `json:"abstract"`
	Elements []struct {
		Path     string   `json:"path"`
		Min      int      `json:"min"`
		Max      string   `json:"max"`
		Type     []string `json:"type"`
		Ref      string   `json:"ref"`
		Required string   `json:"required"`
		Target   []string `json:"target"`
	} `json:"elements"`
}

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
	var types map[string]typeDefinition
	if err := read(filepath.Join(spec, "elements."+release+".json"), &types); err != nil {
		return err
	}
	var codes map[string][]string
	if err := read(filepath.Join(spec, "required-codes."+release+".json"), &codes); err != nil {
		return err
	}
	var table bytes.Buffer
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		t := types[name]
		kind := t.Kind
		if t.Abstract {
			kind += "-abstract"
		}
		fmt.Fprintf(&table, "%s\t%s\t%s\n", name, kind, t.Base)
		for _, e := range t.Elements {
			path, isChild := strings.CutPrefix(e.Path, name+".")
			if !isChild || e.Max == "0" {
				continue
			}
			types := strings.Join(e.Type, "|")
			if e.Ref != "" {
				types = "#" + e.Ref
			}
			binding := ""
			// A value set limits a code completely. A Coding also has a system, which is
			// not in the source.
			if len(codes[e.Required]) > 0 && slices.Equal(e.Type, []string{"code"}) {
				binding = e.Required[strings.LastIndex(e.Required, "/")+1:]
				used[e.Required] = true
			}
			fmt.Fprintf(&table, "%s\t%d\t%s\t%s\t%s\t%s\n", path, e.Min, e.Max, types, binding, strings.Join(e.Target, "|"))
		}
		table.WriteByte('\n')
	}
	for _, url := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&table, "!%s\n%s\n\n", url[strings.LastIndex(url, "/")+1:], strings.Join(codes[url], "|"))
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(table.Bytes()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "elements."+release+".gz"), packed.Bytes(), 0o644)
}

func read(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
