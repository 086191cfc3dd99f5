package fhir

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Issue is one entry of an OperationOutcome.
type Issue struct {
	Severity    string // error, warning, information
	Code        IssueCode
	Diagnostics string   // what was wrong, and what would be right
	Expression  []string // where, as FHIRPath-style paths ("Subscription.filterBy[0].value")

	// Rule means that the input is well formed but breaks a rule of its resource
	// or of this server. Code alone does not show that: the same "value" is a 400
	// for a heartbeatPeriod of -1 and a 422 for a topic that is not an absolute
	// URI (spec.md section 7.1). It is not part of an OperationOutcome.
	Rule bool

	// Tell means that a response to a write says it even if it has no OperationOutcome:
	// the client did not get what it asked for. It is not part of an OperationOutcome.
	Tell bool
}

// Error is the only kind of refusal in signalfhir: an HTTP status and the issues
// that explain it. Packages below internal/ return it; the edges (HTTP, sockets,
// log) turn it into an OperationOutcome.
type Error struct {
	Status int     // HTTP status the refusal has on a FHIR base
	Issues []Issue // at least one
}

// Refuse returns an [Error] with one issue of severity error.
func Refuse(status int, code IssueCode, format string, args ...any) *Error {
	return &Error{Status: status, Issues: []Issue{{Severity: "error", Code: code, Diagnostics: fmt.Sprintf(format, args...)}}}
}

// At sets the place of the last issue and returns e.
func (e *Error) At(expression ...string) *Error {
	e.Issues[len(e.Issues)-1].Expression = expression
	return e
}

// Code returns the issue code of the first issue.
func (e *Error) Code() IssueCode { return e.Issues[0].Code }

// AsError returns the [Error] in err, or nil if there is none.
func AsError(err error) *Error {
	var e *Error
	errors.As(err, &e)
	return e
}

// At sets the place of the last issue of the [Error] in err, and returns err.
func At(err error, expression ...string) error {
	if e := AsError(err); e != nil {
		e.At(expression...)
	}
	return err
}

// CodeOf returns the issue code of the [Error] in err, or "" if there is none.
func CodeOf(err error) IssueCode {
	if e := AsError(err); e != nil {
		return e.Code()
	}
	return ""
}

// WithStatus gives the [Error] in err another status, and returns err.
func WithStatus(err error, status int) error {
	if e := AsError(err); e != nil {
		e.Status = status
	}
	return err
}

// StatusOf returns the status of the [Error] in err, or 0 if there is none.
func StatusOf(err error) int {
	if e := AsError(err); e != nil {
		return e.Status
	}
	return 0
}

// IssuesOf returns the issues of the [Error] in err. Another error is an issue itself.
func IssuesOf(err error) []Issue {
	if e := AsError(err); e != nil {
		return e.Issues
	}
	return []Issue{{Severity: "error", Code: CodeException, Diagnostics: err.Error()}}
}

// Join adds the issues of another error to those of err and returns err. It returns the
// other one if err is nil.
func Join(err, other error) error {
	e, o := AsError(err), AsError(other)
	switch {
	case err == nil:
		return other
	case e == nil || o == nil:
		return errors.Join(err, other)
	}
	e.Issues = append(e.Issues, o.Issues...)
	return err
}

// Error joins the diagnostics of all issues.
func (e *Error) Error() string {
	texts := make([]string, len(e.Issues))
	for i, issue := range e.Issues {
		texts[i] = issue.Diagnostics
		place := strings.Join(issue.Expression, ", ") + ": "
		if place != ": " && !strings.HasPrefix(issue.Diagnostics, place) { // the text of a parameter already has it
			texts[i] = place + issue.Diagnostics
		}
	}
	return strings.Join(texts, "; ")
}

// RefuseAll returns an [Error] with the issues of one resource, or nil if none is
// of severity error. The status is 400 if any error is about the form of the
// input, and 422 if all are about rules (spec.md section 7).
func RefuseAll(issues []Issue) error {
	status, failed := http.StatusUnprocessableEntity, false
	for _, issue := range issues {
		if issue.Severity != "error" {
			continue
		}
		failed = true
		if issue.Rule {
			continue
		}
		switch issue.Code {
		case CodeStructure, CodeRequired, CodeValue, CodeCodeInvalid, CodeInvalid:
			status = http.StatusBadRequest
		}
	}
	if !failed {
		return nil
	}
	return &Error{Status: status, Issues: issues}
}
