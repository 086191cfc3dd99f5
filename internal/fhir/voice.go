package fhir

// Voice is how a dialect of the socket wants notifications worded.
type Voice string

// The voices. What the specification words has no name of its own.
const (
	Standard Voice = ""
	// Medplum wants, on R4 and R4B, a SubscriptionStatus that names its
	// subscription by a relative reference; its client takes no other.
	Medplum Voice = "medplum"
	// Legacy is the protocol of R4: "bound [id]" and "ping [id]" (WSL-3, WSL-4).
	Legacy Voice = "legacy"
)

// EncodeFor writes a notification in a voice; nil where the voice has no word
// for it.
func (r Release) EncodeFor(v Voice, n *Notification) []byte {
	switch {
	case v == Legacy && n.Type == Handshake:
		return []byte("bound " + n.Subscription)
	case v == Legacy && n.Type == EventNotification:
		return []byte("ping " + n.Subscription)
	case v == Legacy:
		return nil
	case v == Medplum && r.codec().responses:
		return R4B.encode(n, "Subscription/"+n.Subscription)
	}
	return r.EncodeNotification(n)
}
