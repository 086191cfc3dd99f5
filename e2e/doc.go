// Package e2e drives the real program as its users do: from the command line, with the
// clients of others, by the documents and in a browser. What the program does on the wire
// is tested in e2e/protocol.
package e2e
