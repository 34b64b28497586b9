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
	rows := chaos(t, shortForm, "-short", "-green", "10s") // times are for make chaos to judge
	var names []string
	for _, f := range rows {
		names = append(names, f.Fault)
	}
	want := []string{
		"power-cut", "engine-kill",
		"kill-mysql", "stop-dovecot", "crash-postfix", "kill-filter", "crash-valkey", "full-vmail", "up-killed", "hang-mysql + kill-dovecot",
	}
	if !slices.Equal(names, want) {
		t.Errorf("faults %v, want %v", names, want)
	}
}

// everyOrderForm is how long all orders may take.
const everyOrderForm = 40 * time.Minute

// TestEveryOrder: whatever the order in which the services are started, and then
// restarted one by one, all works again by itself, no message is lost, and nothing
// that must never be said is said.
func TestEveryOrder(t *testing.T) {
	if !*long {
		t.Skip("takes 20 minutes: make test-long")
	}
	rows := chaos(t, everyOrderForm, "-orders", "-duration", everyOrderForm.String(), "-green", "10s")
	// A round has the orders of a circle, begun at each of the services.
	want := 1
	for i := range services[1:] {
		want *= i + 1
	}
	if len(rows) != want {
		t.Errorf("%d rounds of %d orders, want %d", len(rows), len(services), want)
	}
}

// faultRow is what a campaign counted of one fault.
type faultRow struct {
	Fault                                      string
	Acknowledged, Found, Lost, Changes, Undone int
}

// chaos runs a campaign, which has to break no promise and to take no longer than
// within with the stack's start.
func chaos(t *testing.T, within time.Duration, args ...string) []faultRow {
	t.Helper()
	shared(t) // makes the images
	file, logs := filepath.Join(t.TempDir(), "chaos.json"), t.TempDir()
	args = append([]string{"run", "mailstack/chaos", "-binary", os.Getenv(binaryVar), "-json", file, "-logs", logs}, args...)
	began := time.Now()
	r := runCommand(t.Context(), exec.CommandContext(t.Context(), "go", args...), nil)
	t.Log(r)
	if r.code != 0 {
		t.Log(errorsIn(t, logs))
		t.Fatal("something promised was broken")
	}
	if took := time.Since(began); took > within {
		t.Errorf("it takes %v, at most %v", took.Round(time.Second), within)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := decode[struct{ Faults []faultRow }](t, string(data))
	for _, f := range got.Faults {
		// What IMAP clients did in the last seconds a power cut may undo.
		if f.Acknowledged < 10 || f.Found != f.Acknowledged || f.Lost > 0 || f.Undone > 0 && f.Fault != "power-cut" {
			t.Errorf("%+v", f)
		}
	}
	return got.Faults
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
