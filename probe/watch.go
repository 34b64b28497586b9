package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// historyLength is how many runs a History keeps.
const historyLength = 60

// History is the outcome of the last runs, for a live screen.
type History struct {
	last  Report
	ended time.Time
	rows  map[string][]moment
}

// moment is a check in one run; a run without it has none.
type moment struct {
	status Status
	took   time.Duration
}

// Add takes the report of a run that ended at a moment.
func (h *History) Add(r Report, ended time.Time) {
	if h.rows == nil {
		h.rows = make(map[string][]moment)
	}
	h.last, h.ended = r, ended
	for _, c := range r.Checks {
		row := append(h.rows[c.Name], moment{c.Status, c.Duration})
		h.rows[c.Name] = row[max(0, len(row)-historyLength):]
	}
}

// Screen is the state as lines that fit into width and height: a heading, the
// checks with their times and how those were lately, and under those that are
// not ok the reason. Where not all of it fits, the checks that are ok go first.
func (h *History) Screen(heading string, o TextOptions, width, height int) []string {
	lines := []string{fit(heading, width), ""}
	if h.ended.IsZero() {
		return append(lines, fit("the first run is under way", width))
	}
	room := height - len(lines) - 2
	checks := slices.Clone(h.last.Checks)
	need := func() (n int) {
		for _, c := range checks {
			n++
			if c.Status != OK {
				n++
			}
		}
		return n
	}
	hidden := 0
	for i := len(checks) - 1; i >= 0 && need() > room; i-- {
		if checks[i].Status == OK {
			checks = slices.Delete(checks, i, i+1)
			hidden++
		}
	}
	names := 0
	for _, c := range checks {
		names = max(names, utf8.RuneCountInString(c.Name))
	}
	names = min(names, max(8, width-timeColumns)) // the time is worth more than a name's end
	for _, c := range checks {
		// The mark is outside of what is cut: colour takes no room.
		rest := fmt.Sprintf(" %-*s %s  %s", names, fit(c.Name, names), seconds(c.Duration), spark(h.rows[c.Name]))
		lines = append(lines, o.mark(c.Status)+fit(rest, width-1))
		if c.Status != OK {
			lines = append(lines, fit("    "+c.Reason, width))
		}
	}
	summary := h.last.Summary()
	if hidden > 0 {
		summary += fmt.Sprintf("; %d that are ok have no room here", hidden)
	}
	lines = append(lines, "", fit(summary, width))
	return lines[:min(len(lines), max(1, height))]
}

// timeColumns is what a line has besides the name: mark, time and two bars.
const timeColumns = 15

// fit cuts a line to so many columns.
func fit(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}

// spark draws times as bars, the longest being the highest, and a cross for a
// run in which the check failed.
func spark(row []moment) string {
	const bars = "▁▂▃▄▅▆▇█"
	longest := time.Duration(1)
	for _, s := range row {
		longest = max(longest, s.took)
	}
	levels := []rune(bars)
	var b strings.Builder
	for _, s := range row {
		switch {
		case s.status == Critical || s.status == Unknown:
			b.WriteRune('×')
		default:
			b.WriteRune(levels[int(s.took*time.Duration(len(levels)-1)/longest)])
		}
	}
	return b.String()
}
