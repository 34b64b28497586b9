package main

import (
	"context"
	"errors"
	"slices"
	"time"
)

// filterSuite is what the filter costs: memory of a stack that nobody has used yet,
// room for its images, and how much mail goes through.
func filterSuite(ctx context.Context, s *stack, e effort) (_ []series, err error) {
	plain, err := s.again(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plain.remove()) }()
	filtered, err := s.withFilter(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, filtered.remove()) }()
	off, err := plain.target(ctx)
	if err != nil {
		return nil, err
	}
	on, err := filtered.target(ctx)
	if err != nil {
		return nil, err
	}
	off.name, on.name = "filter off", "filter on"
	memory, err := filterMemory(ctx, e, off, on)
	if err != nil {
		return nil, err
	}
	images, err := filterImages(ctx, plain, filtered)
	if err != nil {
		return nil, err
	}
	mail, err := deliveries(ctx, e, off, on)
	return slices.Concat(memory, images, mail), err
}

// filterMemory is what all containers take together, and how much more it is with the
// filter's, round by round: what a process shares with others counts in parts.
func filterMemory(ctx context.Context, e effort, off, on *target) ([]series, error) {
	all := against(nil, off, on)
	turns := make([][][]reading, len(all))
	for range e.rounds {
		if err := pause(ctx, e.span(time.Minute, 5*time.Second)); err != nil {
			return nil, err
		}
		for i, t := range []*target{off, on} {
			readings, err := memoryOf(ctx, "idle", t.containers)
			if err != nil {
				return nil, err
			}
			turns[i] = append(turns[i], readings[:1]) // PSS
		}
	}
	list := collect(all, turns)
	return append(list, more("idle, PSS, more with the filter", list[0], list[1])), nil
}

// filterImages is the room that the images take that only the filter needs.
func filterImages(ctx context.Context, plain, filtered *stack) ([]series, error) {
	var sums [2]float64
	for i, s := range []*stack{plain, filtered} {
		_, sum, err := s.images(ctx)
		if err != nil {
			return nil, err
		}
		sums[i] = sum
	}
	return []series{{Figure: "images, more with the filter", Name: "filter on", About: "layers that they share with others left out", Unit: "MB", Values: []float64{sums[1] - sums[0]}}}, nil
}

// more is how much more the second of two series is, round by round.
func more(figure string, one, two series) series {
	s := series{Figure: figure, Name: two.Name, Unit: two.Unit}
	for i, v := range two.Values {
		s.Values = append(s.Values, v-one.Values[i])
	}
	return s
}
