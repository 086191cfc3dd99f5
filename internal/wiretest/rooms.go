package wiretest

import "time"

// Room opens a room, with settings if body is not nil, and returns the server as seen from
// inside of it.
func (s *Server) Room(name string, body any) *Server {
	s.T.Helper()
	a := s.Must(201, "PUT", s.URL+"/rooms/"+name, body, "Content-Type", "application/json")
	other := *s
	other.URL = a.Body["url"].(string)
	other.WS = a.Body["ws"].(string)
	other.FHIR = a.Body["fhir"].(map[string]any)["R5"].(string)
	return &other
}

// AwaitBusy returns once so many requests, sockets and scenarios are in a room.
func (s *Server) AwaitBusy(name string, want int) {
	s.T.Helper()
	for end := time.Now().Add(Patience); ; {
		for _, one := range AsList(s.Must(200, "GET", s.URL+"/rooms", nil).Body["rooms"]) {
			if room := one.(map[string]any); room["name"] == name && room["busy"] == float64(want) {
				return
			}
		}
		if time.Now().After(end) {
			s.T.Fatalf("room %s did not become busy with %d", name, want)
		}
	}
}
