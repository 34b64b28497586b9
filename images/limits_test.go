package images

import (
	"os/exec"
	"testing"
)

// TestLimits runs what decides how much an account may send (Limits.pm), without
// Postfix: testdata/limits.pl says what it is obliged to.
func TestLimits(t *testing.T) {
	t.Parallel()
	runPerl(t, "testdata/limits.pl")
}

// TestSTS does so with what makes policies of what domains publish (Sts.pm).
func TestSTS(t *testing.T) {
	t.Parallel()
	runPerl(t, "testdata/sts.pl")
}

// TestDNSAnswers does so with what reads answers of the resolver (Dns.pm).
func TestDNSAnswers(t *testing.T) {
	t.Parallel()
	runPerl(t, "testdata/dns.pl")
}

// runPerl runs a script that exits 0 if all is well, with a directory.
func runPerl(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "perl", "-Ipostfix/rootfs/usr/lib/mailstack", script, t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("perl %s: %v\n%s", script, err, out)
	}
}
