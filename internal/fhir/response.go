package fhir

import "time"

// Response is the response to one entry of a batch or transaction.
type Response struct {
	FullURL      string // of the resource; "" if there is none
	Status       string // "201 Created"
	Location     string
	ETag         string
	LastModified time.Time
	Resource     []byte // nil if the response has no resource
	Outcome      []byte // an OperationOutcome, or nil
}

// EncodeResponses writes the response to a batch or transaction; kind is
// batch-response or transaction-response.
func EncodeResponses(id, kind string, at time.Time, responses []Response) []byte {
	size := 128
	for i := range responses {
		size += 300 + len(responses[i].Resource) + len(responses[i].Outcome)
	}
	dst := appendString(append(make([]byte, 0, size), `{"resourceType":"Bundle","id":`...), id)
	dst = appendString(append(dst, `,"type":`...), kind)
	dst = appendInstant(append(dst, `,"timestamp":`...), at)
	entries := entryList{}
	for i := range responses {
		dst = appendResponse(entries.next(dst), &responses[i])
	}
	return append(entries.end(dst), '}')
}

func appendResponse(dst []byte, r *Response) []byte {
	dst = append(dst, '{')
	if r.FullURL != "" {
		dst = append(appendString(append(dst, `"fullUrl":`...), r.FullURL), ',')
	}
	if r.Resource != nil {
		dst = append(append(append(dst, `"resource":`...), r.Resource...), ',')
	}
	dst = appendString(append(dst, `"response":{"status":`...), r.Status)
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
	return append(dst, "}}"...)
}
