package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// series is what was measured of one thing, once a round.
type series struct {
	Name   string    `json:"name"`
	About  string    `json:"about"` // what it did, for those who compare
	Unit   string    `json:"unit"`  // "s"
	Values []float64 `json:"values"`
}

// contender is something whose time is taken.
type contender struct {
	name, about string
	run         func(ctx context.Context) error
}

// interleave times every contender once a round, after a round that is not
// counted. Each round begins with another one, as nobody is to be always the
// first after a pause.
func interleave(ctx context.Context, rounds int, all []contender) ([]series, error) {
	results := make([]series, len(all))
	for i, c := range all {
		results[i] = series{Name: c.name, About: c.about, Unit: "s"}
	}
	for round := range rounds + 1 {
		for turn := range all {
			i := (round + turn) % len(all)
			began := time.Now()
			if err := all[i].run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, err)
			}
			if round > 0 {
				results[i].Values = append(results[i].Values, time.Since(began).Seconds())
			}
		}
	}
	return results, nil
}

// median is the middle value, or the mean of the two in the middle; 0 for no
// values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
