package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"signalfhir/testkit"
)

// TestClientsDoc_SignInWorks runs the commands of docs/clients.md. The tests of e2e/clients,
// which have the clients, run its programs.
func TestClientsDoc_SignInWorks(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	s := testkit.Start(t)
	var said strings.Builder
	for _, block := range blocks(t, "../docs/clients.md", "sh") {
		said.WriteString(shell(t, s, block))
	}
	for _, want := range []string{`"access_token":"`, `"reference":"Practitioner/dev"`, `"websocket-subscriptions"`} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no response contains %s", want)
		}
	}
}
