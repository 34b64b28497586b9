package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBench: the benchmark runs, with one round, and leaves nothing behind.
func TestBench(t *testing.T) {
	if !*long {
		t.Skip("brings up a stack of its own to measure: make test-long")
	}
	shared(t) // makes the images
	file := filepath.Join(t.TempDir(), "bench.json")
	r := runCommand(t.Context(), exec.CommandContext(t.Context(), "go", "run", "mailstack/bench", "-binary", os.Getenv(binaryVar), "-rounds", "1", "-json", file), nil)
	if r.code != 0 {
		t.Fatal(r)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := decode[struct {
		Suites []struct {
			Name   string
			Series []struct {
				Name          string
				Median, Ratio float64
			}
		}
	}](t, string(data))
	for _, suite := range got.Suites {
		for _, s := range suite.Series {
			if s.Median <= 0 || s.Ratio <= 0 || !strings.Contains(r.stdout, s.Name) {
				t.Errorf("%s: %+v, and in the table:\n%s", suite.Name, s, r.stdout)
			}
		}
	}
	if len(got.Suites) == 0 || len(got.Suites[0].Series) < 4 {
		t.Errorf("measured: %s", data)
	}
	_, name, _ := strings.Cut(r.stderr, "removing stack ")
	name = strings.TrimSpace(name)
	if left := docker(t, "ps", "-a", "-q", "--filter", "name=^"+name); name == "" || left != "" {
		t.Errorf("left of %q: %s", name, left)
	}
}
