package migrate

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"mailstack/migrate/maildir"

	"golang.org/x/sync/errgroup"
)

// scanBatch is how many mailboxes one script lists: few enough for all
// connections to be busy until the end, enough to make the login not count.
const scanBatch = 50

// scan lists the mailboxes on the old server. Each is left with its tree or its
// problem; an error is one of the connection. done is told how many are done.
func scan(ctx context.Context, from Remote, boxes []*mailbox, workers int, done func(n int)) error {
	var ready []*mailbox
	for _, m := range boxes {
		if m.domain != "" && (m.problem == nil || m.there != nil) {
			ready = append(ready, m)
		}
	}
	count := counter{tell: done}
	return forEachSlot(ctx, workers, batches(ready, scanBatch), func(ctx context.Context, slot int, batch []*mailbox) error {
		if err := scanSome(ctx, from, slot, batch); err != nil {
			return fmt.Errorf("list mail on %s: %w", from.Target(), err)
		}
		count.add(len(batch))
		return nil
	})
}

func scanSome(ctx context.Context, from Remote, slot int, batch []*mailbox) error {
	var asked bytes.Buffer
	for _, m := range batch {
		for _, root := range m.roots() {
			fmt.Fprintf(&asked, "%s\x00%s\x00", root[0], root[1])
		}
	}
	stream, err := from.Stream(ctx, slot, &asked, "sh", "-c", maildir.List)
	if err != nil {
		return err
	}
	defer stream.Close()
	r := maildir.NewReader(stream)
	for _, m := range batch {
		if err := m.read(r); err != nil {
			return fmt.Errorf("%s: %w", m.Address, err)
		}
	}
	// It has said all it was asked; its end says whether it succeeded.
	return drain(stream)
}

// drain waits for the end of a program that has nothing more to say.
func drain(stream io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(stream, 1))
	if err == nil && n > 0 {
		err = fmt.Errorf("it says more than it was asked")
	}
	return err
}

// batches cuts a list into pieces of at most size.
func batches[T any](all []T, size int) [][]T {
	var out [][]T
	for len(all) > size {
		out = append(out, all[:size])
		all = all[size:]
	}
	if len(all) > 0 {
		out = append(out, all)
	}
	return out
}

// forEachSlot hands the pieces to workers, each of which has a slot of its own.
func forEachSlot[T any](ctx context.Context, workers int, pieces []T, work func(ctx context.Context, slot int, piece T) error) error {
	queue := make(chan T, len(pieces))
	for _, p := range pieces {
		queue <- p
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for slot := range min(workers, len(pieces)) {
		group.Go(func() error {
			for p := range queue {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := work(ctx, slot, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// counter counts what several workers have done.
type counter struct {
	n    atomic.Int64
	tell func(n int)
}

func (c *counter) add(n int) { c.tell(int(c.n.Add(int64(n)))) }
