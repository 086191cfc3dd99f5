// Package soak proves that the server keeps its promises under load. It runs the real
// program, lets many workers do random things to it for a time, and compares what came out
// with what should have:
//
//	actors ─▶ requests, sockets ─▶ the program ─▶ frames ─▶ clients
//	                                   └▶ journal ─▶ model ─▶ compare
//
// A world is a room that comes, lives for some seconds and goes. Its actors write
// resources, subscribe, bind, cut, revoke and reset. A client reads one socket and knows
// only the grammar of the protocol: handshake first, numbers in order and without a gap. The
// model follows the journal and knows what every subscription owes to every binding.
// At the end of a world, the frames of each client, $events, $status and the accepted writes
// are compared with the model. At the end of the run, goroutines, file descriptors and memory
// of the process have to be where they were before.
//
// Nothing is judged by the clock of the test. The order of the journal is the order of the
// server, because a subscription records what it does under its lock.
//
//	go test -race ./e2e/soak                              ten seconds
//	go test -race ./e2e/soak -soak.for 10m -timeout 15m   longer
//	go test -race ./e2e/soak -soak.seed 42                the decisions of an earlier run
package soak
