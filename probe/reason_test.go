package probe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReasonsAreSaidOnce(t *testing.T) {
	t.Parallel()
	const a, b = "127.0.0.1:993", "[::1]:993"
	failure := func(addr, step, detail string) *Failure {
		return &Failure{Kind: KindBackend, Addr: addr, Step: step, Detail: detail}
	}
	for name, c := range map[string]struct {
		failures []*Failure
		want     []string
	}{
		"addresses": {
			[]*Failure{failure(a, "login", "no"), failure(b, "login", "no"), failure(b, "login", "no")},
			[]string{"127.0.0.1:993 and [::1]:993: login: backend down: no"},
		},
		"steps": {
			[]*Failure{failure(a, "relay", "no"), failure(a, "sender", "no"), failure(a, "sender", "never")},
			[]string{"127.0.0.1:993: relay, sender: backend down: no", "127.0.0.1:993: sender: backend down: never"},
		},
		"both": {
			[]*Failure{failure(a, "login", "no"), failure(b, "relay", "no")},
			[]string{"127.0.0.1:993: login: backend down: no", "[::1]:993: relay: backend down: no"},
		},
		"times": {
			[]*Failure{failure(a, "login", "away [mail.test:2026-11-22 21:01:23]"), failure(b, "login", "away [mail.test:2026-11-22 21:01:24]")},
			[]string{"127.0.0.1:993 and [::1]:993: login: backend down: away [mail.test:2026-11-22 21:01:23]"},
		},
		"nowhere": {
			[]*Failure{failure("", lookStep, "a"), failure("", lookStep, "b"), {kept: "as it was"}},
			[]string{"backend down: a", "backend down: b", "as it was"},
		},
	} {
		if diff := cmp.Diff(c.want, reasonsOf(c.failures)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
