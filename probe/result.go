package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status is how a check, or a whole run, ended. Its number is the exit code
// that monitoring plugins use for it.
type Status int

// The states of the plugin guidelines
// (https://www.monitoring-plugins.org/doc/guidelines.html).
const (
	OK Status = iota
	Warning
	Critical
	Unknown
)

// String is the word that JSON uses: ok, warning, critical, unknown.
func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("status(%d)", int(s))
}

// MarshalText is String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Status) UnmarshalText(text []byte) error {
	for _, known := range []Status{OK, Warning, Critical, Unknown} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("parse status %q: not one of ok, warning, critical, unknown", text)
}

// ExitCode is the process exit code for the status: 0, 1, 2 or 3.
func (s Status) ExitCode() int { return int(s) }

// worse orders states as the plugins do: what is known to be broken outranks
// what could not be looked at.
func (s Status) worse(than Status) bool {
	rank := [...]int{OK: 0, Unknown: 1, Warning: 2, Critical: 3}
	return rank[s] > rank[than]
}

// Step is one timed part of a check.
type Step struct {
	Name     string // "connect", "login"
	Address  string // "127.0.0.1:993" where the check looks at several, else ""
	Duration time.Duration
	Done     bool // false: it was cut off
}

// Result is the outcome of one check.
type Result struct {
	Name     string
	Status   Status
	Duration time.Duration
	Reason   string // why it is not ok, one line; "" when it is
	Hint     string // what to do about it, one line, or ""
	Steps    []Step
	// Failures are the reasons as values, the first being the one that Hint is
	// about.
	Failures []*Failure
	Values   []Value // what was measured, with the limits that it was judged by
	Time     Value   // Duration, with its limits
	Notes    []string
	Dialogue []Conversation // with Options.Dialogue
}

// Report is the outcome of a run.
type Report struct {
	Stack    string
	Status   Status // the worst of Checks; Unknown when there are none
	Duration time.Duration
	Taken    time.Time // when, for a report that was kept; zero: just now
	Checks   []Result  // in the order of Checks, whatever finished first

	unreached []string // names of the checks that a stopped run did not get to
}

func newReport(stack string, results []Result, took time.Duration) Report {
	r := Report{Stack: stack, Checks: results, Duration: took}
	if len(results) == 0 {
		r.Status = Unknown
	}
	for _, c := range results {
		if c.Status.worse(r.Status) {
			r.Status = c.Status
		}
	}
	return r
}

// newResult judges what a check returned.
func newResult(name string, err error, steps []Step, took time.Duration) Result {
	r := Result{Name: name, Duration: took, Steps: steps, Failures: failuresOf(err)}
	for _, f := range r.Failures {
		if s := f.Kind.Status(); s.worse(r.Status) {
			r.Status = s
		}
	}
	// The worst failure is the one to read about first.
	for i, f := range r.Failures {
		if f.Kind.Status() == r.Status {
			copy(r.Failures[1:i+1], r.Failures[:i])
			r.Failures[0] = f
			break
		}
	}
	if len(r.Failures) > 0 {
		r.Reason = strings.Join(reasonsOf(r.Failures), "; ")
		r.Hint = r.Failures[0].Hint()
	}
	return r
}

// Stopped is a report of nothing but the reason why there is no more to report.
func Stopped(stack, name string, kind Kind, detail, hint string) Report {
	f := &Failure{Kind: kind, Detail: printable(detail), Advice: hint}
	return newReport(stack, []Result{newResult(name, f, nil, 0)}, 0)
}

// With is the report with a result put before the others.
func (r Report) With(first Result) Report {
	with := newReport(r.Stack, append([]Result{first}, r.Checks...), r.Duration)
	with.Taken, with.unreached = r.Taken, r.unreached
	return with
}

// InsteadOf is the report of a run that stopped before its checks, which
// knows by pending those that it did not get to: their series of success must
// not vanish when they should fall to 0.
func (r Report) InsteadOf(pending Report) Report {
	r.unreached = nil
	for _, c := range pending.Checks {
		if !slices.ContainsFunc(r.Checks, func(own Result) bool { return own.Name == c.Name }) {
			r.unreached = append(r.unreached, c.Name)
		}
	}
	return r
}

// split divides the results into those that are named by only, and by skip are
// not, and the others.
func (r Report) split(only, skip []string) (named, others []Result) {
	for _, c := range r.Checks {
		if len(only) > 0 && !selects(only, c.Name) || selects(skip, c.Name) {
			others = append(others, c)
		} else {
			named = append(named, c)
		}
	}
	return named, others
}

// Select is the report with only those results that are named by only, and by
// skip are not.
func (r Report) Select(only, skip []string) Report {
	kept, _ := r.split(only, skip)
	for _, p := range slices.Compact(slices.Sorted(slices.Values(only))) {
		if !slices.ContainsFunc(r.Checks, func(c Result) bool { return matches(c.Name, p) }) {
			kept = append(kept, newResult(p, failf(KindNotRun, "it is not in the result that was kept"), nil, 0))
		}
	}
	selected := newReport(r.Stack, kept, r.Duration)
	selected.Taken = r.Taken
	return selected
}
