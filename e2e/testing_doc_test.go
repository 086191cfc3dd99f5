package e2e

import (
	"strings"
	"testing"

	"signalfhir/testkit"
)

// Each request of the document provokes its bug, and our own client does not have it.
func TestTesting_RequestsWorkAsWritten(t *testing.T) {
	t.Parallel()
	all := blocks(t, "../docs/testing.md", "sh")
	survives := map[string]string{ // by a word of the block: what the client prints
		"token-expires-unnoticed": "no heartbeat for",
		"flaky-wifi":              "#7  ",
		"rate-limited":            "trying again in 1s",
		"missed-events":           "#5  ",
		"no-status":               "#2  ",
		"half-open":               "no heartbeat for",
		"no-heartbeat":            "no heartbeat for",
	}
	if len(all) != len(survives) {
		t.Errorf("the document has %d blocks, want %d", len(all), len(survives))
	}
	for word, says := range survives {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			s := testkit.Start(t)
			l := listen(t, s.URL, "--topic", taskTopic, "--heartbeat", "1")
			l.says("handshake")
			ran := 0
			for _, block := range all {
				if !strings.Contains(block, word) {
					continue
				}
				ran++
				if said := shell(t, s, block); strings.Contains(said, `"state":"failed"`) {
					t.Errorf("the scenario failed: %s", said)
				}
			}
			if ran != 1 {
				t.Errorf("%d blocks are about it, want one", ran)
			}
			l.says(says)
		})
	}
}
