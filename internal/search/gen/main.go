// Command gen makes the table of search parameters of a release from
// search-parameters.<release>.json in the specification's folder: one line each,
// sorted by url, with fields separated by tabs and lists by |.
//
//	url code type bases targets expression
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

type parameter struct {
	URL        string   `json:"url"`
	Code       string   `json:"code"`
	Type       string   `json:"type"`
	Base       []string `json:"base"`
	Target     []string `json:"target"`
	Expression string   `json:"expression"`
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
	data, err := os.ReadFile(filepath.Join(spec, "search-parameters."+release+".json"))
	if err != nil {
		return err
	}
	var parameters []parameter
	if err := json.Unmarshal(data, &parameters); err != nil {
		return err
	}
	slices.SortFunc(parameters, func(a, b parameter) int { return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Code, b.Code)) })
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, p := range parameters {
		expression := strings.Join(strings.Fields(p.Expression), " ")
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.URL, p.Code, p.Type, strings.Join(p.Base, "|"), strings.Join(p.Target, "|"), expression); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "parameters."+release+".gz"), packed.Bytes(), 0o644)
}
