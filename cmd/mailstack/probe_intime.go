package main

import (
	"context"
	"errors"
	"time"
)

// errHung says that something did not come back in time.
var errHung = errors.New("it hangs")

const diskHangs = "a disk of this host hangs"

// inTime is what get returns, or errHung when it takes longer than limit; 0 is
// no limit. Then, and when ctx has ended, get is left behind.
func inTime[T any](ctx context.Context, limit time.Duration, get func() (T, error)) (T, error) {
	type got struct {
		value T
		err   error
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if limit > 0 {
		limited, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	ready := make(chan got, 1)
	go func() {
		value, err := get()
		ready <- got{value, err}
	}()
	select {
	case g := <-ready:
		return g.value, g.err
	case <-limited.Done():
		var none T
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		return none, errHung
	}
}

// remaining is what is left of a run's time, and never nothing: 0 would mean the
// default.
func remaining(timeout time.Duration, began time.Time) time.Duration {
	return max(time.Millisecond, timeout-time.Since(began))
}
