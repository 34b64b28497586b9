package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// result is everything that a campaign has found out.
type result struct {
	Schema   int       `json:"schema"`
	Version  string    `json:"version"` // of mailstack
	Taken    time.Time `json:"taken"`
	CPUs     int       `json:"cpus"`
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
}

func (r *row) add(one round, broken int) {
	r.Runs++
	r.Broken += broken
	r.Acknowledged += one.Acknowledged
	r.Found += one.Found
	r.Lost += one.Lost
	r.Doubled += one.Doubled
	r.Changes += one.Changes
	r.Undone += one.Undone
	r.Serves = max(r.Serves, one.Serves)
	r.Green = max(r.Green, one.Green)
	r.Settle = max(r.Settle, one.Settle)
}

// summarise makes the table. A letter that is lost in a later round than its own
// counts there: what was found once is to stay.
func (c *campaign) summarise(took time.Duration) *result {
	r := &result{
		Schema: 1, Taken: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(),
		Seed: c.seed, Seconds: seconds(took), Total: row{Fault: "total"}, Findings: c.findings.all, Rounds: c.rounds,
	}
	if c.Stack != nil { // it was interrupted before there was one
		r.Version = c.Version
	}
	index := map[string]int{}
	for _, one := range c.rounds {
		i, known := index[one.Fault]
		if !known {
			i = len(r.Faults)
			index[one.Fault] = i
			r.Faults = append(r.Faults, row{Fault: one.Fault})
		}
		broken := len(c.findings.of(one.Number))
		r.Faults[i].add(one, broken)
		r.Total.add(one, broken)
	}
	return r
}

// writeText writes the table and what was broken.
func (r *result) writeText(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "mailstack %s, %d processors, %s, seed %d, %.0f s\n\n", r.Version, r.CPUs, r.Taken.Format(time.RFC3339), r.Seed, r.Seconds)
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "fault\truns\tacknowledged\tfound\tlost\tdoubled\tchanges\tundone\tserves s\tgreen s\tsettled s\tbroken")
	for _, one := range append(r.Faults, r.Total) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%d\n", one.Fault, one.Runs,
			one.Acknowledged, one.Found, one.Lost, one.Doubled, one.Changes, one.Undone, one.Serves, one.Green, one.Settle, one.Broken)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "\nround %d, %s: %d x %s: %s\n", f.Round, f.Fault, f.Count, f.What, strings.TrimSpace(f.First))
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
