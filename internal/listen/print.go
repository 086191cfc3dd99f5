package listen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// printer writes one line per frame to out, and what the client does about frames
// to notes.
type printer struct {
	out, notes io.Writer
	raw        bool
}

// note reports what the client does.
func (p *printer) note(format string, args ...any) {
	fmt.Fprintf(p.notes, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// frame prints a frame as JSON on one line.
func (p *printer) frame(data []byte) {
	var line bytes.Buffer
	if json.Compact(&line, data) != nil {
		line.Reset()
		line.Write(data)
	}
	line.WriteByte('\n')
	_, _ = p.out.Write(line.Bytes())
}

// line prints the content of a frame. how is "" for frames from the socket.
func (p *printer) line(id string, n notification, events []event, how string) {
	if p.raw {
		return
	}
	text := fmt.Sprintf("%s  %-18s  %s", time.Now().Format("15:04:05.000"), n.kind, id)
	if n.status != "" && n.status != "active" {
		text += "  status " + n.status
	}
	if len(events) == 0 {
		if !n.untold {
			text += fmt.Sprintf("  total %d", n.total)
		}
		fmt.Fprintf(p.out, "%s%s\n", text, suffix(n.errors))
		return
	}
	for _, e := range events {
		parts := []string{text, fmt.Sprintf("#%d", e.number)}
		if e.focus != "" {
			focus := e.focus
			if e.method != "" {
				focus += " (" + e.method + ")"
			}
			parts = append(parts, focus)
		}
		if e.context > 0 {
			parts = append(parts, fmt.Sprintf("+%d context", e.context))
		}
		if how != "" {
			parts = append(parts, how)
		}
		fmt.Fprintf(p.out, "%s%s\n", strings.Join(parts, "  "), suffix(n.errors))
	}
}

func suffix(errors []string) string {
	if len(errors) == 0 {
		return ""
	}
	return "  error: " + strings.Join(errors, "; ")
}
