package fhir

// operation defines one operation of Subscription (spec.md 3.1, 3.3 to 3.5). Its texts
// are part of the golden files.
type operation struct {
	id, url, code            string
	name, title, description string
	onType                   bool // also at [base]/Subscription/$code, not only at [base]/Subscription/[id]/$code
	affectsState             bool
	parameters               []operationParameter
}

type operationParameter struct {
	Name          string   `json:"name"`
	Use           string   `json:"use"`
	Scope         []string `json:"scope,omitempty"`
	Min           int      `json:"min"`
	Max           string   `json:"max"`
	Documentation string   `json:"documentation"`
	Type          string   `json:"type"`
	Binding       *binding `json:"binding,omitempty"`
}

type binding struct {
	Strength string `json:"strength"`
	ValueSet string `json:"valueSet"`
}

// operations returns the operations of the release in the order in which a client uses
// them.
func (r Release) operations() []operation { return r.codec().operations(r) }

// subscriptionOperations returns the operations in the form of R5.
func subscriptionOperations(r Release) []operation {
	const canonical = "http://hl7.org/fhir/OperationDefinition/"
	required := func(valueSet string) *binding {
		return &binding{"required", "http://hl7.org/fhir/ValueSet/" + valueSet + "|" + r.Version()}
	}
	onType := []string{"type"}
	return []operation{
		{
			id: "Subscription-get-ws-binding-token", url: canonical + "Subscription-get-ws-binding-token", code: "get-ws-binding-token",
			name: "GetWsBindingToken", title: "Take a token for a WebSocket",
			description: "Issues a token that expires. Sent on the WebSocket at websocket-url, it binds that socket to the subscriptions it was issued for.",
			onType:      true, affectsState: true,
			parameters: []operationParameter{
				{Name: "id", Use: "in", Scope: onType, Min: 0, Max: "*", Type: "id",
					Documentation: "The subscriptions to cover. Without any, this server covers every websocket subscription that is not off. Not looked at where the URL names a subscription."},
				{Name: "token", Use: "out", Min: 1, Max: "1", Type: "string",
					Documentation: "The secret to send on the socket. It has no structure a client may rely on."},
				{Name: "expiration", Use: "out", Min: 1, Max: "1", Type: "dateTime",
					Documentation: "Until when the token can be used to bind."},
				{Name: "subscription", Use: "out", Min: 0, Max: "*", Type: "string",
					Documentation: "The id of a subscription the token covers."},
				{Name: "websocket-url", Use: "out", Min: 1, Max: "1", Type: "url",
					Documentation: "Where to open the socket."},
			},
		},
		{
			id: "Subscription-status", url: canonical + "Subscription-status", code: "status",
			name: "Status", title: "Ask how subscriptions are",
			description: "Answers the present status of subscriptions and the number of events each had since it was created. Asking counts as no event.",
			onType:      true,
			parameters: []operationParameter{
				{Name: "id", Use: "in", Scope: onType, Min: 0, Max: "*", Type: "id",
					Documentation: "The subscriptions to ask for; without any, all of them. An unknown one is left out of the answer. Not looked at where the URL names a subscription."},
				{Name: "status", Use: "in", Scope: onType, Min: 0, Max: "*", Type: "code", Binding: required("subscription-status"),
					Documentation: "Only subscriptions in one of these states. Not looked at where the URL names a subscription."},
				{Name: "return", Use: "out", Min: 1, Max: "1", Type: "Bundle",
					Documentation: "A searchset with a SubscriptionStatus for each subscription found."},
			},
		},
		{
			id: "Subscription-events", url: canonical + "Subscription-events", code: "events",
			name: "Events", title: "Fetch earlier events",
			description: "Answers events a subscription already had, under their numbers, for a client that missed some. The server retains a limited number of them.",
			parameters: []operationParameter{
				{Name: "eventsSinceNumber", Use: "in", Min: 0, Max: "1", Type: "integer64",
					Documentation: "The first event wanted."},
				{Name: "eventsUntilNumber", Use: "in", Min: 0, Max: "1", Type: "integer64",
					Documentation: "The last event wanted."},
				{Name: "content", Use: "in", Min: 0, Max: "1", Type: "code", Binding: required("subscription-payload-content"),
					Documentation: "How much of each event to show; without it, as much as the subscription asks for."},
				{Name: "return", Use: "out", Min: 1, Max: "1", Type: "Bundle",
					Documentation: "A subscription-notification bundle of type query-event, or query-status where no event is in the range."},
			},
		},
	}
}

// OperationDefinitions returns the ids that [Release.OperationDefinition] accepts.
func (r Release) OperationDefinitions() []string {
	var ids []string
	for _, op := range r.operations() {
		ids = append(ids, op.id)
	}
	return ids
}

// OperationDefinition returns the JSON of the OperationDefinition with this id, with its
// official canonical URL. It returns false if there is none.
func (r Release) OperationDefinition(id string) ([]byte, bool) {
	for _, op := range r.operations() {
		if op.id == id {
			return r.encodeOperation(op), true
		}
	}
	return nil, false
}

func (r Release) encodeOperation(op operation) []byte {
	return encode(struct {
		ResourceType string               `json:"resourceType"`
		ID           string               `json:"id"`
		URL          string               `json:"url"`
		Version      string               `json:"version"`
		Name         string               `json:"name"`
		Title        string               `json:"title"`
		Status       string               `json:"status"`
		Kind         string               `json:"kind"`
		Description  string               `json:"description"`
		AffectsState bool                 `json:"affectsState"`
		Code         string               `json:"code"`
		Resource     []string             `json:"resource"`
		System       bool                 `json:"system"`
		Type         bool                 `json:"type"`
		Instance     bool                 `json:"instance"`
		Parameter    []operationParameter `json:"parameter"`
	}{
		ResourceType: "OperationDefinition",
		ID:           op.id,
		URL:          op.url,
		Version:      r.Version(),
		Name:         op.name,
		Title:        op.title,
		Status:       "draft", // as HL7 publishes them
		Kind:         "operation",
		Description:  op.description,
		AffectsState: op.affectsState,
		Code:         op.code,
		Resource:     []string{"Subscription"},
		Type:         op.onType,
		Instance:     true,
		Parameter:    op.parameters,
	})
}
