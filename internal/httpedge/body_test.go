package httpedge

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
)

// Large bodies that do not fit together wait for each other, and not for ever. Small ones
// do not wait.
func TestLimitBody_LargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	const most = 3 * largeBody
	edge := New(echo.New(), Options{MaxBodyBytes: most, BodiesAtOnce: 1, ReadTimeout: 3 * time.Millisecond})
	send := func(size int, chunked bool, handle func()) (*httptest.ResponseRecorder, error) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", size)))
		if chunked {
			r.ContentLength = -1
		}
		recorded := httptest.NewRecorder()
		return recorded, edge.LimitBody(func(c echo.Context) error {
			if data, err := io.ReadAll(c.Request().Body); err != nil || len(data) != size {
				return err
			}
			handle()
			return nil
		})(edge.echo.NewContext(r, recorded))
	}
	for name, chunked := range map[string]bool{"with a length": false, "chunked": true} {
		nested := 0
		_, err := send(most/2+1, chunked, func() { // it is still there when the others come
			nested++
			recorded, err := send(most/2+1, chunked, func() { t.Errorf("%s: a second one is let in", name) })
			if refused := Refusal(err); err == nil || refused.Status != http.StatusServiceUnavailable || !strings.Contains(err.Error(), "196608 bytes in all") || recorded.Header().Get("Retry-After") != "1" {
				t.Errorf("%s: got %v and %v, want 503 and when to try again", name, err, recorded.Header())
			}
			if _, err := send(largeBody, chunked, func() { nested++ }); err != nil && !chunked {
				t.Errorf("%s: a small one: %v", name, err)
			}
		})
		if err != nil || nested == 0 {
			t.Errorf("%s: %v after %d", name, err, nested)
		}
	}
	if _, err := send(most, false, func() {}); err != nil {
		t.Errorf("once the others are gone: %v", err)
	}
}
