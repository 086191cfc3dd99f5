package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"signalfhir/testkit"
)

// blocks returns the code blocks of a document in a language, in order.
func blocks(t *testing.T, document, language string) []string {
	t.Helper()
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(data), -1) {
		found = append(found, m[1])
	}
	return found
}

// shell runs the commands of a document against a server of the test.
func shell(t *testing.T, s *testkit.Server, script string) string {
	t.Helper()
	script = strings.ReplaceAll(script, "http://127.0.0.1:8080", s.URL)
	script = strings.ReplaceAll(script, "curl ", "curl --silent --show-error --fail-with-body ")
	out, err := exec.Command("bash", "-euc", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, script, out)
	}
	return string(out)
}

// TestQuickstart_WorksAsWritten runs the document: its curl commands with curl,
// and the client in the binary for the one command that does not end by itself.
func TestQuickstart_WorksAsWritten(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := testkit.Start(t)
	var said strings.Builder
	var client *listening
	for _, block := range blocks(t, "../docs/quickstart.md", "sh") {
		switch {
		case strings.TrimSpace(block) == "go run .":
		case strings.HasPrefix(block, "go run . listen --subscription mine"):
			client = listen(t, s.URL, "--subscription", "mine")
			client.says("handshake")
		default:
			said.WriteString(shell(t, s, block))
		}
	}
	for _, want := range []string{`"status":"active"`, `"websocket-url"`, `"type":"query-status"`, `"type":"query-event"`, `"entries"`} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no response contains %s", want)
		}
	}
	client.says("#4") // one of the write, three of the trigger
}

// TestReadme_CommandsWork runs the commands of the README for a second terminal.
func TestReadme_CommandsWork(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := testkit.Start(t)
	ran := 0
	for _, block := range blocks(t, "../README.md", "sh") {
		if i := strings.Index(block, "curl "); i >= 0 {
			shell(t, s, block[i:])
			ran++
		}
	}
	if ran == 0 {
		t.Error("the README shows no command")
	}
}

// TestMock_ScenariosWorkAsWritten runs the commands about scenarios of the document.
func TestMock_ScenariosWorkAsWritten(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := testkit.Start(t)
	listens(t, s, "admission-id-only")
	ran := 0
	for _, block := range blocks(t, "../docs/mock.md", "sh") {
		if strings.Contains(block, "/mock/scenarios") {
			shell(t, s, block)
			ran++
		}
	}
	if ran != 2 {
		t.Errorf("%d blocks are about scenarios, want 2", ran)
	}
	s.AwaitScenario("duplicate-storm")
	if run := s.Scenario("twice").Run; run.State != "done" {
		t.Errorf("got %+v, want that it is done", run)
	}
}
