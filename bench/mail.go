package main

import (
	"context"

	"mailstack/bench/load"
)

// messageBytes is the size of a message.
const messageBytes = 5 << 10

// stranger sends from elsewhere.
const stranger = "somebody@elsewhere.example"

// senders are users that no mail goes to.
const firstSender = 100

// mailSuite counts messages from the first connection until the last message is
// in its mailbox. Nothing is switched off that keeps them over a power cut. Each
// turn begins with some that do not count: while the other one had its turn, the
// processes of this one have gone, or not, as each is configured.
func mailSuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	bare, ours, err := s.both(ctx)
	if err != nil {
		return nil, err
	}
	return deliveries(ctx, e, bare, ours)
}

// deliveries are the ways in, to each of the targets by turns.
func deliveries(ctx context.Context, e effort, targets ...*target) ([]series, error) {
	n, before := e.pick(500, 50), e.pick(100, 10)
	submit := func(ctx context.Context, t *target, w int) (*load.SMTP, string, error) {
		from := t.user(firstSender + w)
		session, err := t.Submission(ctx, from, t.password)
		return session, from, err
	}
	inbound := func(ctx context.Context, t *target, _ int) (*load.SMTP, string, error) {
		session, err := t.Inbound(ctx)
		return session, stranger, err
	}
	var all []series
	for _, f := range []struct {
		name       string
		first, end int // users that get mail
		open       func(context.Context, *target, int) (*load.SMTP, string, error)
	}{
		{"submission to 20 mailboxes", 0, 20, submit},
		{"port 25 to 20 mailboxes", 0, 20, inbound},
		{"port 25 to one mailbox", 20, 21, inbound},
	} {
		deliver := func(ctx context.Context, t *target, n int) error {
			have, err := t.arrivals(f.first, f.end)
			if err != nil {
				return err
			}
			err = load.Each(ctx, workers, workers, func(ctx context.Context, w int) error {
				session, from, err := f.open(ctx, t, w)
				if err != nil {
					return err
				}
				for i := w; i < n; i += workers {
					to := t.user(f.first + i%(f.end-f.first))
					if err := session.Send(from, to, load.Message(from, to, i, messageBytes)); err != nil {
						return err
					}
				}
				return session.Leave()
			})
			if err != nil {
				return err
			}
			return t.awaitArrivals(ctx, f.first, f.end, have+n)
		}
		turn := func(ctx context.Context, t *target) ([]reading, error) {
			if err := deliver(ctx, t, before); err != nil {
				return nil, err
			}
			return t.work(ctx, f.name, func() (int, error) { return n, deliver(ctx, t, n) })
		}
		list, err := interleave(ctx, e.rounds, against(turn, targets...))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}
