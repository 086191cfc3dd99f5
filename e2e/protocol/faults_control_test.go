package protocol

import (
	"testing"

	"signalfhir/internal/fhir"
)

// Faults act on what the control API sends, too, and it waits behind what they hold.
func TestFaults_ActOnTextsOfTheControlAPI(t *testing.T) {
	t.Parallel()
	s := vectorServer(t, fhir.R5)
	ws := s.Bind("abc")
	s.faults(`{"name":"lose","on":"frame","type":"custom","action":"drop","times":1}`, `{"name":"late","on":"frame","type":"event-notification","action":"delay","by":"1h"}`)
	text := func(texts ...string) {
		s.Must(204, "POST", "/mock/sockets/s1/frames", map[string]any{"texts": texts})
	}
	text("a", "b")
	if f := ws.Next(); string(f.Raw) != "b" {
		t.Errorf("got %s, want b: a fault drops a", f.Raw)
	}
	s.wantTold("fault", "the custom was dropped by fault lose")
	s.events("abc", 1)
	text("c")
	s.Must(204, "DELETE", "/mock/faults/late", nil)
	ws.WantEvent("1")
	if f := ws.Next(); string(f.Raw) != "c" {
		t.Errorf("got %s, want c, which waited", f.Raw)
	}
}
