package journal

import "strings"

// A Redactor replaces tokens by their fingerprints. It returns a text without tokens as it
// is. It must not call the journal.
type Redactor interface {
	Redact(text []byte) []byte
	RedactString(text string) string
}

// redacted is a frame with what the journal keeps of it.
type redacted struct {
	of    *byte // where the frame begins
	size  int   // of the frame
	shown []byte
}

// hideTokens replaces the tokens in an entry, wherever they stand. It is the one place
// through which everything goes that journal, stream, HAR and explanations show.
func (j *Journal) hideTokens(e *Entry) {
	if j.redact == nil || j.size == 0 {
		return
	}
	for _, field := range []*string{&e.Subscription, &e.Topic, &e.Resource, &e.Type, &e.Text} {
		*field = j.redact.RedactString(*field)
	}
	if len(e.Frame) > 0 {
		e.Frame = j.hideInFrame(e.Frame)
	}
	if e.Exchange != nil {
		j.hideInExchange(e.Exchange)
	}
}

// hideInFrame returns a frame without tokens. The frames of one notification to many
// sockets are recorded in a row and share their bytes, so only the first is searched.
func (j *Journal) hideInFrame(frame []byte) []byte {
	if last := j.frame.Load(); last != nil && last.of == &frame[0] && last.size == len(frame) {
		return last.shown
	}
	shown := j.redact.Redact(frame)
	j.frame.Store(&redacted{&frame[0], len(frame), shown})
	return shown
}

func (j *Journal) hideInExchange(x *Exchange) {
	// No line of a head holds a line feed, so all lines are searched together.
	type line struct {
		headers map[string]string
		name    string
	}
	var lines []line
	var head strings.Builder
	head.WriteString(x.Method + "\n" + x.Path)
	for _, headers := range []map[string]string{x.RequestHeaders, x.ResponseHeaders} {
		for name, value := range headers {
			lines = append(lines, line{headers, name})
			head.WriteString("\n" + name + "\n" + value)
		}
	}
	whole := head.String()
	if hidden := j.redact.RedactString(whole); hidden != whole {
		shown := strings.Split(hidden, "\n")
		x.Method, x.Path = shown[0], shown[1]
		for i, l := range lines {
			delete(l.headers, l.name)
			l.headers[shown[2*i+2]] = shown[2*i+3]
		}
	}
	x.RequestBody, x.ResponseBody = j.redact.Redact(x.RequestBody), j.redact.Redact(x.ResponseBody)
}
