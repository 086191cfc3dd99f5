package fhir

// IssueCode is a code of http://hl7.org/fhir/issue-type.
type IssueCode string

// The issue codes the server uses. docs/protocol.md lists them.
const (
	CodeStructure       IssueCode = "structure"
	CodeRequired        IssueCode = "required"
	CodeValue           IssueCode = "value"
	CodeInvariant       IssueCode = "invariant"
	CodeInvalid         IssueCode = "invalid"
	CodeCodeInvalid     IssueCode = "code-invalid"
	CodeNotSupported    IssueCode = "not-supported"
	CodeDuplicate       IssueCode = "duplicate"
	CodeMultipleMatches IssueCode = "multiple-matches"
	CodeNotFound        IssueCode = "not-found"
	CodeDeleted         IssueCode = "deleted"
	CodeTooLong         IssueCode = "too-long"
	CodeTooCostly       IssueCode = "too-costly"
	CodeBusinessRule    IssueCode = "business-rule"
	CodeConflict        IssueCode = "conflict"
	CodeTransient       IssueCode = "transient"
	CodeThrottled       IssueCode = "throttled"
	CodeTimeout         IssueCode = "timeout"
	CodeException       IssueCode = "exception"
	CodeProcessing      IssueCode = "processing"
	CodeUnknownToken    IssueCode = "unknown"
	CodeExpired         IssueCode = "expired"
	CodeLogin           IssueCode = "login"
	CodeForbidden       IssueCode = "forbidden"
	CodeInformational   IssueCode = "informational"
)

// IssueCodes returns each code the server uses, with what it says there.
func IssueCodes() map[IssueCode]string {
	return map[IssueCode]string{
		CodeStructure:       "the input cannot be parsed, or has a member that its form does not allow",
		CodeRequired:        "something that must be given is missing",
		CodeValue:           "a value is wrong",
		CodeInvariant:       "an invariant of the resource is broken",
		CodeInvalid:         "the parts of the input do not fit together",
		CodeCodeInvalid:     "a code is none of those that are possible",
		CodeNotSupported:    "the server does not do this",
		CodeDuplicate:       "there is one already",
		CodeMultipleMatches: "a condition selects several resources",
		CodeNotFound:        "there is no such thing",
		CodeDeleted:         "it was deleted",
		CodeTooLong:         "the body is too large",
		CodeTooCostly:       "a limit is exceeded",
		CodeBusinessRule:    "the state of the resource does not allow this",
		CodeConflict:        "another version, or another request, is in the way",
		CodeTransient:       "not now; try again later",
		CodeThrottled:       "too many mistakes or requests",
		CodeTimeout:         "what was waited for did not happen",
		CodeException:       "the server failed",
		CodeProcessing:      "the request could not be processed",
		CodeUnknownToken:    "the token is not known",
		CodeExpired:         "the token has expired",
		CodeLogin:           "the client has not signed in",
		CodeForbidden:       "this is not allowed to this client",
		CodeInformational:   "no problem: what was done",
	}
}
