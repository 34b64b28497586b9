package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// series is what was measured of one thing, once a round.
type series struct {
	Figure string    `json:"figure,omitempty"` // what is compared: "IMAP SELECT, p99"
	Name   string    `json:"name"`             // whose it is
	About  string    `json:"about"`            // what it did, for those who compare
	Unit   string    `json:"unit"`             // "s", "ms": less is better; "1/s": more
	Values []float64 `json:"values"`
}

// reading is one value of one turn.
type reading struct {
	figure, unit string
	value        float64
}

// contender is something that is measured.
type contender struct {
	name, about string
	run         func(ctx context.Context) ([]reading, error)
}

// timed makes the time that something takes its only reading.
func timed(run func(ctx context.Context) error) func(ctx context.Context) ([]reading, error) {
	return func(ctx context.Context) ([]reading, error) {
		began := time.Now()
		err := run(ctx)
		return []reading{{unit: "s", value: time.Since(began).Seconds()}}, err
	}
}

// interleave measures every contender once a round, after a round that is not
// counted. Each round begins with another one, as nobody is to be always the
// first after a pause. The series of a figure are in the contenders' order.
func interleave(ctx context.Context, rounds int, all []contender) ([]series, error) {
	turns := make([][][]reading, len(all)) // by contender and round
	for round := range rounds + 1 {
		for turn := range all {
			i := (round + turn) % len(all)
			readings, err := all[i].run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, err)
			}
			if round > 0 {
				turns[i] = append(turns[i], readings)
			}
		}
	}
	return collect(all, turns), nil
}

// collect makes series of what was read, figure by figure.
func collect(all []contender, turns [][][]reading) []series {
	var figures []string
	byKey := map[[2]string]*series{}
	for i, c := range all {
		for _, r := range slices.Concat(turns[i]...) {
			if !slices.Contains(figures, r.figure) {
				figures = append(figures, r.figure)
			}
			key := [2]string{r.figure, c.name}
			if byKey[key] == nil {
				byKey[key] = &series{Figure: r.figure, Name: c.name, About: c.about, Unit: r.unit}
			}
			byKey[key].Values = append(byKey[key].Values, r.value)
		}
	}
	var list []series
	for _, figure := range figures {
		for _, c := range all {
			if s := byKey[[2]string{figure, c.name}]; s != nil {
				list = append(list, *s)
			}
		}
	}
	return list
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

// ratio is the median of the rounds' ratios: what else the machine did in a
// round fell on both. Where the rounds do not match it is that of the medians.
func ratio(values, reference []float64) float64 {
	if len(values) != len(reference) {
		return median(values) / median(reference)
	}
	ratios := make([]float64, len(values))
	for i, v := range values {
		ratios[i] = v / reference[i]
	}
	return median(ratios)
}
