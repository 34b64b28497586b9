package stack

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a wait for a container in a bubble of its own time.
func inBubble(t *testing.T, name string, prepare func(context.Context, *fakeEngine, *fakeContainer) context.Context, check func(t *testing.T, err error, took time.Duration, said []string)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := newFakeEngine()
			c := &fakeContainer{Container: Container{Name: "demo-dovecot", State: "running"}}
			e.containers[c.Name] = c
			ctx := prepare(t.Context(), e, c)
			var said []string
			start := time.Now()
			err := waitReady(ctx, e, c.Name, time.Minute, func(line string) { said = append(said, line) })
			check(t, err, time.Since(start), said)
		})
	})
}

// answers scripts the health checks: each of the lines is a failure, and then
// it succeeds.
func answers(lines ...string) func(string, []string) *ExecResult {
	return func(string, []string) *ExecResult {
		if len(lines) == 0 {
			return nil
		}
		said := lines[0]
		lines = lines[1:]
		return &ExecResult{ExitCode: 1, Stdout: []byte(said + "\n")}
	}
}

func always(said string) func(string, []string) *ExecResult {
	return func(string, []string) *ExecResult { return &ExecResult{ExitCode: 1, Stdout: []byte(said)} }
}

func TestWaitReady(t *testing.T) {
	inBubble(t, "at once", func(ctx context.Context, _ *fakeEngine, _ *fakeContainer) context.Context { return ctx },
		func(t *testing.T, err error, took time.Duration, said []string) {
			if err != nil || took > 0 || len(said) > 0 {
				t.Errorf("%v after %s: %q", err, took, said)
			}
		})
	inBubble(t, "later", func(ctx context.Context, e *fakeEngine, _ *fakeContainer) context.Context {
		e.exec = answers("imap: refused", "imap: refused", "lmtp: no greeting")
		return ctx
	}, func(t *testing.T, err error, took time.Duration, said []string) {
		if err != nil || took > time.Second {
			t.Errorf("%v after %s", err, took)
		}
		if !slices.Equal(said, []string{"imap: refused", "lmtp: no greeting"}) {
			t.Errorf("said %q: every change once", said)
		}
	})
	inBubble(t, "never", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		e.exec = always("imap: no banner\x1b[2J\nin 5 s")
		e.logs[c.Name] = strings.Repeat("old\n", 20) + "master: Warning\nauth: \x1b[31mFatal: no database\n"
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		var late *NotReadyError
		if !errors.As(err, &late) || took != time.Minute {
			t.Fatalf("%v after %s", err, took)
		}
		want := "not ready after 1m0s: imap: no banner [2J | in 5 s; its log ends: " + strings.Repeat("old | ", 6) + "master: Warning | auth:  [31mFatal: no database"
		if err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	})
	inBubble(t, "a check that hangs", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		e.exec = answers("imap: refused")
		checks := 0
		e.hang = func(call string) bool {
			if call == "exec mailstack-health in demo-dovecot" {
				checks++
			}
			return checks == 2
		}
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		if err == nil || took != time.Minute+5*time.Second || !strings.Contains(err.Error(), "not ready after 1m0s: imap: refused; its log cannot be read") {
			t.Errorf("%v after %s", err, took)
		}
	})
	inBubble(t, "keeps restarting", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		c.State, c.ExitCode, c.RestartCount = "restarting", 78, 3
		e.logs[c.Name] = "configuration error\n"
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		if err == nil || took > time.Second || !strings.Contains(err.Error(), "is restarting with status 78; its log ends: configuration error") {
			t.Errorf("%v after %s", err, took)
		}
	})
	inBubble(t, "keeps restarting, seen while it runs", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		e.exec = func(string, []string) *ExecResult {
			c.RestartCount++
			return &ExecResult{ExitCode: 1, Stdout: []byte("imap: refused")}
		}
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		if err == nil || took > 2*time.Second || !strings.Contains(err.Error(), "imap: refused") {
			t.Errorf("%v after %s", err, took)
		}
	})
	inBubble(t, "is restarted by the engine and recovers", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		c.State, c.RestartCount = "restarting", 1
		looks := 0
		e.before = func(call string) error {
			if looks++; looks == 3 {
				c.State = "running"
			}
			return nil
		}
		return ctx
	}, func(t *testing.T, err error, _ time.Duration, said []string) {
		if err != nil || !slices.Equal(said, []string{"is restarting"}) {
			t.Errorf("%v: %q", err, said)
		}
	})
	inBubble(t, "is gone", func(ctx context.Context, e *fakeEngine, c *fakeContainer) context.Context {
		delete(e.containers, c.Name)
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		if err == nil || took > time.Second || !strings.Contains(err.Error(), "not found") {
			t.Errorf("%v after %s", err, took)
		}
	})
	inBubble(t, "the engine hiccups", func(ctx context.Context, e *fakeEngine, _ *fakeContainer) context.Context {
		n := 0
		e.before = func(string) error {
			if n++; n < 4 {
				return errors.New("connection reset")
			}
			return nil
		}
		return ctx
	}, func(t *testing.T, err error, _ time.Duration, _ []string) {
		if err != nil {
			t.Error(err)
		}
	})
	inBubble(t, "interrupted", func(ctx context.Context, e *fakeEngine, _ *fakeContainer) context.Context {
		e.exec = always("imap: refused")
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return ctx
	}, func(t *testing.T, err error, took time.Duration, _ []string) {
		if !errors.Is(err, context.Canceled) || took != time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// A command in a container tells why it failed.
func TestRun(t *testing.T) {
	e := newFakeEngine()
	e.containers["c"] = &fakeContainer{Container: Container{Name: "c", State: "running"}}
	e.exec = func(string, []string) *ExecResult {
		return &ExecResult{ExitCode: 2, Stderr: []byte("first\nsecond\nthird\n"), Stdout: []byte("fourth\n")}
	}
	if err := Run(t.Context(), e, "c", ReloadCmd); err == nil || err.Error() != "/usr/local/bin/mailstack-reload in c: status 2: second | third |  fourth" {
		t.Errorf("error %v", err)
	}
	e.exec = func(string, []string) *ExecResult { return &ExecResult{ExitCode: 2} }
	if err := Run(t.Context(), e, "c", ReloadCmd); err == nil || !strings.HasSuffix(err.Error(), "it said nothing") {
		t.Errorf("error %v", err)
	}
	if err := Run(t.Context(), e, "absent", ReloadCmd); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
