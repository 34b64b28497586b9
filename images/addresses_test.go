package images

import (
	"os/exec"
	"testing"
)

// TestAddresses runs what reads addresses in header fields (Addresses.pm):
// testdata/addresses.pl says what it is obliged to.
func TestAddresses(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "perl", "-Ipostfix/rootfs/usr/lib/mailstack", "testdata/addresses.pl")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("perl testdata/addresses.pl: %v\n%s", err, out)
	}
}
