package probe

import (
	"bufio"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// TextOptions say how people want to read a report.
type TextOptions struct {
	Verbose bool // show the steps
	Debug   bool // show the dialogues, where the report has them
	Colour  bool // colour the marks, for a terminal
}

// marks by Status, with the colour that a terminal gives them (ECMA-48).
var marks = [...]struct{ mark, colour string }{
	OK:       {"✓", "32"},
	Warning:  {"!", "33"},
	Critical: {"✗", "31"},
	Unknown:  {"?", "35"},
}

// WriteText writes a report for people: one line a check with its time, under
// those that are not ok the reason and what to do, and a last line that sums
// up. What is to be done about several checks is said at the first of them.
func (r Report) WriteText(w io.Writer, o TextOptions) error {
	b := bufio.NewWriter(w)
	width := 0
	for _, c := range r.Checks {
		width = max(width, utf8.RuneCountInString(c.Name))
	}
	hints := r.hints()
	for i, c := range r.Checks {
		fmt.Fprintf(b, "%s %-*s  %s\n", o.mark(c.Status), width, c.Name, seconds(c.Duration))
		for _, reason := range reasonsOf(c.Failures) {
			fmt.Fprintf(b, "    %s\n", reason)
		}
		if hints[i] != "" {
			fmt.Fprintf(b, "    hint: %s\n", hints[i])
		}
		for _, note := range c.Notes {
			fmt.Fprintf(b, "    %s\n", note)
		}
		if o.Verbose {
			writeSteps(b, c.Steps)
			writeValues(b, c.Values)
		}
		if o.Debug {
			writeDialogue(b, c.Dialogue)
		}
	}
	fmt.Fprintln(b, r.Summary())
	return b.Flush()
}

// hints are those of the checks, each where it comes first and "" after that:
// one cause can make twenty checks fail, and is mended once.
func (r Report) hints() []string { return hintsOf(r.Checks) }

func hintsOf(results []Result) []string {
	all := make([]string, len(results))
	given := make(map[string]bool)
	for i, c := range results {
		if !given[c.Hint] {
			all[i], given[c.Hint] = c.Hint, true
		}
	}
	return all
}

func (o TextOptions) mark(s Status) string {
	m := marks[s]
	if !o.Colour {
		return m.mark
	}
	return "\x1b[" + m.colour + "m" + m.mark + "\x1b[0m"
}

func writeSteps(w io.Writer, steps []Step) {
	names := stepNames(steps)
	width := 0
	for _, name := range names {
		width = max(width, utf8.RuneCountInString(name))
	}
	for i, s := range steps {
		cut := ""
		if !s.Done {
			cut = "  cut off"
		}
		fmt.Fprintf(w, "      %-*s  %s%s\n", width, names[i], seconds(s.Duration), cut)
	}
}

func writeValues(w io.Writer, values []Value) {
	for _, v := range values {
		if v.Text != "" {
			fmt.Fprintf(w, "      %s\n", v.Text)
		}
	}
}

// writeDialogue shows conversations, each line with its time since the check
// began and who said it.
func writeDialogue(w io.Writer, all []Conversation) {
	for _, c := range all {
		fmt.Fprintf(w, "      --- %s\n", c.Address)
		for _, l := range c.Lines {
			fmt.Fprintf(w, "      %s %c %s\n", seconds(l.At), l.From, l.Text)
		}
	}
}

// stepNames are the steps' names, with the address where there are several.
func stepNames(steps []Step) []string {
	addresses := make(map[string]bool)
	for _, s := range steps {
		addresses[s.Address] = true
	}
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.Name
		if len(addresses) > 1 && s.Address != "" {
			names[i] += "@" + s.Address
		}
	}
	return names
}

// seconds is a duration as reports show it.
func seconds(d time.Duration) string { return fmt.Sprintf("%6.3f s", d.Seconds()) }

// Summary is the report in one line.
func (r Report) Summary() string {
	count := make(map[Status]int)
	for _, c := range r.Checks {
		count[c.Status]++
	}
	took := fmt.Sprintf("%.1f s", r.Duration.Seconds())
	if !r.Taken.IsZero() {
		took += ", at " + r.Taken.Local().Format("2006-01-02 15:04")
	}
	switch {
	case len(r.Checks) == 0:
		return "no check was run"
	case r.Status == OK:
		return fmt.Sprintf("all %d checks passed in %s", len(r.Checks), took)
	}
	return fmt.Sprintf("of %d checks %d passed, %d failed, %d warned, %d not known, in %s",
		len(r.Checks), count[OK], count[Critical], count[Warning], count[Unknown], took)
}
