// Package load makes load on a mail server, as mail programs and other servers
// do: real TLS, with certificates verified, and real protocols, spoken by hand
// so that the generator takes little of the processors it shares with what is
// measured.
//
// Nothing here outlives its context, and no dialogue lasts longer than
// [DialogueTimeout].
package load

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// For runs job again and again, by as many workers at a time, until span has
// gone by and what was begun has ended, and returns how many times. n counts the
// calls. The first error ends it.
func For(ctx context.Context, workers int, span time.Duration, job func(ctx context.Context, n int) error) (int, error) {
	var calls atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range workers {
		group.Go(func() error {
			for time.Since(began) < span && ctx.Err() == nil {
				if err := job(ctx, int(calls.Add(1)-1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return int(calls.Load()), err
}

// Each runs job for every number below n, by as many workers at a time. The
// first error ends it.
func Each(ctx context.Context, workers, n int, job func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range n {
		group.Go(func() error { return job(ctx, i) })
	}
	return group.Wait()
}

// Times runs job n times, one after the other, and returns how long each took.
func Times(ctx context.Context, n int, job func(ctx context.Context, i int) error) ([]time.Duration, error) {
	times := make([]time.Duration, n)
	for i := range n {
		began := time.Now()
		if err := job(ctx, i); err != nil {
			return nil, fmt.Errorf("number %d: %w", i+1, err)
		}
		times[i] = time.Since(began)
	}
	return times, nil
}

// Percentile is the smallest of the times that p per cent of them do not
// exceed; 0 of none.
func Percentile(times []time.Duration, p int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
