package main

import (
	"context"
	"time"

	"mailstack/bench/load"
)

// loginsSuite counts logins, each over a connection and a TLS handshake of its
// own. Everybody has logged in there before, within the five minutes that
// mailstack remembers a verified password for a protocol; the suite password has
// what the first login costs.
func loginsSuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	bare, ours, err := s.both(ctx)
	if err != nil {
		return nil, err
	}
	users, span := e.pick(1000, 50), e.span(4*time.Second, 2*time.Second) // 20 s in five rounds
	clear := cheap(bare)
	for _, t := range []*target{bare, clear} { // makes the mailboxes
		if err := t.everybody(ctx, "imaps", users); err != nil {
			return nil, err
		}
	}
	var all []series
	for _, f := range []struct {
		name, listener string
		users          int
	}{
		{"IMAP, many users", "imaps", users},
		{"IMAP, one user", "imaps", 1},
		{"POP3, many users", "pop3s", users},
		{"POP3, one user", "pop3s", 1},
	} {
		turn := func(ctx context.Context, t *target) ([]reading, error) {
			if t == ours {
				if err := t.everybody(ctx, f.listener, f.users); err != nil {
					return nil, err
				}
			}
			return t.work(ctx, f.name, func() (int, error) {
				return load.For(ctx, workers, span, func(ctx context.Context, n int) error {
					return t.logIn(ctx, f.listener, n%f.users)
				})
			})
		}
		list, err := interleave(ctx, e.rounds, against(turn, bare, clear, ours))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}
