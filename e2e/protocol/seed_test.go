package protocol

import (
	"testing"
)

func TestReset_ReturnsToTheSeed(t *testing.T) {
	t.Parallel()
	s := startSeeded(t)
	before := s.Must(200, "GET", "Patient?_summary=count", nil)
	ws := s.Bind("admission-id-only")
	token := s.Token("admission-id-only")
	s.Must(201, "PUT", "Patient/mine", map[string]any{"resourceType": "Patient", "id": "mine"})
	s.Must(204, "DELETE", "Subscription/lab-full", nil)

	s.Must(204, "POST", "/mock/reset", nil)
	ws.Outcome("deleted") // the socket stays and is told that its binding is gone
	ws.Nothing()
	s.Must(404, "GET", "Patient/mine", nil)
	s.Must(200, "GET", "Subscription/lab-full", nil)
	if after := s.Must(200, "GET", "Patient?_summary=count", nil); compact(after.Body["total"]) != compact(before.Body["total"]) {
		t.Errorf("patients: got %v, want %v as at the start", after.Body["total"], before.Body["total"])
	}
	ws.Send("bind-with-token " + token)
	ws.Outcome("unknown")
	ws.Send("bind-with-token " + s.Token("admission-id-only"))
	if f := ws.Next(); f.Kind() != "handshake" || f.Total() != "0" {
		t.Errorf("got %s with total %s, want a handshake with 0", f.Kind(), f.Total())
	}
}
