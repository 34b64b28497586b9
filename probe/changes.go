package probe

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// Change is a check whose state is another than before.
type Change struct {
	Was string // a status, or "new"
	Now Result // the check as it is; Status Unknown and no time where it is gone
}

// Changes are the checks whose states differ between two reports. That a check
// fails for another reason than before is no change.
func Changes(before, now Report) []Change {
	was := make(map[string]Status)
	for _, c := range before.Checks {
		was[c.Name] = c.Status
	}
	var all []Change
	for _, c := range now.Checks {
		status, known := was[c.Name]
		switch {
		case !known:
			all = append(all, Change{"new", c})
		case status != c.Status:
			all = append(all, Change{status.String(), c})
		}
		delete(was, c.Name)
	}
	for _, c := range before.Checks {
		if status, gone := was[c.Name]; gone {
			all = append(all, Change{status.String(), Result{Name: c.Name, Status: Unknown, Reason: "no longer checked"}})
		}
	}
	return all
}

// Over is what is known after a run of some checks, which only and skip have
// selected, and the changes: what was not looked at is as before.
func (r Report) Over(before Report, only, skip []string) (Report, []Change) {
	looked, others := before.split(only, skip)
	others = slices.DeleteFunc(others, func(c Result) bool { // cert.993 selects by another name
		i := slices.IndexFunc(r.Checks, func(now Result) bool { return now.Name == c.Name })
		if i >= 0 {
			looked = append(looked, c)
		}
		return i >= 0
	})
	known := newReport(r.Stack, append(slices.Clone(r.Checks), others...), r.Duration)
	return known, Changes(Report{Checks: looked}, r)
}

// WriteChanges writes changes for people, and nothing where there is none.
func WriteChanges(w io.Writer, changes []Change, o TextOptions) error {
	b := bufio.NewWriter(w)
	width := 0
	results := make([]Result, len(changes))
	for i, c := range changes {
		width = max(width, utf8.RuneCountInString(c.Now.Name))
		results[i] = c.Now
	}
	hints := hintsOf(results)
	for i, c := range changes {
		fmt.Fprintf(b, "%s %-*s  %s, was %s\n", o.mark(c.Now.Status), width, c.Now.Name, c.Now.Status, c.Was)
		if c.Now.Reason != "" {
			fmt.Fprintf(b, "    %s\n", c.Now.Reason)
		}
		if hints[i] != "" {
			fmt.Fprintf(b, "    hint: %s\n", hints[i])
		}
	}
	return b.Flush()
}
