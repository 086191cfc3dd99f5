package journal_test

import (
	"os"
	"strings"
	"testing"

	"signalfhir/internal/journal"
)

func TestJournal_EveryKindIsDescribed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/mock.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range journal.Kinds() {
		if !strings.Contains(string(text), "`"+kind+"`") {
			t.Errorf("docs/mock.md does not describe the kind %s", kind)
		}
	}
}
