// Package protocol tests what the program does on the wire. Each test reads as a
// transcript: it sends a request and names the status and the body it wants, or sends and
// reads frames of a socket.
//
// The server is the program that testkit builds. A test has a room of its own in one
// process. It has a process of its own if it is about the default room, the registry of
// rooms or an option of the program.
//
// Tests that look into the server are in the root.
package protocol
