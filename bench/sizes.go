package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"mailstack/bench/load"

	"mailstack/e2e/lab"
)

// startSuite is what a program weighs and how soon it answers.
func startSuite(ctx context.Context, s *stack, e effort) ([]series, error) {
	start := func(argv ...string) func(context.Context) ([]reading, error) {
		return func(ctx context.Context) ([]reading, error) {
			times, err := load.Times(ctx, 20, func(ctx context.Context, _ int) error {
				_, err := lab.Output(exec.CommandContext(ctx, argv[0], argv[1:]...))
				return err
			})
			return percentiles("start", times), err
		}
	}
	all, err := interleave(ctx, e.rounds, []contender{
		{"docker --version", "asks no engine", start("docker", "--version")},
		{"mailstack version", "", start(s.Binary, "version")},
	})
	if err != nil {
		return nil, err
	}
	size, err := fileMB(s.Binary)
	return append(all, series{Figure: "size", Name: "mailstack", Unit: "MB", Values: []float64{size}}), err
}

func fileMB(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / 1e6, nil
}

// imagesSuite is the room that the images take unpacked, what they share
// counted once.
func imagesSuite(ctx context.Context, s *stack, _ effort) ([]series, error) {
	each, sum, err := s.images(ctx)
	if err != nil {
		return nil, err
	}
	var all []series
	for i, service := range s.services {
		all = append(all, series{Figure: service, Name: "mailstack", Unit: "MB", Values: []float64{each[i]}})
	}
	return append(all, series{Figure: "together", Name: "mailstack", About: "layers that they share once", Unit: "MB", Values: []float64{sum}}), nil
}

// images are the sizes of the services' images in MB, and of all together.
func (s *stack) images(ctx context.Context) (each []float64, together float64, err error) {
	layers := map[string]float64{}
	for _, container := range s.containers() {
		sizes, err := layersOf(ctx, container)
		if err != nil {
			return nil, 0, err
		}
		sum := 0.0
		for layer, size := range sizes {
			layers[layer] = size
			sum += size
		}
		each = append(each, sum)
	}
	for _, size := range layers {
		together += size
	}
	return each, together, nil
}

// layersOf are the sizes of the layers of a container's image, in MB. The engine
// names no layer of its history; one is the same as another where all below it
// are the same.
func layersOf(ctx context.Context, container string) (map[string]float64, error) {
	image, err := lab.Docker(ctx, "inspect", "--format", "{{.Image}}", container)
	if err != nil {
		return nil, err
	}
	history, err := lab.Docker(ctx, "history", "--no-trunc", "--human=false", "--format", "{{.Size}} {{.CreatedAt}} {{.CreatedBy}}", image)
	if err != nil {
		return nil, err
	}
	return parseHistory(history)
}

// parseHistory reads lines of a size in bytes and whatever else tells layers
// apart, the topmost first.
func parseHistory(history string) (map[string]float64, error) {
	lines := strings.Split(history, "\n")
	sizes := map[string]float64{}
	for i, line := range lines {
		size, _, _ := strings.Cut(line, " ")
		bytes, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the size of a layer: %w", err)
		}
		sizes[strings.Join(lines[i:], "\n")] = float64(bytes) / 1e6
	}
	return sizes, nil
}
