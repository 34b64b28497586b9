package migrate

import (
	"context"
	"io"

	"mailstack/migrate/remote"
)

// Remote is the old server, as far as copying mail needs it.
type Remote interface {
	// Target is [USER@]HOST.
	Target() string
	// Slots is how many connections there may be.
	Slots() int
	// Open opens the connection of a slot, if it is not open yet.
	Open(ctx context.Context, slot int) error
	// Stream runs a program there over the connection of a slot. Reading its
	// standard output gives io.EOF only when the program has succeeded.
	Stream(ctx context.Context, slot int, stdin io.Reader, program string, args ...string) (io.ReadCloser, error)
	// RsyncShell is the arguments of rsync(1) that make it use the connection of
	// a slot.
	RsyncShell(slot int) []string
	// RsyncPath is how rsync(1) is told of a path there.
	RsyncPath(path string) string
}

// Over makes a host reached by ssh the old server.
func Over(h *remote.Host) Remote { return overSSH{h} }

type overSSH struct{ *remote.Host }

func (o overSSH) Stream(ctx context.Context, slot int, stdin io.Reader, program string, args ...string) (io.ReadCloser, error) {
	c := o.Command(ctx, program, args...)
	c.Slot, c.Stdin = slot, stdin
	return c.Stream()
}
