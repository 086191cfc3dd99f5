package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"mime"
	"net/http"
	"path"
	"strings"

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

// file is one embedded file as it is answered.
type file struct {
	plain, packed []byte // packed is gzipped
	etag, kind    string
}

// file finds an embedded file. It is packed when it is first asked for: most
// runs of the server never show the page.
func (s *server) file(name string) (*file, error) {
	name = path.Clean("/" + name)
	if found, ok := s.files.Load(name); ok {
		return found.(*file), nil
	}
	plain, err := web.ReadFile(path.Join("web", name))
	if err != nil {
		return nil, echo.ErrNotFound
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(plain) // a buffer takes everything
	_ = w.Close()
	sum := sha256.Sum256(plain)
	f := &file{plain: plain, packed: packed.Bytes(), etag: `W/"` + hex.EncodeToString(sum[:8]) + `"`, kind: mime.TypeByExtension(path.Ext(name))}
	switch path.Ext(name) { // some systems' tables say otherwise
	case ".js", ".mjs":
		f.kind = "text/javascript; charset=utf-8"
	case ".txt":
		f.kind = "text/plain; charset=utf-8"
	}
	s.files.Store(name, f)
	return f, nil
}

// asset answers one embedded file. Embedded files have no time of their own, so
// a browser revalidates by content.
func (s *server) asset(c echo.Context, name string) error {
	f, err := s.file(name)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if c.Request().Header.Get("If-None-Match") == f.etag {
		return c.NoContent(http.StatusNotModified)
	}
	if strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		return c.Blob(http.StatusOK, f.kind, f.packed)
	}
	return c.Blob(http.StatusOK, f.kind, f.plain)
}
