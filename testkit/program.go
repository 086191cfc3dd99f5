package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Program returns the path of the program that [Start] runs. It is, in this order,
//
//   - the file that the variable SIGNALFHIR_BIN names,
//   - the tool signalfhir of the module of the test (go tool signalfhir),
//   - the program built from the module of the test, with the race detector if the test
//     has it.
//
// The go command builds the last two in its build cache, and removes them from there
// when they have not been used for days.
func Program() (string, error) { return program() }

var program = sync.OnceValues(find)

func find() (string, error) {
	if path := os.Getenv("SIGNALFHIR_BIN"); path != "" {
		return path, nil
	}
	path, noTool := cached("tool", "-n", "signalfhir")
	if noTool == nil {
		return path, nil
	}
	// go run keeps the program in the build cache under the hash of what it is made of,
	// so that builds side by side do not disturb each other. Instead of running it,
	// -exec prints where it is: "go version PATH" prints "PATH: go1.26".
	args := []string{"run", "-exec", "go version"}
	if raceDetector {
		args = append(args, "-race")
	}
	path, err := cached(append(args, "signalfhir")...)
	if err != nil {
		return "", fmt.Errorf("finding the server: SIGNALFHIR_BIN is not set, %w", errors.Join(noTool, err))
	}
	return path, lookAtSources()
}

// lookAtSources reads the folders of the packages of the program, and looks at the files
// embedded in them. The go command reuses the result of a test until the test changes, or a
// file of its module that it has looked at. It does not know that the test runs a program.
func lookAtSources() error {
	const format = `{{if .Module}}{{if .Module.Main}}{{.Dir}}{{range .EmbedFiles}}{{"\n"}}{{$.Dir}}/{{.}}{{end}}{{end}}{{end}}`
	out, err := exec.Command("go", "list", "-deps", "-f", format, "signalfhir").Output()
	if err != nil {
		return fmt.Errorf("listing the sources of the server: %w", err)
	}
	for _, path := range strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }) {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			_, err = os.ReadDir(path)
		}
		if err != nil {
			return fmt.Errorf("looking at the sources of the server: %w", err)
		}
	}
	return nil
}

// cached returns the path of the program that a go command prints.
func cached(args ...string) (string, error) {
	// The go command that builds the program prints where it was built. The next one
	// finds it in the cache, unless another process empties the cache just then.
	for range 3 {
		var stderr strings.Builder
		command := exec.Command("go", args...)
		command.Stderr = &stderr
		out, err := command.Output()
		if err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
		}
		path := trimmed(out)
		if i := strings.LastIndex(path, ": "); i >= 0 { // of go version
			path = path[:i]
		}
		if _, err := os.Stat(path); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("go %s prints no program that exists", strings.Join(args, " "))
}
