// Package stack knows services and the sockets between them, and takes a host
// from what is there to what should be.
//
// Services are data (Catalog); mounts, the order of a start and everything
// people are shown follow from them (Graph). Settings and Identity give the
// stack as it should be (Desired), the engine and the disk give it as it is
// (Observe), comparing the two gives a list of steps, each with its cause
// (NewPlan), and the Executor carries those out without deciding anything.
//
// What runs is remembered in Docker's labels, what exists in the marks of the
// volumes; there is no state file beside them. The package speaks to no engine
// itself: it declares the Engine that it needs.
package stack
