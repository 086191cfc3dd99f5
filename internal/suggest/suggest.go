// Package suggest finds the name that a misspelt one was meant to be.
package suggest

import "strings"

// Nearest returns the name with the smallest edit distance to what was written, in any
// case. It returns "" if none is near.
func Nearest(written string, names []string) string {
	best, least := "", 1+len(written)/3
	for _, name := range names {
		if d := distance(strings.ToLower(written), strings.ToLower(name)); d < least || d == least && best == "" {
			best, least = name, d
		}
	}
	return best
}

// distance returns the edit distance of a and b.
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 {
		return max(len(a), len(b)) // not a name; any large distance will do
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
