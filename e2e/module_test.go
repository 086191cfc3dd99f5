package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ourClient is the client that the example of the README tests.
const ourClient = `package client

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

type Client struct {
	t      *testing.T
	socket *websocket.Conn
}

func Connect(t *testing.T, base, subscription string) *Client {
	t.Helper()
	res, err := http.Post(base+"/Subscription/"+subscription+"/$get-ws-binding-token", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct {
		Parameter []struct{ Name, ValueString, ValueUrl string }
	}
	body, _ := io.ReadAll(res.Body)
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err, string(body))
	}
	values := map[string]string{}
	for _, p := range out.Parameter {
		values[p.Name] = p.ValueString + p.ValueUrl
	}
	socket, _, err := websocket.Dial(t.Context(), values["websocket-url"], nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.CloseNow() })
	if err := socket.Write(t.Context(), websocket.MessageText, []byte("bind-with-token "+values["token"])); err != nil {
		t.Fatal(err)
	}
	return &Client{t, socket}
}

func (c *Client) WantEvent(number int64) {
	c.t.Helper()
	for {
		_, frame, err := c.socket.Read(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		var bundle struct {
			Entry []struct {
				Resource struct {
					NotificationEvent []struct{ EventNumber int64 ` + "`json:\",string\"`" + ` }
				}
			}
		}
		if err := json.Unmarshal(frame, &bundle); err != nil {
			c.t.Fatal(err)
		}
		for _, event := range bundle.Entry[0].Resource.NotificationEvent {
			if event.EventNumber == number {
				return
			}
		}
	}
}
`

// whichProgram says which program the tests of the module ran.
const whichProgram = `package client

import (
	"testing"

	"signalfhir/testkit"
)

func TestProgram(t *testing.T) {
	program, err := testkit.Program()
	t.Log("ran:", program, err)
}
`

// TestReadme_ExampleRunsInAnotherModule makes a new module, adds signalfhir to it as
// the README says, and runs the example of the README there.
func TestReadme_ExampleRunsInAnotherModule(t *testing.T) {
	t.Parallel()
	lines, examples := blocks(t, "../README.md", "gomod"), blocks(t, "../README.md", "go")
	if len(lines) != 1 || len(examples) != 1 {
		t.Fatalf("the README has %d blocks for go.mod and %d examples, want one of each", len(lines), len(examples))
	}
	clone, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum") // a machine without the checksum database has no other
	if err != nil {
		t.Fatal(err)
	}
	module, temporary := t.TempDir(), t.TempDir()
	write(t, module, "go.mod", "module example.org/client\n\ngo 1.26.0\n\n"+strings.Replace(lines[0], "../signalfhir", clone, 1))
	write(t, module, "go.sum", string(sums))
	write(t, module, "example_test.go", examples[0])
	write(t, module, "client_test.go", ourClient)
	write(t, module, "program_test.go", whichProgram)
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command("go", args...)
		c.Dir = module
		for _, variable := range os.Environ() {
			if !strings.HasPrefix(variable, "SIGNALFHIR_") {
				c.Env = append(c.Env, variable)
			}
		}
		c.Env = append(c.Env, "GOWORK=off", "TMPDIR="+temporary)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out, err := exec.Command("gofmt", "-l", filepath.Join(module, "example_test.go")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("gofmt would change the example: %s %v", out, err)
	}
	run("mod", "tidy")
	run("vet", "./...")
	said := run("test", "-v", "./...")
	if !strings.Contains(said, "--- PASS: TestClient") {
		t.Errorf("the example did not run:\n%s", said)
	}
	if tool := strings.TrimSpace(run("tool", "-n", "signalfhir")); !strings.Contains(said, "ran: "+tool+" <nil>") {
		t.Errorf("the tests did not run %s:\n%s", tool, said)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v in the temporary folder, want nothing", left, err)
	}
}
