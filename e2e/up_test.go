package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestUpProvesItself: the first up ends with a green probe, and a second one
// finds nothing to do and touches nothing.
func TestUpProvesItself(t *testing.T) {
	s := shared(t)
	if out := sharedUp.stdout + sharedUp.stderr; !strings.Contains(out, "local: proven") {
		t.Errorf("up does not say that it proved itself:\n%s", out)
	}
	t.Logf("the first up took %v", sharedUp.took.Round(100*time.Millisecond))
	// The postmaster's mailbox is made with it, and its password shown once.
	shown := regexp.MustCompile(`password: (\S+)`).FindStringSubmatch(sharedUp.stdout)
	if shown == nil {
		t.Fatalf("up shows no password:\n%s", sharedUp.stdout)
	}
	s.expectLogins(t, s.postmaster(), shown[1], true)
	before := s.starts(t)
	r := s.up(t, "--no-probe")
	if !strings.Contains(r.stdout+r.stderr, "nothing to do") {
		t.Errorf("the second up does not say that there is nothing to do: %v", r)
	}
	if strings.Contains(r.stdout+r.stderr, shown[1]) {
		t.Errorf("the second up shows the password again: %v", r)
	}
	t.Logf("the second up took %v", r.took.Round(time.Millisecond))
	if after := s.starts(t); after != before {
		t.Errorf("the second up touched containers:\nbefore %s\nafter  %s", before, after)
	}
}

// starts is what identifies the stack's containers and their starts.
func (s *Stack) starts(t *testing.T) string {
	t.Helper()
	return docker(t, append([]string{"inspect", "--format", "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}"}, s.containers(t)...)...)
}

// TestPlanHasNothing: what up has just brought up needs nothing. It runs before
// the parallel tests, since each domain that one of these adds has keys to make.
func TestPlanHasNothing(t *testing.T) {
	s := shared(t)
	s.up(t, "--no-probe")
	if out := s.mustRun(t, "plan"); !strings.Contains(out, "nothing to do") {
		t.Errorf("the plan of a stack that is up:\n%s", out)
	}
	if r := s.run(t, "plan", "--exit-code"); r.code != 0 {
		t.Errorf("plan --exit-code of a stack that is up: %v", r)
	}
}

func TestProbeIsGreen(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.mustRun(t, "probe", "--timeout", "60s")
}

// TestListensOnIPv6: every listener answers on ::1 as on 127.0.0.1.
func TestListensOnIPv6(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, key := range listeners {
		address := net.JoinHostPort("::1", fmt.Sprint(s.port(key)))
		conn, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{"imaps", "pop3s", "submissions"}, key) {
			client := tls.Client(conn, s.tls(t))
			err = client.HandshakeContext(t.Context())
		} else {
			_, err = conn.Read(make([]byte, 1))
		}
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		conn.Close()
	}
}
