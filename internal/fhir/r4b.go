package fhir

// r4b is FHIR 4.3.0: subscriptions from the backport guide, with SubscriptionTopic
// and SubscriptionStatus from R5.
func r4b() codec {
	return codec{
		version:          "4.3.0",
		bundleType:       "history",
		profile:          backportStructure + "backport-subscription-notification",
		responses:        true,
		appendReferences: appendFocusMembers,
		readSubscription: readBackport,
		withStatus:       withBackportStatus,
		operations:       backportOperation,
		capability:       backportCapability("backport-subscription-server"),
		topicOf:          isSubscriptionTopic,
		adapt:            adaptToR4,
	}
}
