package httpedge

import (
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// Log counts requests, writes a line for each, and has the error handler write the response
// to an error. It leaves out sockets, which log for themselves: their request ends with the
// socket. A refused upgrade is logged like any request.
func (e *Edge) Log() echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus:   true,
		LogMethod:   true,
		LogLatency:  true,
		LogError:    true,
		HandleError: true,
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			if NeedsOf(c).Socket && v.Status < http.StatusBadRequest {
				e.options.Counted(v.Method, http.StatusSwitchingProtocols)
				return nil
			}
			e.options.Counted(v.Method, v.Status)
			level := slog.LevelDebug
			if v.Status >= http.StatusInternalServerError {
				level = slog.LevelError
			} else if v.Status >= http.StatusBadRequest || v.Method != http.MethodGet {
				level = slog.LevelInfo
			}
			attrs := []slog.Attr{slog.Int("status", v.Status), slog.Duration("took", v.Latency.Round(time.Microsecond))}
			if v.Error != nil {
				attrs = append(attrs, slog.String("why", shown(c, v.Error.Error())))
			}
			path := shownURI(c, &url.URL{Path: c.Request().URL.Path})
			e.options.Logger.LogAttrs(c.Request().Context(), level, shown(c, v.Method)+" "+path, attrs...)
			return nil
		},
	})
}

// Recover turns a panic of a handler into an error.
func (e *Edge) Recover() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisableStackAll: true,
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			e.options.Logger.Error("a handler panicked", "error", shown(c, err.Error()), "stack", string(stack))
			return err
		},
	})
}
