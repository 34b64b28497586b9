package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"mailstack/e2e/lab"
)

// result is everything that a campaign has found out.
type result struct {
	lab.Header
	Seed     uint64    `json:"seed"`
	Seconds  float64   `json:"seconds"` // the stack's start not counted
	Faults   []row     `json:"faults"`
	Total    row       `json:"total"`
	Findings []finding `json:"findings"` // broken expectations
	Rounds   []round   `json:"rounds"`
}

// row is all runs of a fault or pair in one line; the seconds are the longest.
type row struct {
	Fault  string `json:"fault"`
	Runs   int    `json:"runs"`
	Broken int    `json:"broken"` // kinds of expectations, by round
	audit
	Serves float64 `json:"serves_seconds"`
	Green  float64 `json:"green_seconds"`
	Settle float64 `json:"settled_seconds"`
	Calm   float64 `json:"calm_seconds"`
}

// merge adds other runs.
func (r *row) merge(other row) {
	r.Runs += other.Runs
	r.Broken += other.Broken
	r.Acknowledged += other.Acknowledged
	r.Found += other.Found
	r.Lost += other.Lost
	r.Doubled += other.Doubled
	r.Changes += other.Changes
	r.Undone += other.Undone
	r.Serves = max(r.Serves, other.Serves)
	r.Green = max(r.Green, other.Green)
	r.Settle = max(r.Settle, other.Settle)
	r.Calm = max(r.Calm, other.Calm)
}

// summarise makes the table. A letter that is lost in a later round than its own
// counts there: what was found once is to stay.
func (c *campaign) summarise(took time.Duration) *result {
	version := ""
	if c.Stack != nil { // else it was interrupted before there was one
		version = c.Version
	}
	r := &result{
		Header: lab.NewHeader(version), Seed: c.seed, Seconds: seconds(took), Total: row{Fault: "total"}, Findings: c.findings.all, Rounds: c.rounds,
	}
	index := map[string]int{}
	for _, one := range c.rounds {
		i, known := index[one.Fault]
		if !known {
			i = len(r.Faults)
			index[one.Fault] = i
			r.Faults = append(r.Faults, row{Fault: one.Fault})
		}
		run := row{
			Runs: 1, Broken: len(c.findings.of(one.Number)), audit: one.audit,
			Serves: one.Serves, Green: one.Green, Settle: one.Settle, Calm: one.Calm,
		}
		r.Faults[i].merge(run)
		r.Total.merge(run)
	}
	return r
}

// summed are the rows with all pairs in one: there are many, and each runs once.
func (r *result) summed() []row {
	var rows []row
	var pairs row
	for _, one := range r.Faults {
		if !strings.Contains(one.Fault, pairSign) {
			rows = append(rows, one)
			continue
		}
		pairs.merge(one)
	}
	if pairs.Runs > 0 {
		pairs.Fault = "two at a time"
		rows = append(rows, pairs)
	}
	return rows
}

// writeText writes the table and what was broken.
func (r *result) writeText(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s, seed %d, %.0f s\n\n", r.Header, r.Seed, r.Seconds)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\truns\tacknowledged\tfound\tlost\tdoubled\tchanges\tundone\tserves s\tgreen s\tsettled s\tcalm s\tbroken")
	for _, one := range append(r.summed(), r.Total) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%d\n", one.Fault, one.Runs,
			one.Acknowledged, one.Found, one.Lost, one.Doubled, one.Changes, one.Undone, one.Serves, one.Green, one.Settle, one.Calm, one.Broken)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "\nround %d, %s: %d x %s: %s\n", f.Round, f.Fault, f.Count, f.What, strings.TrimSpace(f.First))
	}
	return lab.WriteText(w, out.String())
}
