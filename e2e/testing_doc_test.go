package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"signalfhir/testkit"
)

const testingPage = "../docs/testing.md"

// block is a code block of docs/testing.md.
type block struct {
	section  string // heading above it
	language string
	text     string
	line     int
}

// testingBlocks returns the code blocks of docs/testing.md in order.
func testingBlocks(t *testing.T) []block {
	t.Helper()
	data, err := os.ReadFile(testingPage)
	if err != nil {
		t.Fatal(err)
	}
	var found []block
	section, inside := "", false
	for i, line := range strings.Split(string(data), "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && inside && fence == "":
			inside = false
		case isFence && !inside:
			found = append(found, block{section: section, language: fence, line: i + 1})
			inside = true
		case inside:
			found[len(found)-1].text += line + "\n"
		case strings.HasPrefix(line, "## "):
			section = line[3:]
		}
	}
	if inside || len(found) < 40 {
		t.Fatalf("%s has %d blocks, want 40 at least, and that all are closed", testingPage, len(found))
	}
	return found
}

const bugs = "Bugs that clients have had" // a section that a test of its own is about

// inFiles are the languages whose examples are a file that another test runs. That of Go is
// run with all tests; .ci/run runs the recipes.
var inFiles = map[string]string{
	"go":     "guide/guide_test.go",
	"js":     "recipes/node/guide.test.mjs",
	"python": "recipes/python/test_guide.py",
}

// Each block of the document belongs to a test. It needs no program but Go.
func TestTesting_NoExampleIsLeftOut(t *testing.T) {
	t.Parallel()
	inFile, before := map[string][]string{}, ""
	for _, e := range testingBlocks(t) {
		switch {
		case inFiles[e.language] != "":
			inFile[e.language] = append(inFile[e.language], e.text)
		case e.language == "sh":
		case (e.language == "json" || e.language == "text") && before == "sh" && e.section != bugs:
		default:
			t.Errorf("no test runs or compares the block %q of line %d", e.language, e.line)
		}
		before = e.language
	}
	for language, path := range inFiles {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(inFile[language], "\n"); got != string(data) {
			t.Errorf("the blocks %q of the document are not %s, which runs:\n%s", language, path, got)
		}
	}
}

// The commands of the document, run in order, print what it shows.
func TestTesting_CommandsWorkAsWritten(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "curl is not installed")
	}
	// A default timeout of an await is too short for a machine that is overloaded.
	script := `
curl() {
  local last="${*: -1}"
  if [[ "$*" == *"/mock/await "* && "$last" != *timeout* ]]; then
    set -- "${@:1:$#-1}" "{\"timeout\":\"2m\",${last#\{}"
  fi
  command curl --silent --show-error $fail "$@"
}
`
	type command struct {
		run   block
		shows *block // what follows it in the document; nil: nothing
	}
	var commands []command
	for _, e := range testingBlocks(t) {
		switch {
		case e.section == bugs:
		case e.language == "sh":
			commands = append(commands, command{run: e})
		case len(commands) > 0 && (e.language == "json" || e.language == "text"):
			commands[len(commands)-1].shows = &e
		}
	}
	for _, c := range commands {
		fail := "--fail-with-body"
		if c.shows != nil && refusal.MatchString(c.shows.text) {
			fail = ""
		}
		script += fmt.Sprintf("fail=%s\nprintf '\\n\\036'\n# line %d\n%s", fail, c.run.line, c.run.text)
	}
	folder, bin := t.TempDir(), t.TempDir()
	if err := os.Symlink(program(t), filepath.Join(bin, "signalfhir")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("bash", "-euo", "pipefail", "-c", script)
	c.Dir = folder
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "SIGNALFHIR_") && !strings.HasPrefix(variable, "PATH=") {
			c.Env = append(c.Env, variable)
		}
	}
	c.Env = append(c.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	var said, complaints strings.Builder
	c.Stdout, c.Stderr = &said, &complaints
	failed := c.Run()
	printed := strings.Split(said.String(), "\036")[1:] // by each of the commands
	for i, said := range printed {
		switch e := commands[i].shows; {
		case e == nil:
		case e.language == "text":
			if got := strings.TrimSpace(said); !strings.HasSuffix(got, strings.TrimSpace(e.text)) {
				t.Errorf("line %d: the document shows\n%s\nbut the server says\n%s", e.line, e.text, got)
			}
		default:
			if why := shows(e.text, lastLine(said)); why != "" {
				t.Errorf("line %d: %s\nthe server says\n%s", e.line, why, lastLine(said))
			}
		}
	}
	if failed != nil || len(printed) != len(commands) {
		t.Errorf("%v in command %d of %d: %s\n%s", failed, len(printed), len(commands), &complaints, said.String()[strings.LastIndex(said.String(), "\036")+1:])
		logs, _ := filepath.Glob(filepath.Join(folder, "*.log"))
		for _, name := range logs {
			data, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), data)
		}
	}
}

// refusal finds examples of problem documents: those that curl is to return.
var refusal = regexp.MustCompile(`^\{"status":[45]\d\d,"detail"`)

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}

