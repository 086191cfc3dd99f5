package httpedge

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
)

// HandleError writes the response to a request that failed: problem details if the route
// needs them, and an OperationOutcome otherwise.
func (e *Edge) HandleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	c.Response().Header().Set(cacheControl, noStore) // a handler may have said otherwise before it failed
	refused := Refusal(err)
	var framework *echo.HTTPError
	if errors.As(err, &framework) {
		refused = unrouted(c, refused)
	}
	if NeedsOf(c).Problems {
		err = WriteProblem(c, refused, nil)
	} else {
		err = WriteFHIR(c, refused.Status, fhir.Whole(fhir.EncodeOutcome(refused.Issues)))
	}
	if err != nil {
		e.options.Logger.Debug("an error could not be written", "error", err)
	}
}

// Refusal returns an error as what the client is shown. It is the one place where
// errors of other kinds get the form of our own.
func Refusal(err error) *fhir.Error {
	if refused := fhir.AsError(err); refused != nil {
		return refused
	}
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return tooLarge(tooBig.Limit)
	}
	var framework *echo.HTTPError
	switch {
	case !errors.As(err, &framework):
		return fhir.Refuse(http.StatusInternalServerError, fhir.CodeException, "the server failed: %v; please report this", err)
	case framework.Code == http.StatusNotFound:
		return fhir.Refuse(framework.Code, fhir.CodeNotFound, "there is nothing at this address")
	}
	return fhir.Refuse(framework.Code, fhir.CodeProcessing, "%v", framework.Message)
}

// unrouted completes a refusal of the router, which knows neither rooms nor that HEAD is
// allowed where GET is.
func unrouted(c echo.Context, refused *fhir.Error) *fhir.Error {
	switch refused.Status {
	case http.StatusNotFound:
		return fhir.Refuse(refused.Status, fhir.CodeNotFound, "there is nothing at this address; the FHIR base is %[1]s/fhir/R5, the socket %[1]s/ws, the control routes are below %[1]s/mock", Path(c))
	case http.StatusMethodNotAllowed:
		allowed := AllowedWithHead(c.Response().Header().Get("Allow"))
		c.Response().Header().Set("Allow", allowed)
		return NotAllowed(c.Request().Method, allowed)
	}
	return refused
}

// AllowedWithHead returns a list of methods with HEAD added to it if it has GET.
func AllowedWithHead(allowed string) string {
	if strings.Contains(allowed, http.MethodGet) {
		allowed += ", HEAD"
	}
	return allowed
}

// NotAllowed refuses a method an address does not have. allowed lists those it has.
func NotAllowed(method, allowed string) *fhir.Error {
	return fhir.Refuse(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "%s is not allowed here; allowed are %s", method, allowed)
}

// WriteProblem writes a refusal as application/problem+json. seen, unless nil, is what
// was found instead of what the request wanted.
func WriteProblem(c echo.Context, refused *fhir.Error, seen any) error {
	type issue struct {
		Code       string   `json:"code"`
		Detail     string   `json:"detail"`
		Expression []string `json:"expression,omitempty"`
	}
	body := struct {
		Type   string  `json:"type"`
		Title  string  `json:"title"`
		Status int     `json:"status"`
		Detail string  `json:"detail"`
		Issues []issue `json:"issues,omitempty"`
		Seen   any     `json:"seen,omitempty"`
	}{"about:blank", http.StatusText(refused.Status), refused.Status, refused.Error(), nil, seen}
	for _, i := range refused.Issues {
		body.Issues = append(body.Issues, issue{string(i.Code), i.Diagnostics, i.Expression})
	}
	return WriteJSON(c, refused.Status, "application/problem+json", body)
}
