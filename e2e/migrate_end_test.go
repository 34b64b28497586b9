package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"mailstack/e2e/oldhost"
)

// TestMigrateLimited: a copy with --bwlimit takes at least as long as what it copies does
// at that rate, for all connections together. And the last copy ends with the probe: one
// that is red is said in a line, and is no success, although all accounts are open.
func TestMigrateLimited(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: moveSpool()}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes")
	const limit = 2 << 20
	var report struct {
		Copied struct{ Messages, Bytes int64 }
		Phases []struct {
			Phase   string
			Seconds float64
		}
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, append(args, "--bwlimit", "2MiB", "--format", "json")...)), &report); err != nil {
		t.Fatal(err)
	}
	took := 0.0
	for _, p := range report.Phases {
		if p.Phase == "copy" {
			took = p.Seconds
		}
	}
	// rsync lets a tenth of a second's worth pass before it begins to wait.
	if least := float64(report.Copied.Bytes) / limit * 0.9; report.Copied.Bytes < 8*limit || took < least {
		t.Errorf("%d octets took %.1f s, want at least %.1f s", report.Copied.Bytes, took, least)
	}

	s.set(t, "probe.critical", `["disk=100:"]`)
	r := s.run(t, append(args, "--final", "--freeze-command", old.Freeze)...)
	const red = "the accounts are moved and open, but the probe is red, see above"
	if r.code != 1 || !strings.Contains(r.stderr, "\nmailstack: "+red+"\n") || !strings.Contains(r.stderr, "✗ disk") {
		t.Errorf("with a probe that is red: %v", r)
	}
	bob := old.Account("bob@example.org")
	s.imap(t, bob.Address, bob.Password)
}
