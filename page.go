package main

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"

	"github.com/labstack/echo/v4"
)

//go:embed web
var web embed.FS

// The page runs nothing but its own files and talks to nobody but this server.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page answers /.
func (s *server) page(c echo.Context) error { return s.asset(c, "index.html") }

// assets answers /ui/….
func (s *server) assets(c echo.Context) error { return s.asset(c, c.Param("*")) }

// asset answers one embedded file. Embedded files have no time of their own, so
// a browser revalidates by content.
func (s *server) asset(c echo.Context, name string) error {
	data, err := web.ReadFile(path.Join("web", path.Clean("/"+name)))
	if err != nil {
		return echo.ErrNotFound
	}
	sum := sha256.Sum256(data)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	h := c.Response().Header()
	h.Set("ETag", etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if c.Request().Header.Get("If-None-Match") == etag {
		return c.NoContent(http.StatusNotModified)
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" {
		kind = "text/javascript; charset=utf-8" // some systems' tables say otherwise
	}
	return c.Blob(http.StatusOK, kind, data)
}
