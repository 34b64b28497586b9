package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"mailstack/e2e/lab"
)

// work measures a number of things that a target does in run: how many a
// second, and what each took of the processors. The second hardly feels what
// else the machine does.
func (t *target) work(ctx context.Context, figure string, run func() (n int, err error)) ([]reading, error) {
	before, err := cpuTime(ctx, t.containers)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	n, err := run()
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	after, err := cpuTime(ctx, t.containers)
	if err != nil {
		return nil, err
	}
	return []reading{
		{figure, "1/s", float64(n) / took.Seconds()},
		{figure + ", processor time of each", "ms", (after - before).Seconds() * 1000 / float64(n)},
	}, nil
}

// cpuTime is what containers took of the processors until now, in all: from
// their control groups, v1 or v2.
func cpuTime(ctx context.Context, containers []string) (sum time.Duration, err error) {
	for _, name := range containers {
		id, err := lab.Docker(ctx, "inspect", "--format", "{{.Id}}", name)
		if err != nil {
			return 0, err
		}
		took, err := cpuTimeOf(id)
		if err != nil {
			return 0, err
		}
		sum += took
	}
	return sum, nil
}

func cpuTimeOf(id string) (time.Duration, error) {
	data, err := os.ReadFile("/sys/fs/cgroup/cpuacct/docker/" + id + "/cpuacct.usage")
	if err == nil {
		ns, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		return time.Duration(ns), err
	}
	for _, dir := range []string{"system.slice/docker-" + id + ".scope", "docker/" + id} {
		us, err := keyed("/sys/fs/cgroup/"+dir+"/cpu.stat", "usage_usec")
		if !errors.Is(err, fs.ErrNotExist) {
			return time.Duration(us) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("find the processor time of container %s: in none of the usual control groups", id)
}
