package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestChaosShort: each daemon dies under load, the database hangs, and two of it
// at a time: no message is lost and nothing that must never be said is said.
func TestChaosShort(t *testing.T) {
	if !*long {
		t.Skip("kills what serves for about 90 s: make test-long; more of it: make chaos")
	}
	shared(t) // makes the images
	file := filepath.Join(t.TempDir(), "chaos.json")
	// The other tests want the processors too: TestDatabaseAway has the 5 s.
	r := runCommand(t.Context(), exec.CommandContext(t.Context(), "go", "run", "mailstack/chaos",
		"-binary", os.Getenv(binaryVar), "-short", "-green", "20s", "-json", file), nil)
	t.Log(r)
	if r.code != 0 {
		t.Fatal("something promised was broken")
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
		if f.Acknowledged < 10 || f.Found != f.Acknowledged || f.Lost+f.Undone > 0 {
			t.Errorf("%+v", f)
		}
	}
	want := []string{"kill-mysql", "kill-dovecot", "crash-postfix", "freeze-mysql", "freeze-mysql + kill-dovecot"}
	if !slices.Equal(names, want) {
		t.Errorf("faults %v, want %v", names, want)
	}
}
