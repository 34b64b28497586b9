package stack

import "time"

// Event is progress of a plan. Renderers live with the command line.
type Event struct {
	Kind  EventKind
	Index int // of the operation in the plan
	Op    Operation
	Line  string        // of Output
	Took  time.Duration // of Done and Failed
	Err   error         // of Failed
}

// EventKind says what happened.
type EventKind int

// The kinds of events, in the order in which an operation sends them.
const (
	Started EventKind = iota
	Output            // a line of a build or of a wait
	Done
	Failed
)

// Reporter is told of every event, one at a time.
type Reporter interface{ Report(Event) }
