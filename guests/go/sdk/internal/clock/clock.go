// Package clock says when the collector may ask the host for the time.
//
// Go's collector reads both clocks when it comes to its end, which may be where the host asks for memory: there, a
// module must not call out, and traps. So the host's clocks can be frozen, and answer with their last reading. They run
// only while the author's code does.
package clock

import "time"

//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func freeze(on bool)

var runs = false

func init() {
	time.Now() // what frozen clocks answer at first
	freeze(true)
}

// Start lets the clocks run: a call has begun.
func Start() {
	runs = true
	freeze(false)
}

// Stop freezes them: the call ends.
func Stop() {
	runs = false
	freeze(true)
}

// Hold freezes them until what it gives is called: the host is asked for something, and may need memory for the answer.
func Hold() func() {
	freeze(true)
	return func() { freeze(!runs) }
}
