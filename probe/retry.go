package probe

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// minimalTry is the least time that another try is worth.
const minimalTry = time.Second

// breath is what a server gets between two tries at least, counted from the
// first failure: a restart or a lock that took the first one may be over then.
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
// not end well. All of it takes no longer than o.Timeout: a try that is not the
// last may take three fifths of what is left, since what is tried again is
// less. A check that passes at last is ok, and says how it failed before.
func RunRetrying(ctx context.Context, t Target, o Options, retries int) Report {
	o = o.withDefaults()
	began := time.Now()
	share := func(further int) Options { return o.share(time.Since(began), further) }
	r := Run(ctx, t, share(retries))
	for left := retries; left > 0 && ctx.Err() == nil; left-- {
		again, since := r.notOK()
		rest := max(0, breath-since)
		if len(again) == 0 || share(left-1).Timeout < minimalTry+rest || !pause(ctx, rest) {
			break
		}
		next := share(left - 1)
		next.Only, next.Skip = again, nil
		next.exact = true
		r = r.merge(Run(ctx, t, next))
	}
	r.Duration = time.Since(began)
	return r
}

// share is what a try gets when so much time has passed and so many may follow.
// What is late is so within the time of one try, or nothing could be.
func (o Options) share(passed time.Duration, further int) Options {
	if o.Timeout -= passed; further > 0 {
		o.Timeout = o.Timeout * 3 / 5
	}
	o.Late = min(o.Late, o.Timeout/2)
	return o
}

// notOK are the names of the checks that did not end well, were run, and could
// end better, and how long ago the last of them failed. A server that was waited
// for to the end has had its time.
func (r Report) notOK() (names []string, since time.Duration) {
	since = r.Duration
	for _, c := range r.Checks {
		open := slices.ContainsFunc(c.Failures, func(f *Failure) bool { return !f.settled })
		if open && c.Time.Unit != "" {
			names = append(names, c.Name)
			if c.Failures[0].Kind != KindTimeout {
				since = min(since, r.Duration-c.Duration)
			}
		}
	}
	return names, max(0, since)
}

// impatient says whether a later try, which has less time, has not waited for a
// message as long as an earlier one, to which it came late.
func (r Result) impatient(earlier Result) bool {
	return earlier.Status == Warning && earlier.Failures[0].Kind == KindLate &&
		len(r.Failures) > 0 && (r.Failures[0].Kind == KindMissing || r.Failures[0].Kind == KindQueued)
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
		if next, ok := at[c.Name]; ok && !next.impatient(c) {
			if next.Status != c.Status {
				next.Notes = append(next.Notes, fmt.Sprintf("the try before: %s: %s", c.Status, c.Reason))
			}
			results[i] = next
		}
	}
	return newReport(r.Stack, results, r.Duration)
}
