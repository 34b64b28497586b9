package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"mailstack/e2e/lab"
)

// result is everything that a run of this program has measured.
type result struct {
	lab.Header
	Suites []suiteResult `json:"suites"`
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
	return &result{Header: lab.NewHeader(version)}
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
	fmt.Fprintln(&out, r.Header)
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
	return lab.WriteText(w, out.String())
}

// digits writes a number with three digits that count, and all before the point.
func digits(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// writeMarkdown writes a page with a table for each suite.
func (r *result) writeMarkdown(path string) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# What the last run of `make bench` measured\n\n%s. CONTRIBUTING.md says what is compared.\n", r.Header)
	for _, s := range r.Suites {
		fmt.Fprintf(&out, "\n## %s\n\n%s; %d rounds.\n\n| figure | of | median | least | most | ratio |\n|---|---|---:|---:|---:|---:|\n", s.Name, s.About, s.Rounds)
		figure := ""
		for _, m := range s.Series {
			shown := ""
			if m.Figure != figure {
				figure, shown = m.Figure, m.Figure
			}
			of := m.Name
			if m.About != "" {
				of += " (" + m.About + ")"
			}
			fmt.Fprintf(&out, "| %s | %s | %s %s | %s | %s | %.2f |\n", shown, of, digits(m.Median), m.Unit, digits(m.Min), digits(m.Max), m.Ratio)
		}
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
