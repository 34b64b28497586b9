package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is everything that a run of this program has measured.
type result struct {
	Schema  int           `json:"schema"`
	Version string        `json:"version"` // of mailstack
	Taken   time.Time     `json:"taken"`
	CPUs    int           `json:"cpus"`
	Suites  []suiteResult `json:"suites"`
}

type suiteResult struct {
	Name   string    `json:"name"`
	About  string    `json:"about"`
	Rounds int       `json:"rounds"`
	Series []summary `json:"series"`
}

// summary is a series in few numbers.
type summary struct {
	series
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Ratio  float64 `json:"ratio"` // to the first series of the same figure
}

func newResult(version string) *result {
	return &result{Schema: 1, Version: version, Taken: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU()}
}

func (r *result) add(s suite, rounds int, all []series) {
	part := suiteResult{Name: s.name, About: s.about, Rounds: rounds}
	for _, one := range all {
		first := all[slices.IndexFunc(all, func(s series) bool { return s.Figure == one.Figure })]
		part.Series = append(part.Series, summary{
			series: one, Median: median(one.Values), Min: slices.Min(one.Values), Max: slices.Max(one.Values),
			Ratio: ratio(one.Values, first.Values),
		})
	}
	r.Suites = append(r.Suites, part)
}

// writeText writes a table for each suite.
func (r *result) writeText(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "mailstack %s, %d processors, %s\n", r.Version, r.CPUs, r.Taken.Format(time.RFC3339))
	for _, s := range r.Suites {
		fmt.Fprintf(&out, "\n%s: %s; %d rounds\n", s.Name, s.About, s.Rounds)
		table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "\tmedian\tmin\tmax\tratio\t")
		figure := ""
		for _, m := range s.Series {
			if m.Figure != figure {
				figure = m.Figure
				fmt.Fprintf(table, "%s\t\t\t\t\t\n", figure)
			}
			if m.Figure != "" {
				m.Name = "  " + m.Name
			}
			fmt.Fprintf(table, "%s\t%.3f %s\t%.3f\t%.3f\t%.2f\t%s\n", m.Name, m.Median, m.Unit, m.Min, m.Max, m.Ratio, m.About)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for line := range strings.Lines(out.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes the result as JSON.
func (r *result) writeFile(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
