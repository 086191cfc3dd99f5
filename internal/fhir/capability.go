package fhir

import "time"

// Capability is what a server states about itself on [base]/metadata.
type Capability struct {
	Base            string // absolute URL of the FHIR base, no trailing slash
	WebsocketURL    string // absolute, ws or wss; "" leaves the extension out
	Software        string
	SoftwareVersion string
	Date            time.Time
	Resources       []CapabilityResource // one for each type, no type twice (cpb-9)
	Topics          []string             // canonical URLs of the topics subscriptions can be on (CF-9)
}

// CapabilityResource is one type the server serves. All types have the same
// interactions.
type CapabilityResource struct {
	Type         string
	SearchParams []CapabilitySearchParam // no name twice (cpb-12)
	Includes     []string                // "Encounter:patient"
}

// CapabilitySearchParam is one search parameter of a type.
type CapabilitySearchParam struct {
	Name       string
	Definition string // canonical of the SearchParameter; "" if it has none
	Type       string // token, reference, date, …
}

// websocketExtension is retired but harmless, and the only place where clients of
// the old R4 protocol look for the address (CF-7).
const websocketExtension = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-websocket"

// CapabilityStatement writes the statement of this release's base (CF-1): an
// instance that reads, writes and searches every type, with the operations of
// Subscription named without $ (CF-2). It omits SubscriptionStatus even if the
// caller lists it: it has no endpoint (SST-8).
func (r Release) CapabilityStatement(c *Capability) []byte {
	var interactions []codedMember
	for _, code := range []string{"read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"} {
		interactions = append(interactions, codedMember{code})
	}
	server := capabilityRest{Mode: "server", Interaction: []codedMember{{"transaction"}, {"batch"}, {"history-system"}}}
	if c.WebsocketURL != "" {
		server.Extension = []uriExtension{{websocketExtension, c.WebsocketURL}}
	}
	for _, listed := range c.Resources {
		if listed.Type == "SubscriptionStatus" {
			continue
		}
		res := capabilityResource{
			Type: listed.Type, Interaction: interactions, Versioning: "versioned",
			ReadHistory: true, UpdateCreate: true, ConditionalCreate: true, ConditionalRead: "full-support", ConditionalUpdate: true, ConditionalDelete: "single",
			SearchInclude: listed.Includes,
		}
		for _, p := range listed.SearchParams {
			res.SearchParam = append(res.SearchParam, namedMember{Name: p.Name, Definition: p.Definition, Type: p.Type})
		}
		if listed.Type == "Subscription" {
			for _, op := range r.operations() {
				res.Operation = append(res.Operation, namedMember{Name: op.code, Definition: op.url})
			}
		}
		server.Resource = append(server.Resource, res)
	}
	s := &capabilityStatement{
		ResourceType:   "CapabilityStatement",
		Name:           "SubscriptionDevelopmentServer",
		Title:          "FHIR " + r.Version() + " development server for subscriptions over WebSocket",
		Status:         "active",
		Date:           c.Date.UTC().Format("2006-01-02T15:04:05Z"),
		Kind:           "instance",
		Software:       namedMember{Name: c.Software, Version: c.SoftwareVersion},
		Implementation: describedMember{"in memory, for development and tests", c.Base},
		FHIRVersion:    r.Version(),
		Format:         []string{"application/fhir+json", "json"},
		PatchFormat:    []string{"application/json-patch+json", "application/fhir+json"},
		Rest:           []capabilityRest{server},
	}
	r.codec().capability(s, c)
	return encode(s)
}

// capabilityStatement is a CapabilityStatement as JSON.
type capabilityStatement struct {
	ResourceType        string           `json:"resourceType"`
	Name                string           `json:"name"`
	Title               string           `json:"title"`
	Status              string           `json:"status"`
	Date                string           `json:"date"`
	Kind                string           `json:"kind"`
	Instantiates        []string         `json:"instantiates,omitempty"`
	Software            namedMember      `json:"software"`
	Implementation      describedMember  `json:"implementation"`
	FHIRVersion         string           `json:"fhirVersion"`
	Format              []string         `json:"format"`
	PatchFormat         []string         `json:"patchFormat"`
	ImplementationGuide []string         `json:"implementationGuide,omitempty"`
	Rest                []capabilityRest `json:"rest"`
}

type capabilityRest struct {
	Extension []uriExtension       `json:"extension,omitempty"`
	Mode      string               `json:"mode"`
	Resource  []capabilityResource `json:"resource,omitempty"`

	Interaction []codedMember `json:"interaction,omitempty"`
}

type capabilityResource struct {
	Extension         []canonicalExtension `json:"extension,omitempty"`
	Type              string               `json:"type"`
	SupportedProfile  []string             `json:"supportedProfile,omitempty"`
	Interaction       []codedMember        `json:"interaction"`
	Versioning        string               `json:"versioning"`
	ReadHistory       bool                 `json:"readHistory"`
	UpdateCreate      bool                 `json:"updateCreate"`
	ConditionalCreate bool                 `json:"conditionalCreate"`
	ConditionalRead   string               `json:"conditionalRead"`
	ConditionalUpdate bool                 `json:"conditionalUpdate"`
	ConditionalPatch  bool                 `json:"conditionalPatch,omitempty"`
	ConditionalDelete string               `json:"conditionalDelete"`
	SearchInclude     []string             `json:"searchInclude,omitempty"`
	SearchParam       []namedMember        `json:"searchParam,omitempty"`
	Operation         []namedMember        `json:"operation,omitempty"`
}

type codedMember struct {
	Code string `json:"code"`
}

type namedMember struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	Definition string `json:"definition,omitempty"`
	Type       string `json:"type,omitempty"`
}

type describedMember struct {
	Description string `json:"description"`
	URL         string `json:"url"`
}

type uriExtension struct {
	URL      string `json:"url"`
	ValueURI string `json:"valueUri"`
}

type canonicalExtension struct {
	URL            string `json:"url"`
	ValueCanonical string `json:"valueCanonical"`
}
