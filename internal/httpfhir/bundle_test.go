package httpfhir

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/room"
)

func TestBundle_ABatchEndsWithItsRoom(t *testing.T) {
	t.Parallel()
	r, err := room.New(room.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := New(echo.New(), Options{Releases: fhir.Releases, Logger: slog.New(slog.DiscardHandler)})
	f.Handle(http.MethodPut, "/:type/:id", func(*Request) (*Response, error) {
		r.Close() // during the first entry
		return &Response{Status: http.StatusOK}, nil
	})
	const entry = `{"resource":{"resourceType":"Patient","id":"a"},"request":{"method":"PUT","url":"Patient/a"}}`
	in := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"resourceType":"Bundle","type":"batch","entry":[`+entry+","+entry+","+entry+`]}`))
	in.Header.Set("Content-Type", "application/fhir+json")
	out, err := f.Bundle(&Request{Room: r, Base: r.Base(fhir.R5), Release: fhir.R5, Header: in.Header, http: in})
	if err != nil {
		t.Fatal(err)
	}
	if text := string(out.Body.Bytes()); strings.Count(text, `"200 OK"`) != 1 || strings.Count(text, `"503 Service Unavailable"`) != 2 {
		t.Errorf("got %s, want one entry that was processed and two that were not", text)
	}
}
