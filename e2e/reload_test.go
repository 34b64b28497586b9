package e2e

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReloadLetsClientsIn: a client that comes at the moment of a reload does not
// keep the others out. Its smtpd tells master that it is taken by a pipe that the
// reload has closed, and stays one that waits for clients in master's eyes.
func TestReloadLetsClientsIn(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	for _, key := range []string{"smtp", "submission"} {
		t.Run(key, func(t *testing.T) {
			// Postfix's own reload, or this could not fail.
			keeper := s.reloadWhileTaken(t, key, "postfix", "reload")
			if line, err := s.greeting(t, key, 3*time.Second); err == nil {
				t.Errorf("after Postfix's own reload there is a greeting: %q", line)
			}
			keeper.conn.Close()
			if _, err := s.greeting(t, key, 30*time.Second); err != nil {
				t.Fatalf("when the client has gone: %v", err)
			}
			keeper = s.reloadWhileTaken(t, key, "mailstack-reload")
			if _, err := s.greeting(t, key, 30*time.Second); err != nil {
				t.Errorf("after a reload of ours: %v", err)
			}
			if line, err := keeper.try(""); err != nil || !strings.HasPrefix(line, "220") {
				t.Errorf("the client that was in the way got %q (%v), want a greeting", line, err)
			}
			if line, err := keeper.try(""); !errors.Is(err, io.EOF) {
				t.Errorf("the client that was in the way is still there: %q (%v)", line, err)
			}
		})
	}
}

// reloadWhileTaken reloads Postfix while its only smtpd for a port cannot run and
// a client comes to that; it is a session of this client that it returns.
func (s *Stack) reloadWhileTaken(t *testing.T, key string, command ...string) *dialogue {
	t.Helper()
	// After a reload without any client the idle ones have gone; the next client
	// starts the only one.
	if out, code := s.exec(t, "postfix", "postfix", "reload"); code != 0 {
		t.Fatal(out)
	}
	waitUntil(t, 30*time.Second, "no smtpd is left", func() (bool, string) {
		left := s.smtpds(t, key)
		return len(left) == 0, fmt.Sprint(left)
	})
	if _, err := s.greeting(t, key, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	idle := s.smtpds(t, key)
	if len(idle) != 1 {
		t.Fatalf("processes for %s: %v, want 1", key, idle)
	}
	if err := syscall.Kill(idle[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(idle[0], syscall.SIGCONT) }()
	client := s.line(t, key)
	// It had not told master yet that its last client has gone if another one
	// takes this one.
	if err := client.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.try(""); err == nil {
		client.conn.Close()
		_ = syscall.Kill(idle[0], syscall.SIGCONT)
		return s.reloadWhileTaken(t, key, command...)
	}
	if err := client.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan string, 1)
	before := s.reloads(t)
	go func() {
		out, code := s.exec(t, "postfix", command...)
		reloaded <- fmt.Sprint(code, " ", out)
	}()
	waitUntil(t, 30*time.Second, "master has reloaded", func() (bool, string) {
		n := s.reloads(t)
		return n > before, fmt.Sprint(n)
	})
	if err := syscall.Kill(idle[0], syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r := <-reloaded; !strings.HasPrefix(r, "0 ") {
		t.Fatalf("%v: %s", command, r)
	}
	return client
}

// reloads is how often Postfix's master has reloaded since it started.
func (s *Stack) reloads(t *testing.T) int {
	t.Helper()
	return strings.Count(docker(t, "logs", s.container("postfix")), ": reload -- version")
}

// smtpds are the host's numbers of the processes that serve a port of Postfix's.
func (s *Stack) smtpds(t *testing.T, key string) (pids []int) {
	t.Helper()
	for _, line := range strings.Split(docker(t, "top", s.container("postfix"), "-eo", "pid,args"), "\n") {
		var pid int
		if strings.Contains(line, "smtpd -n "+key+" ") {
			if _, err := fmt.Sscan(line, &pid); err != nil {
				t.Fatalf("docker top: %q", line)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// greeting is what a new client is greeted with on a port without TLS.
func (s *Stack) greeting(t *testing.T, key string, within time.Duration) (string, error) {
	t.Helper()
	d := s.line(t, key)
	defer d.conn.Close()
	if err := d.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return d.try("")
}
