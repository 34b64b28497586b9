package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shortForm is how long the short form may take, with the stacks' starts.
const shortForm = 10 * time.Minute

// TestChaosShort: each daemon dies under load, the database hangs, a disk is full,
// an up is killed, the power fails, the engine dies: no message is lost and
// nothing that must never be said is said. It is not parallel to other tests: it
// is about seconds too.
func TestChaosShort(t *testing.T) {
	shared(t) // makes the images
	file, logs := filepath.Join(t.TempDir(), "chaos.json"), t.TempDir()
	began := time.Now()
	r := runCommand(t.Context(), exec.CommandContext(t.Context(), "go", "run", "mailstack/chaos",
		"-binary", os.Getenv(binaryVar), "-short", "-json", file, "-logs", logs, "-green", "10s"), nil) // times are for make chaos to judge
	t.Log(r)
	if r.code != 0 {
		t.Log(errorsIn(t, logs))
		t.Fatal("something promised was broken")
	}
	if took := time.Since(began); took > shortForm {
		t.Errorf("it takes %v, at most %v", took.Round(time.Second), shortForm)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := decode[struct {
		Faults []struct {
			Fault                                      string
			Acknowledged, Found, Lost, Changes, Undone int
		}
	}](t, string(data))
	var names []string
	for _, f := range got.Faults {
		names = append(names, f.Fault)
		// What IMAP clients did in the last seconds a power cut may undo.
		if f.Acknowledged < 10 || f.Found != f.Acknowledged || f.Lost > 0 || f.Undone > 0 && f.Fault != "power-cut" {
			t.Errorf("%+v", f)
		}
	}
	want := []string{
		"power-cut", "engine-kill",
		"kill-mysql", "stop-dovecot", "crash-postfix", "kill-filter", "crash-valkey", "full-vmail", "up-killed", "hang-mysql + kill-dovecot",
	}
	if !slices.Equal(names, want) {
		t.Errorf("faults %v, want %v", names, want)
	}
}

// errorsIn are the lines of the logs in a directory that tell of an error, the last
// 200 of each file.
func errorsIn(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var found strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(strings.Split(string(data), "\n"), func(line string) bool {
			return !strings.Contains(line, "rror:") && !strings.Contains(line, "arning:") && !strings.Contains(line, "mailstack-")
		})
		fmt.Fprintf(&found, "%s:\n%s\n", filepath.Base(file), strings.Join(lines[max(0, len(lines)-200):], "\n"))
	}
	return found.String()
}
