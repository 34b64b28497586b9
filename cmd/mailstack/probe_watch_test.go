package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mailstack/probe"
)

func TestWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	runs := 0
	w := &watcher{out: &out, name: "home", every: time.Millisecond, size: func() (int, int) { return 80, 24 }}
	last := w.loop(ctx, func(context.Context) (probe.Report, error) {
		switch runs++; runs {
		case 1:
			return probe.Report{}, errors.New("no such stack")
		case 2:
			return probe.Stopped("home", "imap", probe.KindRefused, "", ""), nil
		}
		cancel()
		return probe.Report{}, nil
	})
	if last != probe.Critical {
		t.Errorf("ended with %s", last)
	}
	for _, want := range []string{"home   running", "first run is under way", "? preparation", "no such stack", "✗ imap", "\x1b[H", "\x1b[J"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

func TestWatchNeedsATerminal(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"probe", "--watch"}, nil, &stdout, &stderr); code != 3 || !strings.Contains(stderr.String(), "no terminal") || stdout.Len() > 0 {
		t.Errorf("exit code %d, %q, %q", code, stderr.String(), stdout.String())
	}
}
