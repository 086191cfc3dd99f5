package httpmock

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"signalfhir/internal/fhir"
	"signalfhir/internal/httpedge"
	"signalfhir/internal/journal"
)

// Journal serves GET /mock/journal: the entries that are kept and selected, oldest first.
func (m *Mock) Journal(c echo.Context) error {
	if err := httpedge.NoBody(c, append(selecting, "limit", "bodies", "format")...); err != nil {
		return err
	}
	f, err := journalFilter(c)
	if err != nil {
		return err
	}
	bodies, err := isSet(c, "bodies")
	if err != nil {
		return err
	}
	format := c.QueryParam("format")
	if format == "" && strings.Contains(c.Request().Header.Get("Accept"), "application/x-ndjson") {
		format = "ndjson"
	}
	j := httpedge.Room(c).Journal()
	// A client that saw the effects of an exchange must find the exchange, too.
	j.Settle(c.Request().Context())
	first, last := j.Range()
	f.Upto = last
	entries := j.Entries(f)
	switch format {
	case "", "json":
		list := []json.RawMessage{}
		for _, e := range entries {
			list = append(list, e.JSON(bodies))
		}
		return writeJSON(c, struct {
			Instance string            `json:"instance"`
			First    uint64            `json:"first"` // the oldest entry kept
			Last     uint64            `json:"last"`
			Entries  []json.RawMessage `json:"entries"`
		}{httpedge.Room(c).Instance(), first, last, list})
	case "ndjson":
		var lines bytes.Buffer
		for _, e := range entries {
			lines.Write(e.JSON(bodies))
			lines.WriteByte('\n')
		}
		return download(c, "application/x-ndjson", "signalfhir.ndjson", lines.Bytes())
	case "har":
		return download(c, "application/json", "signalfhir.har", journal.HAR(entries, httpedge.ServerRoot(c), m.options.Version))
	}
	return fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected json, ndjson or har", format).At("format")
}

func download(c echo.Context, kind, name string, data []byte) error {
	h := c.Response().Header()
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return c.Blob(http.StatusOK, kind, data)
}

// JournalEntry serves GET /mock/journal/[seq]: an entry with frame, headers and bodies.
func (m *Mock) JournalEntry(c echo.Context) error {
	if err := httpedge.NoBody(c); err != nil {
		return err
	}
	seq, err := sequenceNumber(c.Param("seq"))
	if err != nil {
		return err
	}
	e, ok := httpedge.Room(c).Journal().Entry(seq)
	if !ok {
		first, last := httpedge.Room(c).Journal().Range()
		return fhir.Refuse(http.StatusNotFound, fhir.CodeNotFound, "entry %d is not kept; the journal has %d to %d", seq, first, last)
	}
	return writeJSON(c, json.RawMessage(e.JSON(true)))
}

// maxLimit bounds the limit of a request for entries.
const maxLimit = 1_000_000

// selecting lists the parameters that select entries. openapi.json describes the one that
// may be repeated as an array.
var selecting = []string{"kind*", "subscription", "socket", "text", "since"}

// journalFilter reads the parameters that select entries.
func journalFilter(c echo.Context) (journal.Filter, error) {
	f := journal.Filter{Subscription: c.QueryParam("subscription"), Socket: c.QueryParam("socket"), Text: c.QueryParam("text")}
	for _, list := range c.QueryParams()["kind"] {
		for kind := range strings.SplitSeq(list, ",") {
			if kind == "" {
				continue
			}
			if !slices.Contains(journal.Kinds(), kind) {
				return f, fhir.Refuse(http.StatusBadRequest, fhir.CodeCodeInvalid, "got %q, expected one of %s", kind, strings.Join(journal.Kinds(), ", ")).At("kind")
			}
			f.Kinds = append(f.Kinds, kind)
		}
	}
	if since := c.QueryParam("since"); since != "" {
		var err error
		if f.After, err = strconv.ParseUint(since, 10, 64); err != nil || f.After > maxSeq {
			f.After = 0
			if f.Since, err = time.Parse(time.RFC3339, since); err != nil {
				return f, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "got %q, expected the number of an entry, at most %d, or a time such as 2026-01-02T15:04:05Z", since, maxSeq).At("since")
			}
		}
	}
	var err error
	f.Limit, err = wholeNumber(c, "limit", 1, maxLimit, 0)
	return f, err
}

// sequenceNumber reads the number of a journal entry; 0 if there is none.
func sequenceNumber(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seq == 0 || seq > maxSeq {
		return 0, fhir.Refuse(http.StatusBadRequest, fhir.CodeValue, "%q is not a journal sequence number, which is from 1 to %d; the member seq of each entry has it", text, maxSeq).At("seq")
	}
	return seq, nil
}
