package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mailstack/bench/load"
)

// Users of the suite password: nobody else logs in as them.
const (
	firstChanged = 1100
	changed      = 5
)

// passwordSuite takes the time of the first login after a password change, which
// pays for the hash, and of the next. The old password must be refused as soon
// as the command has ended. Bare has nothing to change: it pays at each login.
func passwordSuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	bare, ours, err := s.both(ctx)
	if err != nil {
		return nil, err
	}
	passwords := map[string]string{}
	change := func(ctx context.Context, user string) error {
		old := passwords[user]
		if old == "" {
			old = ours.password
		}
		passwords[user] = rand.Text()
		if _, err := s.Run(ctx, []byte(passwords[user]+"\n"), "account", "passwd", user, "--password-stdin"); err != nil {
			return err
		}
		var refusal *load.Refusal
		if err := ours.LogIn(ctx, "imaps", user, old); !errors.As(err, &refusal) {
			return fmt.Errorf("log in as %s with the old password: %v, want a refusal", user, err)
		}
		return nil
	}
	turn := func(ctx context.Context, t *target) ([]reading, error) {
		first, next := make([]time.Duration, changed), make([]time.Duration, changed)
		for i := range changed {
			user, password := t.user(firstChanged+i), t.password
			if t == ours {
				if err := change(ctx, user); err != nil {
					return nil, err
				}
				password = passwords[user]
			}
			times, err := load.Times(ctx, 2, func(ctx context.Context, _ int) error { return t.LogIn(ctx, "imaps", user, password) })
			if err != nil {
				return nil, err
			}
			first[i], next[i] = times[0], times[1]
		}
		return []reading{
			{"first login after a change, p50", "ms", load.Percentile(first, 50).Seconds() * 1000},
			{"the login after it, p50", "ms", load.Percentile(next, 50).Seconds() * 1000},
		}, nil
	}
	return interleave(ctx, e.rounds, against(turn, bare, ours))
}
