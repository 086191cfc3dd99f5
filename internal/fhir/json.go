package fhir

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is the maximum nesting depth of objects and arrays in a resource.
const MaxDepth = 64

// Object is a JSON object that keeps the order of its members, so that a resource
// is returned as it was sent. A value is a string, a json.Number, a bool, nil, an
// *Object or a []any of values.
type Object struct{ members []member }

type member struct {
	name  string
	value any
}

// NewObject returns an object with the given name, value pairs.
func NewObject(pairs ...any) *Object {
	o := &Object{}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.Set(pairs[i].(string), pairs[i+1])
	}
	return o
}

func (o *Object) index(name string) int {
	if o == nil {
		return -1
	}
	return slices.IndexFunc(o.members, func(m member) bool { return m.name == name })
}

// Get returns the value of a member, or nil if there is none.
func (o *Object) Get(name string) any {
	if i := o.index(name); i >= 0 {
		return o.members[i].value
	}
	return nil
}

// lookup returns the value of a member and whether there is one.
func (o *Object) lookup(name string) (value any, found bool) {
	if i := o.index(name); i >= 0 {
		return o.members[i].value, true
	}
	return nil, false
}

// Has reports whether there is a member of that name.
func (o *Object) Has(name string) bool { return o.index(name) >= 0 }

// Text returns the value of a member that is a string, otherwise "".
func (o *Object) Text(name string) string {
	text, _ := o.Get(name).(string)
	return text
}

// Object returns the value of a member that is an object, otherwise nil.
func (o *Object) Object(name string) *Object {
	object, _ := o.Get(name).(*Object)
	return object
}

// Array returns the value of a member that is an array, otherwise nil.
func (o *Object) Array(name string) []any {
	array, _ := o.Get(name).([]any)
	return array
}

// Set sets the value of a member. A new member goes to the end.
func (o *Object) Set(name string, value any) {
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return
	}
	o.members = append(o.members, member{name, value})
}

// SetFirst sets the value of a member and moves it to the front.
func (o *Object) SetFirst(name string, value any) {
	o.Delete(name)
	o.members = slices.Insert(o.members, 0, member{name, value})
}

// Delete removes a member.
func (o *Object) Delete(name string) {
	if i := o.index(name); i >= 0 {
		o.members = slices.Delete(o.members, i, i+1)
	}
}

// Names returns the names of the members in order.
func (o *Object) Names() []string {
	names := make([]string, o.Len())
	for i := range names {
		names[i] = o.members[i].name
	}
	return names
}

// Len returns the number of members.
func (o *Object) Len() int {
	if o == nil {
		return 0
	}
	return len(o.members)
}

// Clone returns a deep copy of the object.
func (o *Object) Clone() *Object {
	if o == nil {
		return nil
	}
	c := &Object{members: make([]member, len(o.members))}
	for i, m := range o.members {
		c.members[i] = member{m.name, cloneValue(m.value)}
	}
	return c
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case *Object:
		return v.Clone()
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = cloneValue(v[i])
		}
		return c
	}
	return v
}

// AppendJSON appends the compact encoding of the object to dst. Numbers keep
// their text; only what JSON demands is escaped.
func (o *Object) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i, m := range o.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, m.name), ':')
		dst = appendValue(dst, m.value)
	}
	return append(dst, '}')
}

func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(dst, v)
	case json.Number:
		return append(dst, v...)
	case bool:
		return strconv.AppendBool(dst, v)
	case *Object:
		return v.AppendJSON(dst)
	case []any:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, v[i])
		}
		return append(dst, ']')
	}
	return append(dst, "null"...)
}

func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// Indent formats compact JSON for people (_pretty).
func Indent(data []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, data, "", "  ") != nil {
		return data
	}
	return append(out.Bytes(), '\n')
}

// Parse parses one JSON object. It refuses, with 400 structure and the line and
// column, everything that JSON or FHIR forbids: invalid UTF-8, lone surrogates,
// duplicate members, comments, data after the object, and nesting beyond
// [MaxDepth].
func Parse(data []byte) (o *Object, err error) {
	p := parser{data: data}
	defer func() {
		if r := recover(); r != nil {
			failed, ours := r.(parseFailure)
			if !ours {
				panic(r)
			}
			o, err = nil, p.refuse(string(failed))
		}
	}()
	p.space()
	if p.at == len(data) {
		p.fail("the body is empty; expected a JSON object")
	}
	if !utf8.Valid(data) {
		for p.at < len(data) {
			r, size := utf8.DecodeRune(data[p.at:])
			if r == utf8.RuneError && size == 1 {
				p.fail("invalid UTF-8")
			}
			p.at += size
		}
	}
	if data[p.at] != '{' {
		p.fail("expected a JSON object, which starts with {, got " + p.here())
	}
	o = p.object(1)
	p.space()
	if p.at < len(data) {
		p.fail("data after the end of the object: " + p.here())
	}
	return o, nil
}

// parseFailure carries the text of a failure up the recursion.
type parseFailure string

type parser struct {
	data []byte
	at   int
}

func (p *parser) fail(text string) { panic(parseFailure(text)) }

