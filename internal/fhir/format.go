package fhir

// FrameFormat is the form in which a dialect of the socket gets its notifications.
type FrameFormat string

// The frame formats.
const (
	StandardFormat FrameFormat = "" // as the specification writes a notification
	// MedplumFormat is, on R4 and R4B, a SubscriptionStatus with a relative reference to its
	// subscription; Medplum's client accepts no other.
	MedplumFormat FrameFormat = "medplum"
	// NativeFormat is a SubscriptionStatus on every release, also where the specification has
	// Parameters.
	NativeFormat FrameFormat = "native"
	// LegacyFormat is the protocol of R4: "bound [id]" and "ping [id]" (WSL-3, WSL-4).
	LegacyFormat FrameFormat = "legacy"
)

// EncodeFor writes a notification in a frame format, or returns nil if the format
// cannot express it.
func (r Release) EncodeFor(f FrameFormat, n *Notification) []byte {
	switch {
	case f == LegacyFormat && n.Type == Handshake:
		return []byte("bound " + n.Subscription)
	case f == LegacyFormat && n.Type == EventNotification:
		return []byte("ping " + n.Subscription)
	case f == LegacyFormat:
		return nil
	case f == MedplumFormat && r.codec().responses:
		return R4B.encode(n, "Subscription/"+n.Subscription)
	case f == NativeFormat && r.codec().statusIsParameters:
		return R4B.encode(n, "")
	}
	return r.EncodeNotification(n)
}