// shows returns why a response is not the JSON of an example, or "". The example may leave
// out members, and "…" in its texts stands for any characters.
func shows(example, response string) string {
	var want, got any
	if err := json.Unmarshal([]byte(example), &want); err != nil {
		return fmt.Sprintf("the example is no JSON: %v", err)
	}
	if err := json.Unmarshal([]byte(response), &got); err != nil {
		return fmt.Sprintf("the response is no JSON: %v", err)
	}
	return differs("", want, got)
}

func differs(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return at + " is no object"
		}
		for name, w := range want {
			g, ok := got[name]
			switch {
			case !ok:
				return at + "." + name + " is missing"
			case name == "seq": // depends on how many resources the seed has
				if g, ok := g.(float64); !ok || g < 1 {
					return fmt.Sprintf("%s.seq is %v", at, g)
				}
				continue
			}
			if why := differs(at+"."+name, w, g); why != "" {
				return why
			}
		}
		return ""
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return fmt.Sprintf("%s has %d members, want %d", at, len(got), len(want))
		}
		for i := range want {
			if why := differs(fmt.Sprintf("%s[%d]", at, i), want[i], got[i]); why != "" {
				return why
			}
		}
		return ""
	case string:
		if want == "…" {
			return ""
		}
		got, ok := got.(string)
		pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
		if ok && regexp.MustCompile(pattern).MatchString(got) {
			return ""
		}
		return fmt.Sprintf("%s is %q, want %q", at, got, want)
	default:
		if want != got {
			return fmt.Sprintf("%s is %v, want %v", at, got, want)
		}
		return ""
	}
}

// Each request of the section about bugs provokes its bug, and our own client does not have
// it.
func TestTesting_BugsAreProvoked(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "curl is not installed")
	}
	all := slices.DeleteFunc(testingBlocks(t), func(e block) bool { return e.section != bugs })
	rows := []struct {
		word     string                  // of its block
		provoked []testkit.JournalFilter // what the server did, in this order
		says     []string                // what our client prints about it
	}{
		{"token-expires-unnoticed", []testkit.JournalFilter{
			{Kinds: []string{"token"}, Type: "expired"},
			{Kinds: []string{"not-sent"}, Count: 2},
			{Kinds: []string{"events"}},
		}, []string{"no heartbeat for", "#2  "}},
		{"flaky-wifi", []testkit.JournalFilter{{Kinds: []string{"closed"}, Code: 1006, Count: 3}}, []string{"#7  "}},
		{"rate-limited", []testkit.JournalFilter{{Kinds: []string{"fault"}, Type: "status", Text: "429", Count: 2}}, []string{"trying again in 1s"}},
		{"missed-events", []testkit.JournalFilter{{Kinds: []string{"not-sent"}, Count: 5}, {Kinds: []string{"events"}}}, []string{"#5  "}},
		{"no-status", []testkit.JournalFilter{{Kinds: []string{"fault"}, Type: "replace"}}, []string{"not a notification", "#1  ", "#2  "}},
		{"half-open", []testkit.JournalFilter{{Kinds: []string{"fault"}, Type: "half-open"}}, []string{"no heartbeat for", "#2  "}},
		{"no-heartbeat", []testkit.JournalFilter{{Kinds: []string{"fault"}, Type: "no-heartbeat"}}, []string{"no heartbeat for"}},
	}
	if len(all) != len(rows) {
		t.Errorf("the section has %d blocks, want %d", len(all), len(rows))
	}
	for _, row := range rows {
		t.Run(row.word, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			l := listen(t, s.URL, "--topic", taskTopic, "--heartbeat", "1")
			l.says("handshake")
			ran := 0
			for _, e := range all {
				if strings.Contains(e.text, row.word) {
					ran++
					said := shell(t, s, "room="+s.URL+"\n"+e.text)
					if strings.Contains(e.text, "/mock/scenarios/") && !strings.Contains(said, `"state":"done"`) {
						t.Errorf("the scenario is not done: %s", said)
					}
				}
			}
			if ran != 1 {
				t.Errorf("%d blocks are about it, want one", ran)
			}
			for _, filter := range row.provoked {
				s.AwaitEntry(filter)
			}
			for _, text := range row.says {
				l.says(text)
			}
		})
	}
}

// The fault of the document leaves a ping unanswered that a client sends as a text.
func TestTesting_PingIsNotAnswered(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t)
	for _, e := range testingBlocks(t) {
		if fault := regexp.MustCompile(`\{"on":"message".*\}`).FindString(e.text); fault != "" {
			s.Post(s.URL+"/mock/faults", fault, nil)
		}
	}
	socket, _, err := websocket.Dial(t.Context(), s.WS, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	s.AwaitEntry(testkit.JournalFilter{Kinds: []string{"fault"}, Type: "ignore"})
	s.ClearFaults()
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	s.AwaitEntry(testkit.JournalFilter{Kinds: []string{"sent"}, Type: "pong"})
	if sent := s.Journal(testkit.Filter{Kinds: []string{"sent"}}); len(sent) != 1 {
		t.Errorf("the socket got %v, want one pong", sent)
	}
}
