// Package agent has the work of builder/host done on another machine: the
// program itself, started there by SSH, speaks with the server over its
// standard input and output.
//
// The agent first writes one line, "slipway-agent PROTOCOL SHA256", the latter
// being its own program's, so that the server sees what it speaks with; what a
// login shell may write before is passed over. From then on both sides speak
// yamux, which cuts the one connection into streams, bounds what either side
// has to keep in memory, and notices a side that is gone.
//
// Every call has a stream of its own, of frames: one byte that says the kind,
// four bytes of length, big endian, and as many bytes. The server begins with
// a request; the agent sends what the command writes while it runs, and ends
// with the result. A call that has bytes to send, such as standard input or the
// contents of a tree, opens a second stream for them, whose first frame names
// the call: bytes that nobody reads yet must not hold up a cancellation.
//
// Where the connection ends, so does everything that a call has started and
// that is not the app's own.
package agent
