package token

import (
	"crypto/sha256"
	"slices"
	"strings"
)

// lists holds the lists of subscriptions of valid tokens, each once: the tokens of one
// client are mostly for the same subscriptions.
type lists struct {
	held  map[[sha256.Size]byte]*list
	bytes int64
}

// list is the list of one or more tokens.
type list struct {
	key           [sha256.Size]byte
	subscriptions []string
	size          int64
	tokens        int
}

// What a list, and each name in it, take besides the characters of the names.
const (
	listOverhead = 256
	nameOverhead = 32
)

// find returns the list that is equal to subscriptions. If there is none, it returns a new
// one, which is not held yet.
func (l *lists) find(subscriptions []string) *list {
	hash := sha256.New()
	size := int64(listOverhead)
	for _, name := range subscriptions {
		_, _ = hash.Write([]byte(name))
		_, _ = hash.Write([]byte{0})
		size += nameOverhead + int64(len(name))
	}
	key := [sha256.Size]byte(hash.Sum(nil))
	if known := l.held[key]; known != nil {
		return known
	}
	return &list{key: key, size: size}
}

// take counts one more token with a list. subscriptions is its content if no other token
// has it.
func (l *lists) take(of *list, subscriptions []string) {
	if of.tokens++; of.tokens > 1 {
		return
	}
	if l.held == nil {
		l.held = map[[sha256.Size]byte]*list{}
	}
	of.subscriptions = slices.Clone(subscriptions)
	for i, name := range of.subscriptions {
		of.subscriptions[i] = strings.Clone(name) // it may be a part of something longer
	}
	l.held[of.key] = of
	l.bytes += of.size
}

// leave counts one token less with a list.
func (l *lists) leave(of *list) {
	if of.tokens--; of.tokens == 0 {
		delete(l.held, of.key)
		l.bytes -= of.size
	}
}
