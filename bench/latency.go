package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mailstack/bench/load"
)

// Users of the suite latency.
const (
	latencyMail = 30 // gets mail
	latencyFull = 31 // has a mailbox that is full of it
)

// percentiles are the two readings of what was timed one by one.
func percentiles(figure string, times []time.Duration) []reading {
	ms := func(p int) float64 { return load.Percentile(times, p).Seconds() * 1000 }
	return []reading{{figure + ", p50", "ms", ms(50)}, {figure + ", p99", "ms", ms(99)}}
}

// latencySuite takes the time of what a person or another server waits for, one
// at a time, in sessions that are open.
func latencySuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	bare, ours, err := s.both(ctx)
	if err != nil {
		return nil, err
	}
	full := e.pick(30_000, 2000)
	for _, t := range []*target{bare, ours} {
		if err := t.fillMailbox(ctx, latencyFull, full); err != nil {
			return nil, fmt.Errorf("fill a mailbox: %w", err)
		}
	}
	turn := func(ctx context.Context, t *target) ([]reading, error) {
		transactions, err := timeTransactions(ctx, t, e.pick(200, 30))
		if err != nil {
			return nil, err
		}
		reads, err := timeReading(ctx, t, full, e.pick(40, 5))
		return append(transactions, reads...), err
	}
	return interleave(ctx, e.rounds, against(turn, bare, ours))
}

func timeTransactions(ctx context.Context, t *target, n int) ([]reading, error) {
	before, err := t.arrived(latencyMail)
	if err != nil {
		return nil, err
	}
	session, err := t.Inbound(ctx)
	if err != nil {
		return nil, err
	}
	to := t.user(latencyMail)
	times, err := load.Times(ctx, n, func(_ context.Context, i int) error {
		return session.Send(stranger, to, load.Message(stranger, to, i, messageBytes))
	})
	if err := errors.Join(err, session.Leave()); err != nil {
		return nil, err
	}
	return percentiles("SMTP transaction to its 250", times), t.awaitArrivals(ctx, latencyMail, latencyMail+1, before+n)
}

func timeReading(ctx context.Context, t *target, full, n int) ([]reading, error) {
	session, err := t.IMAP(ctx, t.user(latencyFull), t.password)
	if err != nil {
		return nil, err
	}
	selects := make([]time.Duration, n)
	for i := range n {
		began := time.Now()
		messages, err := session.Select("INBOX")
		if selects[i] = time.Since(began); err == nil && messages != full {
			err = fmt.Errorf("SELECT counts %d messages, not %d", messages, full)
		}
		if err := errors.Join(err, session.Unselect()); err != nil {
			return nil, err
		}
	}
	const headers = 1000
	if _, err := session.Select("INBOX"); err != nil {
		return nil, err
	}
	fetches, err := load.Times(ctx, n, func(context.Context, int) error {
		came, err := session.FetchHeaders(headers)
		if err == nil && came != headers {
			err = fmt.Errorf("FETCH gave %d headers, not %d", came, headers)
		}
		return err
	})
	readings := append(percentiles(fmt.Sprintf("IMAP SELECT, %d messages", full), selects),
		percentiles(fmt.Sprintf("IMAP FETCH, %d headers", headers), fetches)...)
	return readings, errors.Join(err, session.Leave())
}

// fillMailbox writes messages straight into a user's Maildir, as a million
// deliveries would be no part of what is measured.
func (t *target) fillMailbox(ctx context.Context, i, n int) error {
	session, err := t.IMAP(ctx, t.user(i), t.password)
	if err != nil {
		return err
	}
	have, err := session.Select("INBOX") // makes it
	if err := errors.Join(err, session.Leave()); err != nil || have == n {
		return err
	}
	dir := filepath.Join(t.maildir(i), "cur")
	who, err := ownerOf(dir)
	if err != nil {
		return err
	}
	for k := range n {
		message := load.Message(stranger, t.user(i), k, 1<<10)
		file := filepath.Join(dir, fmt.Sprintf("1700000000.M%06dP1.bench,S=%d:2,S", k, len(message)))
		if err := errors.Join(os.WriteFile(file, message, 0o600), os.Chown(file, who.uid, who.gid)); err != nil {
			return err
		}
	}
	return nil
}
