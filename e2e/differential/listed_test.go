package differential_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/fhir"
)

// known is a listed difference and its cause.
type known struct {
	pairs int
	cause string
}

// list has the known differences by "<release> <url> <kind>".
type list map[string]known

// of returns the part of a list for a release.
func (l list) of(r fhir.Release) list {
	part := list{}
	for key, one := range l {
		if strings.HasPrefix(key, string(r)+" ") {
			part[key] = one
		}
	}
	return part
}

// listed reads a list of differences: lines of "<release> <url> <kind> <pairs>"
// under lines that begin with # and have their cause.
func listed(t *testing.T, path string) list {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := list{}
	cause, inCause := "", false
	for number, line := range strings.Split(string(data), "\n") {
		text, isCause := strings.CutPrefix(line, "#")
		switch {
		case isCause && inCause:
			cause += " " + strings.TrimSpace(text)
		case isCause:
			cause = strings.TrimSpace(text)
		case line == "":
			cause = ""
		default:
			var release, url, kind string
			var pairs int
			if _, err := fmt.Sscanf(line, "%s %s %s %d", &release, &url, &kind, &pairs); err != nil {
				t.Fatalf("%s:%d: %v", path, number+1, err)
			}
			key := fmt.Sprintf("%s %s %s", release, url, kind)
			if _, twice := all[key]; twice || cause == "" || !slices.Contains(fhir.Releases, fhir.Release(release)) {
				t.Fatalf("%s:%d: listed twice, without a cause, or of no release", path, number+1)
			}
			all[key] = known{pairs, cause}
		}
		inCause = isCause
	}
	return all
}

// compare fails t for differences that are found and not listed, and for those that are listed
// and no longer found. It logs how many pairs each cause accounts for.
func (d differences) compare(t *testing.T, list list) {
	byCause := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(d)) {
		one, found := d[key], list[key]
		byCause[found.cause] += found.pairs
		if one.pairs != found.pairs {
			t.Errorf("%s %d, listed are %d\n    %s", key, one.pairs, found.pairs, one.example)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(list)) {
		if d[key] == nil {
			t.Errorf("%s is listed, but is no longer a difference", key)
		}
	}
	for cause, pairs := range byCause {
		t.Logf("%d pairs: %s", pairs, cause)
	}
}
