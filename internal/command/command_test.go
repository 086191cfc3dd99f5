package command_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"signalfhir/internal/command"
)

func TestParse_RefusesBoundsThatCannotBeKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, says string }{
		{"--token-ttl=10000h", "at most 8784h0m0s"},
		{"--token-ttl=0s", "above zero"},
		{"--queue-bytes=0", "expected 1 to"},
		{"--token-bytes=0", "expected 1 to"},
		{"--max-response-bytes=-1", "expected 1 to"},
		{"--max-memory=33554431", "expected 33554432 to"},
		{"--max-memory=1099511627777", "expected 33554432 to"},
		{"--queue-bytes-total=9223372036854775807", "expected 1 to"},
	} {
		if _, err := command.Parse([]string{test.args}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", test.args, err, test.says)
		}
	}
	if _, err := command.Parse([]string{"--token-ttl=8784h", "--queue-bytes=1", "--max-memory=33554432"}, nil, io.Discard); err != nil {
		t.Errorf("the bounds themselves are refused: %v", err)
	}
}

func TestParse_IgnoresTheVariablesOfKubernetes(t *testing.T) {
	t.Parallel()
	kubernetes := []string{
		"SIGNALFHIR_SERVICE_HOST=10.0.0.11", "SIGNALFHIR_SERVICE_PORT=8080", "SIGNALFHIR_SERVICE_PORT_HTTP=8080", "SIGNALFHIR_PORT=tcp://10.0.0.11:8080",
		"SIGNALFHIR_PORT_8080_TCP=tcp://10.0.0.11:8080", "SIGNALFHIR_PORT_8080_TCP_PROTO=tcp", "SIGNALFHIR_PORT_8080_TCP_PORT=8080", "SIGNALFHIR_PORT_8080_TCP_ADDR=10.0.0.11",
		"SIGNALFHIR_TEST_SERVICE_HOST=10.0.0.12", "SIGNALFHIR_TEST_PORT=udp://10.0.0.12:53", "SIGNALFHIR_TEST_PORT_53_UDP_ADDR=10.0.0.12",
	}
	parsed, err := command.Parse(nil, append(kubernetes, "SIGNALFHIR_STRICT=true", "PATH=/bin"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	serve := parsed.(*command.Serve)
	var names []string
	for _, pair := range kubernetes {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	if !slices.Equal(serve.Ignored, names) {
		t.Errorf("got %v, want %v", serve.Ignored, names)
	}
}

func TestParse_RefusesVariablesThatAreMisspelt(t *testing.T) {
	t.Parallel()
	for _, pair := range []string{"SIGNALFHIR_PORT=8080", "SIGNALFHIR_HOST=0.0.0.0", "SIGNALFHIR_TOKENTTL=5m", "SIGNALFHIR_SERVICE=x", "SIGNALFHIR_PORT_TCP=1"} {
		if _, err := command.Parse(nil, []string{pair}, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "unknown variable "+strings.SplitN(pair, "=", 2)[0]) {
			t.Errorf("%s: got %v, want that it is unknown", pair, err)
		}
	}
}