func (p *parser) refuse(text string) error {
	before := p.data[:min(p.at, len(p.data))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return Refuse(http.StatusBadRequest, CodeStructure, "invalid JSON at line %d, column %d: %s", line, column, text)
}

// here describes the next byte.
func (p *parser) here() string {
	if p.at >= len(p.data) {
		return "the end of the body"
	}
	r, _ := utf8.DecodeRune(p.data[p.at:])
	if r == '/' && p.at+1 < len(p.data) && (p.data[p.at+1] == '/' || p.data[p.at+1] == '*') {
		return "a comment; JSON has no comments"
	}
	return strconv.QuoteRune(r)
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next skips white space and returns the next byte, or 0 at the end.
func (p *parser) next() byte {
	p.space()
	if p.at == len(p.data) {
		return 0
	}
	return p.data[p.at]
}

func (p *parser) object(depth int) *Object {
	p.deep(depth)
	p.at++
	o := &Object{}
	// Objects in FHIR are small and quickly searched. Hash the names of a large
	// one, or a hostile body could take quadratic time.
	const small = 32
	var seen map[string]bool
	if p.next() == '}' {
		p.at++
		return o
	}
	for {
		if p.next() != '"' {
			p.fail("expected the name of a member in double quotes, got " + p.here())
		}
		start := p.at
		name := p.text()
		if len(o.members) == small {
			seen = make(map[string]bool, 2*small)
			for _, m := range o.members {
				seen[m.name] = true
			}
		}
		if seen[name] || seen == nil && o.Has(name) {
			p.at = start
			p.fail("duplicate member " + strconv.Quote(name))
		}
		if seen != nil {
			seen[name] = true
		}
		if p.next() != ':' {
			p.fail("expected : after the name " + strconv.Quote(name) + ", got " + p.here())
		}
		p.at++
		o.members = append(o.members, member{name, p.value(depth)})
		switch p.next() {
		case ',':
			p.at++
		case '}':
			p.at++
			return o
		default:
			p.fail("expected , or } after a member, got " + p.here())
		}
	}
}

func (p *parser) deep(depth int) {
	if depth > MaxDepth {
		p.fail("nested deeper than " + strconv.Itoa(MaxDepth) + " levels")
	}
}

func (p *parser) array(depth int) []any {
	p.deep(depth)
	p.at++
	values := []any{}
	if p.next() == ']' {
		p.at++
		return values
	}
	for {
		values = append(values, p.value(depth))
		switch p.next() {
		case ',':
			p.at++
		case ']':
			p.at++
			return values
		default:
			p.fail("expected , or ] after a value, got " + p.here())
		}
	}
}

func (p *parser) value(depth int) any {
	switch c := p.next(); {
	case c == '{':
		return p.object(depth + 1)
	case c == '[':
		return p.array(depth + 1)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == 't':
		p.word("true")
		return true
	case c == 'f':
		p.word("false")
		return false
	case c == 'n':
		p.word("null")
		return nil
	}
	p.fail("expected a value, got " + p.here())
	return nil
}

func (p *parser) word(word string) {
	if !bytes.HasPrefix(p.data[p.at:], []byte(word)) {
		p.fail("expected " + word + ", got " + p.here())
	}
	p.at += len(word)
}

// maxNumber bounds the characters of a number, because to calculate with it takes time in
// proportion to their square.
const maxNumber = 1000

func (p *parser) number() json.Number {
	start := p.at
	if p.data[p.at] == '-' {
		p.at++
	}
	switch {
	case p.digit() && p.data[p.at] == '0':
		p.at++
	default:
		p.digits()
	}
	if p.at < len(p.data) && p.data[p.at] == '.' {
		p.at++
		p.digits()
	}
	if p.at < len(p.data) && (p.data[p.at] == 'e' || p.data[p.at] == 'E') {
		p.at++
		if p.at < len(p.data) && (p.data[p.at] == '+' || p.data[p.at] == '-') {
			p.at++
		}
		p.digits()
	}
	if p.at-start > maxNumber {
		p.at = start
		p.fail("a number has at most " + strconv.Itoa(maxNumber) + " characters")
	}
	return json.Number(p.data[start:p.at])
}

func (p *parser) digit() bool {
	return p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9'
}

func (p *parser) digits() {
	if !p.digit() {
		p.fail("expected a digit, got " + p.here())
	}
	for p.digit() {
		p.at++
	}
}

// text parses a string. A string without escapes, the common case, takes one copy.
func (p *parser) text() string {
	p.at++
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			return string(p.data[start : p.at-1])
		case c == '\\':
			return p.escaped(append([]byte(nil), p.data[start:p.at]...))
		case c < ' ':
			p.fail("a control character inside a string; write it as an escape")
		default:
			p.at++
		}
	}
	p.fail("the body ends inside a string")
	return ""
}

func (p *parser) escaped(text []byte) string {
	for p.at < len(p.data) {
		c := p.data[p.at]
		switch {
		case c == '"':
			p.at++
			return string(text)
		case c < ' ':
			p.fail("a control character inside a string; write it as an escape")
		case c != '\\':
			text = append(text, c)
			p.at++
			continue
		}
		p.at++
		if p.at == len(p.data) {
			break
		}
		switch c := p.data[p.at]; c {
		case '"', '\\', '/':
			text = append(text, c)
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			text = utf8.AppendRune(text, p.unicode())
			continue
		default:
			p.fail("invalid escape \\" + string(rune(c)))
		}
		p.at++
	}
	p.fail("the body ends inside a string")
	return ""
}

// unicode parses uXXXX, or two of them that make a surrogate pair.
func (p *parser) unicode() rune {
	r := p.hex4()
	if !utf16.IsSurrogate(r) {
		return r
	}
	if bytes.HasPrefix(p.data[p.at:], []byte(`\u`)) {
		p.at++
		if pair := utf16.DecodeRune(r, p.hex4()); pair != utf8.RuneError {
			return pair
		}
	}
	p.fail("half of a surrogate pair, which is not a character")
	return 0
}

func (p *parser) hex4() rune {
	if p.at+5 > len(p.data) {
		p.fail("the body ends inside an escape")
	}
	n, err := strconv.ParseUint(string(p.data[p.at+1:p.at+5]), 16, 16)
	if err != nil {
		p.fail("expected four hexadecimal digits after \\u")
	}
	p.at += 5
	return rune(n)
}
