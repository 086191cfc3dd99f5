package fhir

// r4b is FHIR 4.3.0: subscriptions by the backport guide, with the
// SubscriptionTopic and SubscriptionStatus it took over from R5.
func r4b() codec {
	return codec{
		version:          "4.3.0",
		bundleType:       "history",
		profile:          backportStructure + "backport-subscription-notification",
		answered:         true,
		appendReferences: appendFocusMembers,
		readSubscription: readBackport,
		withStatus:       withBackportStatus,
		operations:       backportOperation,
		capability:       backportCapability("backport-subscription-server"),
		topicOf:          isSubscriptionTopic,
		adapt:            adaptToR4,
	}
}
