// Package httppage serves the files of the page, packed and with an ETag each.
package httppage

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/httpedge"
	"signalfhir/internal/room"
)

// The page runs only its own files and connects only to this server.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page serves the files of the page. It is safe for concurrent use.
type Page struct {
	files  fs.FS
	packed sync.Map // name → *file
}

// New returns a page made of files, of which index.html is the first.
func New(files fs.FS) *Page { return &Page{files: files} }

// Index serves index.html at the address of every view. Its links lead into the room of
// the request; the scripts learn the room from their own address. The page of the
// default room has one address.
func (p *Page) Index(c echo.Context) error {
	in := httpedge.Path(c)
	if plain, found := strings.CutPrefix(c.Request().URL.RequestURI(), "/rooms/"+room.DefaultName); in == "" && found {
		return c.Redirect(http.StatusFound, plain)
	}
	if in == "" {
		return p.serve(c, "index.html")
	}
	plain, err := fs.ReadFile(p.files, "index.html")
	if err != nil {
		return err
	}
	return write(c, pack("index.html", bytes.ReplaceAll(plain, []byte(`="/`), []byte(`="`+in+`/`))))
}

// Asset serves the file that the wildcard of the route names.
func (p *Page) Asset(c echo.Context) error { return p.serve(c, c.Param("*")) }

// file is one file as it is served.
type file struct {
	plain, packed []byte // packed is gzipped
	etag, kind    string
}

// file returns a file. It packs it at the first request: most runs of the server
// never show the page.
func (p *Page) file(name string) (*file, error) {
	name = path.Clean("/" + name)
	if found, ok := p.packed.Load(name); ok {
		return found.(*file), nil
	}
	plain, err := fs.ReadFile(p.files, strings.TrimPrefix(name, "/"))
	if err != nil {
		return nil, echo.ErrNotFound
	}
	f := pack(name, plain)
	p.packed.Store(name, f)
	return f, nil
}

func pack(name string, plain []byte) *file {
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
	return f
}

func (p *Page) serve(c echo.Context, name string) error {
	f, err := p.file(name)
	if err != nil {
		return err
	}
	return write(c, f)
}

// write writes one file. Embedded files have no modification time, so a browser
// revalidates by content.
func write(c echo.Context, f *file) error {
	h := c.Response().Header()
	h.Set("ETag", f.etag)
	httpedge.Revalidate(h)
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
