package journal

import "strings"

// A Redactor hides tokens in a text, and parts of tokens that are in it because it was cut.
// It returns a text without tokens as it is. It must not call the journal.
type Redactor interface {
	Redact(text []byte) []byte
	RedactString(text string) string
	// RedactWhole and RedactWholeString need not hide parts.
	RedactWhole(text []byte) []byte
	RedactWholeString(text string) string
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
	for _, field := range []*string{&e.Subscription, &e.Topic, &e.Resource} {
		*field = j.redact.RedactWholeString(*field)
	}
	for _, field := range []*string{&e.Type, &e.Text} {
		*field = j.redact.RedactString(*field)
	}
	switch {
	case len(e.Frame) == 0:
	case e.Kind == Sent && e.Type == "event-notification":
		e.Frame = j.hideInEvents(e.Frame)
	default:
		e.Frame = j.redact.Redact(e.Frame)
	}
	if e.Exchange != nil {
		j.hideInExchange(e.Exchange)
	}
}

// hideInEvents returns a notification of events without tokens. It has resources as they
// are, and nothing that was cut. The frames of one notification to many sockets are recorded
// in a row and share their bytes, so only the first is searched.
func (j *Journal) hideInEvents(frame []byte) []byte {
	if last := j.frame.Load(); last != nil && last.of == &frame[0] && last.size == len(frame) {
		return last.shown
	}
	shown := j.redact.RedactWhole(frame)
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
