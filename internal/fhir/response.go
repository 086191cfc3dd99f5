package fhir

import "time"

// Response is the response to one entry of a batch or transaction.
type Response struct {
	FullURL      string // of the resource; "" if there is none
	Status       string // "201 Created"
	Location     string
	ETag         string
	LastModified time.Time
	Resource     Body   // nil if the response has no resource
	Outcome      []byte // an OperationOutcome, or nil
}

// EncodeResponses writes the response to a batch or transaction; kind is
// batch-response or transaction-response.
func EncodeResponses(id, kind string, at time.Time, responses []Response) Body {
	size := 128
	for i := range responses {
		size += 300 + len(responses[i].Outcome)
	}
	dst := appendString(append(make([]byte, 0, size), `{"resourceType":"Bundle","id":`...), id)
	dst = appendString(append(dst, `,"type":`...), kind)
	w := &bodyWriter{text: appendInstant(append(dst, `,"timestamp":`...), at)}
	entries := entryList{}
	for i := range responses {
		w.text = entries.next(w.text)
		w.writeResponse(&responses[i])
	}
	w.text = append(entries.end(w.text), '}')
	return w.body()
}

func (w *bodyWriter) writeResponse(r *Response) {
	w.text = append(w.text, '{')
	if r.FullURL != "" {
		w.text = append(appendString(append(w.text, `"fullUrl":`...), r.FullURL), ',')
	}
	if r.Resource != nil {
		w.text = append(w.text, `"resource":`...)
		for _, part := range r.Resource {
			w.share(part)
		}
		w.text = append(w.text, ',')
	}
	dst := appendString(append(w.text, `"response":{"status":`...), r.Status)
	if r.Location != "" {
		dst = appendString(append(dst, `,"location":`...), r.Location)
	}
	if r.ETag != "" {
		dst = appendString(append(dst, `,"etag":`...), r.ETag)
	}
	if !r.LastModified.IsZero() {
		dst = appendInstant(append(dst, `,"lastModified":`...), r.LastModified)
	}
	if r.Outcome != nil {
		dst = append(append(dst, `,"outcome":`...), r.Outcome...)
	}
	w.text = append(dst, "}}"...)
}
