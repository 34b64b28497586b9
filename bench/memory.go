package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mailstack/e2e/lab"
)

// memorySuite is what the containers take of a small machine's memory: a while
// after a start, when nobody has come yet, and right after a thousand users have.
// PSS shares a page among those who have it; anon is what the kernel cannot get
// back.
func memorySuite(ctx context.Context, s *stack, e effort) (_ []series, err error) {
	fresh, err := s.again(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fresh.remove()) }()
	bare, ours, err := fresh.both(ctx)
	if err != nil {
		return nil, err
	}
	targets := []*target{bare, ours}
	all := against(nil, targets...)
	turns := make([][][]reading, len(all))
	read := func(i int, state string) error {
		readings, err := memoryOf(ctx, state, targets[i].containers)
		turns[i] = append(turns[i], readings)
		return err
	}
	for range e.rounds {
		for _, t := range targets {
			if _, err := lab.Docker(ctx, append([]string{"restart"}, t.containers...)...); err != nil {
				return nil, err
			}
			if err := t.await(ctx); err != nil {
				return nil, err
			}
		}
		if err := pause(ctx, e.span(time.Minute, 5*time.Second)); err != nil {
			return nil, err
		}
		for i := range targets {
			if err := read(i, "idle"); err != nil {
				return nil, err
			}
		}
		for i, t := range targets {
			if err := t.everybody(ctx, "imaps", e.pick(1000, 50)); err != nil {
				return nil, err
			}
			if err := read(i, "after many logins"); err != nil {
				return nil, err
			}
		}
	}
	return collect(all, turns), nil
}

// pause lets idle processes go: that is what "idle" means.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// memoryOf sums up containers.
func memoryOf(ctx context.Context, state string, containers []string) ([]reading, error) {
	var pss, anon, processes float64
	for _, name := range containers {
		id, err := lab.Docker(ctx, "inspect", "--format", "{{.Id}}", name)
		if err != nil {
			return nil, err
		}
		pids, err := processesOf(id)
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			kB, err := keyed("/proc/"+pid+"/smaps_rollup", "Pss:")
			if err != nil && !gone(err) {
				return nil, err
			}
			pss += kB / 1000 * 1.024
		}
		bytes, err := anonOf(id)
		if err != nil {
			return nil, err
		}
		anon += bytes / 1e6
		processes += float64(len(pids))
	}
	return []reading{{state + ", PSS", "MB", pss}, {state + ", anon", "MB", anon}, {state + ", processes", "", processes}}, nil
}

// gone: the process ended while its file was read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "no such process")
}

// processesOf are the processes of a container, by their control group.
func processesOf(id string) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), id) {
			pids = append(pids, filepath.Base(filepath.Dir(file)))
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Errorf("find the processes of container %s: none", id)
	}
	return pids, nil
}

// anonOf is a container's anonymous memory in bytes: "total_rss" of control
// groups v1, "anon" of v2, whose paths depend on the engine's driver.
func anonOf(id string) (float64, error) {
	for _, place := range []struct{ pattern, key string }{
		{"/sys/fs/cgroup/memory/docker/" + id + "/memory.stat", "total_rss"},
		{"/sys/fs/cgroup/system.slice/docker-" + id + ".scope/memory.stat", "anon"},
		{"/sys/fs/cgroup/docker/" + id + "/memory.stat", "anon"},
	} {
		bytes, err := keyed(place.pattern, place.key)
		if !errors.Is(err, fs.ErrNotExist) {
			return bytes, err
		}
	}
	return 0, fmt.Errorf("find memory.stat of container %s: in none of the usual places", id)
}

// keyed reads the number behind a key, which begins a line.
func keyed(file, key string) (float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == key {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("read %s: no %s", file, key))
}
