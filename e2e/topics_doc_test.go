package e2e

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"signalfhir/testkit"
)

var update = flag.Bool("update", false, "write what the server says into the document")

// The commands of docs/topics.md, run in order on an empty server, print what the document
// shows.
func TestTopicsDocument_IsTrue(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	const path = "../docs/topics.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, testkit.WithoutSeed())
	var now strings.Builder
	said, outputs := "", 0
	abbreviations := "" // which apply to all later outputs
	for i, part := range strings.Split(string(data), "```") {
		if i > 0 {
			now.WriteString("```")
		}
		switch {
		case i%2 == 1 && strings.HasPrefix(part, "sh\n") && !strings.Contains(part, "go run ."):
			script := strings.TrimPrefix(part, "sh\n")
			if strings.HasPrefix(script, "put() {") {
				abbreviations = script
			} else {
				said = shell(t, s, abbreviations+script)
			}
		case i%2 == 1 && strings.HasPrefix(part, "text\n"):
			part = "text\n" + strings.TrimRight(said, "\n") + "\n"
			outputs++
		}
		now.WriteString(part)
	}
	if outputs < 8 {
		t.Errorf("only %d outputs are compared", outputs)
	}
	if *update {
		if err := os.WriteFile(path, []byte(now.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(string(data), "\n"), strings.Split(now.String(), "\n")); diff != "" {
		t.Errorf("the document is not what the server says (-document +server; -update writes it):\n%s", diff)
	}
}
