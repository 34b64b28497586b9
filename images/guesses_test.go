package images

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGuesses runs what decides who may try a password (guesses.lua), without
// Dovecot: testdata/guesses.lua says what it is obliged to.
func TestGuesses(t *testing.T) {
	t.Parallel()
	runLua(t, "testdata/guesses.lua", filepath.Join(t.TempDir(), "guesses"))
}

// TestAttempts does so with what makes places and accounts of what a client says
// (attempts.lua).
func TestAttempts(t *testing.T) {
	t.Parallel()
	runLua(t, "testdata/attempts.lua")
}

// runLua runs a script that exits 0 if all is well, with the directory of Dovecot's
// modules and more arguments.
func runLua(t *testing.T, script string, more ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "lua5.4", append([]string{script, "dovecot/rootfs/usr/lib/mailstack"}, more...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("lua5.4 %s: %v (scripts/prepare test installs lua5.4)\n%s", script, err, out)
	}
}
