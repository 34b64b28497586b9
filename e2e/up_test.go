package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestUpProvesItself: the first up ends with a green probe, and a second one
// finds nothing to do, touches nothing and takes no time.
func TestUpProvesItself(t *testing.T) {
	s := shared(t)
	if out := sharedUp.stdout + sharedUp.stderr; !strings.Contains(out, "local: proven") {
		t.Errorf("up does not say that it proved itself:\n%s", out)
	}
	before := s.starts(t)
	r := s.up(t, "--no-probe")
	if !strings.Contains(r.stdout+r.stderr, "nothing to do") {
		t.Errorf("the second up does not say that there is nothing to do: %v", r)
	}
	if r.took > time.Second { // half a second by itself; other tests use the processors too
		t.Errorf("the second up took %v", r.took)
	}
	if after := s.starts(t); after != before {
		t.Errorf("the second up touched containers:\nbefore %s\nafter  %s", before, after)
	}
}

// starts is what identifies the stack's containers and their starts.
func (s *Stack) starts(t *testing.T) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}",
		s.container("mysql"), s.container("dovecot"), s.container("postfix"))
}

func TestPlanHasNothing(t *testing.T) {
	t.Parallel()
	s := shared(t)
	if out := s.mustRun(t, "plan"); !strings.Contains(out, "nothing to do") {
		t.Errorf("plan of a stack that is up: %q", out)
	}
	if r := s.run(t, "plan", "--exit-code"); r.code != 0 {
		t.Errorf("plan --exit-code: %v", r)
	}
}

func TestProbeIsGreen(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.mustRun(t, "probe", "--timeout", "60s")
}
