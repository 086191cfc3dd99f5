package fhir

import "bytes"

// Body is an encoded resource, in parts that follow each other. Large parts are the bytes
// of stored resources, which are shared and not copied: a bundle of the largest resources
// takes next to no memory. A Body is read only.
type Body [][]byte

// Whole returns a body of one part.
func Whole(encoded []byte) Body { return Body{encoded} }

// Len returns the length of the body in bytes.
func (b Body) Len() int64 {
	n := int64(0)
	for _, part := range b {
		n += int64(len(part))
	}
	return n
}

// Bytes returns the body as one part.
func (b Body) Bytes() []byte {
	if len(b) == 1 {
		return b[0]
	}
	return bytes.Join(b, nil)
}

// A part of a body is shared if it has this many bytes; a smaller one is copied.
const sharedBytes = 4 << 10

// bodyWriter puts a body together.
type bodyWriter struct {
	parts Body
	text  []byte // the part that is being written
}

// share adds bytes that must not be modified afterwards.
func (w *bodyWriter) share(part []byte) {
	if len(part) < sharedBytes {
		w.text = append(w.text, part...)
		return
	}
	if len(w.text) > 0 {
		w.parts = append(w.parts, w.text)
	}
	w.parts = append(w.parts, part)
	w.text = w.text[len(w.text):] // what is left of the memory
}

// body returns what was written.
func (w *bodyWriter) body() Body {
	if len(w.text) > 0 {
		w.parts = append(w.parts, w.text)
	}
	return w.parts
}
