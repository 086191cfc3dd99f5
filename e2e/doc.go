// Package e2e drives the real program as its users do: through HTTP, sockets,
// the command line, the documents and a browser.
package e2e
