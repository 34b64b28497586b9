package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endedOperation is a line of progress: "✓ 12/27  write  files of postfix".
var endedOperation = regexp.MustCompile(`^✓ +\d+/(\d+)  `)

// killAfter starts `mailstack up` and sends it a signal when so many of its
// operations have ended; rest is how many there were to do. ended says that up
// came to its end before.
func (s *Stack) killAfter(t *testing.T, n int, sig os.Signal) (rest int, ended bool, b *background) {
	t.Helper()
	count := 0
	b = s.start(t, func(line string) {
		match := endedOperation.FindStringSubmatch(line)
		if match == nil {
			return
		}
		rest, _ = strconv.Atoi(match[1])
		if count++; count == n {
			_ = b.cmd.Process.Signal(sig) // may have ended
		}
	}, "up", "--no-probe")
	select {
	case <-b.done:
	case <-time.After(3 * time.Minute):
		t.Fatalf("up does not end: %s", b.stderr)
	}
	return rest, count < n || b.cmd.ProcessState.ExitCode() == 0, b
}

// Invariant 9: up is killed again and again, at its first operation, at its
// second, at its first again, until there is nothing left to do; what comes out
// is a stack like any other.
func TestUpConvergesWhateverKillsIt(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	runs, last := 0, 1000
	for n := 1; ; n = n%3 + 1 {
		rest, ended, b := s.killAfter(t, n, syscall.SIGKILL)
		if ended {
			if b.cmd.ProcessState.ExitCode() != 0 {
				t.Fatalf("up after %d kills: %v\n%s", runs, b.cmd.ProcessState, b.stderr)
			}
			break
		}
		runs++
		if runs > 60 || rest > last+3 {
			t.Fatalf("after %d kills there are still %d operations, before that %d:\n%s", runs, rest, last, b.stderr)
		}
		last = rest
		if r := s.run(t, "plan"); r.code != 0 {
			t.Fatalf("plan after %d kills: %v", runs, r)
		}
	}
	t.Logf("converged after %d kills", runs)
	if runs < 8 {
		t.Errorf("only %d kills", runs)
	}
	s.sameAsAnyOther(t)
}

// sameAsAnyOther: a probe that is green, nothing to do, nothing left over, and
// containers that are what a stack made in one go has.
func (s *Stack) sameAsAnyOther(t *testing.T) {
	t.Helper()
	before := s.starts(t)
	r := s.upGreen(t)
	if !strings.HasPrefix(r.stdout, "nothing to do\n") || s.starts(t) != before {
		t.Errorf("a further up: %v", r)
	}
	var took time.Duration
	for range 3 {
		r = s.up(t, "--no-probe")
		took = r.took
	}
	t.Logf("up with nothing to do takes %v", took.Round(time.Millisecond))
	names := strings.Fields(docker(t, "ps", "-a", "--format", "{{.Names}}", "--filter", "label=mailstack.stack="+s.name))
	if len(names) != len(services) {
		t.Errorf("containers: %v", names)
	}
	if found := program(t.Context(), nil, "find", s.data(), "-name", "*.tmp-*", "-o", "-name", "*.pending*").stdout; found != "" {
		t.Errorf("leftovers:\n%s", found)
	}
	for _, service := range services {
		c := inspect(t, s.container(service))
		s.checkMounts(t, service, c)
		if c.State.Status != "running" {
			t.Errorf("%s is %s", service, c.State.Status)
		}
	}
}

// Ctrl-C: its own exit code, one line, and the next up goes on. Before that,
// who comes second is told who is at it.
func TestInterruptedUpGoesOn(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	for _, n := range []int{2, 9} {
		_, ended, b := s.killAfter(t, n, os.Interrupt)
		if ended {
			t.Fatalf("up was not interrupted: %s", b.stderr)
		}
		if code := b.cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(b.stderr.String(), "interrupted") {
			t.Errorf("interrupted up: status %d\n%s", code, b.stderr)
		}
	}
	var second result
	asked := false
	b := s.start(t, func(line string) {
		if !asked && endedOperation.MatchString(line) {
			asked = true
			second = s.run(t, "up", "--no-probe")
		}
	}, "up", "--no-probe")
	<-b.done
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("up after the interruptions: status %d\n%s", code, b.stderr)
	}
	second.expectRefusal(t, 1, "is held by mailstack up (process "+strconv.Itoa(b.cmd.Process.Pid)+",")
	s.sameAsAnyOther(t)
}
