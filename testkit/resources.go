package testkit

import (
	"encoding/json"
	"net/http"
	"net/url"
)

const fhirJSON = "application/fhir+json"

// Create stores a resource under a new id and returns it as stored. The resource is a
// value to encode, or JSON text.
func (s *Server) Create(resource any) map[string]any {
	s.t.Helper()
	data, typ, _ := s.resource(resource)
	var stored map[string]any
	s.do(http.MethodPost, s.base()+"/"+typ, fhirJSON, data, &stored)
	return stored
}

// Put stores a resource under the id it has and returns it as stored. The resource is a
// value to encode, or JSON text.
func (s *Server) Put(resource any) map[string]any {
	s.t.Helper()
	data, typ, id := s.resource(resource)
	if id == "" {
		s.t.Fatalf("testkit: Put takes a resource with an id, got %s; use Create", data)
	}
	var stored map[string]any
	s.do(http.MethodPut, s.base()+"/"+typ+"/"+id, fhirJSON, data, &stored)
	return stored
}

// Get returns the resource of a reference, such as "Encounter/1".
func (s *Server) Get(reference string) map[string]any {
	s.t.Helper()
	var stored map[string]any
	s.do(http.MethodGet, s.base()+"/"+reference, "", nil, &stored)
	return stored
}

// Delete deletes the resource of a reference, such as "Encounter/1".
func (s *Server) Delete(reference string) {
	s.t.Helper()
	s.do(http.MethodDelete, s.base()+"/"+reference, "", nil, nil)
}

// resource returns a resource as JSON, with its type and id.
func (s *Server) resource(v any) (data []byte, typ, id string) {
	s.t.Helper()
	data = encode(s.t, v)
	var typed struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
	}
	if err := json.Unmarshal(data, &typed); err != nil || typed.ResourceType == "" {
		s.t.Fatalf("testkit: expected a resource with a resourceType, got %s", data)
	}
	return data, typed.ResourceType, typed.ID
}

// Token returns a new binding token for subscriptions, as
// Subscription/$get-ws-binding-token does.
func (s *Server) Token(subscriptions ...string) string {
	s.t.Helper()
	var out struct {
		Parameter []struct {
			Name        string `json:"name"`
			ValueString string `json:"valueString"`
		} `json:"parameter"`
	}
	address := s.base() + "/Subscription/$get-ws-binding-token?" + url.Values{"id": subscriptions}.Encode()
	s.do(http.MethodPost, address, "", nil, &out)
	for _, p := range out.Parameter {
		if p.Name == "token" {
			return p.ValueString
		}
	}
	s.t.Fatalf("testkit: %s returned no token: %v", address, out)
	return ""
}
