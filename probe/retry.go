package probe

import (
	"context"
	"fmt"
	"time"
)

// minimalTry is the least time that another try is worth.
const minimalTry = time.Second

// breath is what a server gets between two tries: a restart or a lock that took
// the first one may be over then.
const breath = time.Second

// pause waits, and is false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// RunRetrying is Run, and runs again up to so many times those checks that did
// not end well. All of it takes no longer than o.Timeout: each try may take its
// share of what is left. A check that passes at last is ok, and says how it
// failed before.
func RunRetrying(ctx context.Context, t Target, o Options, retries int) Report {
	o = o.withDefaults()
	began := time.Now()
	share := func(tries int) Options {
		p := o
		p.Timeout = (o.Timeout - time.Since(began)) / time.Duration(tries)
		return p
	}
	r := Run(ctx, t, share(retries+1))
	for left := retries; left > 0 && ctx.Err() == nil; left-- {
		again := r.notOK()
		if len(again) == 0 || share(left).Timeout < minimalTry+breath || !pause(ctx, breath) {
			break
		}
		next := share(left)
		next.Only, next.Skip = again, nil
		next.exact = true
		r = r.merge(Run(ctx, t, next))
	}
	r.Duration = time.Since(began)
	return r
}

// notOK are the names of the checks that did not end well and were run.
func (r Report) notOK() []string {
	var names []string
	for _, c := range r.Checks {
		if c.Status != OK && c.Time.Unit != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

// merge puts the results of a later try in the place of the earlier ones.
func (r Report) merge(later Report) Report {
	at := make(map[string]Result)
	for _, c := range later.Checks {
		at[c.Name] = c
	}
	results := make([]Result, len(r.Checks))
	for i, c := range r.Checks {
		results[i] = c
		if next, ok := at[c.Name]; ok {
			if next.Status != c.Status {
				next.Notes = append(next.Notes, fmt.Sprintf("the try before: %s: %s", c.Status, c.Reason))
			}
			results[i] = next
		}
	}
	return newReport(r.Stack, results, r.Duration)
}
