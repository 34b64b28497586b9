package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBench: the benchmark runs, in its quick form, and leaves nothing behind.
func TestBench(t *testing.T) {
	if !*long {
		t.Skip("brings up a stack of its own to measure: make test-long")
	}
	shared(t) // makes the images
	file := filepath.Join(t.TempDir(), "bench.json")
	r := runCommand(t.Context(), exec.CommandContext(t.Context(), "go", "run", "mailstack/bench", "-binary", os.Getenv(binaryVar), "-quick", "-json", file), nil)
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
	if len(got.Suites) < 11 {
		t.Errorf("measured: %s", data)
	}
	removed := regexp.MustCompile(`removing stack (\S+)`).FindAllStringSubmatch(r.stderr, -1)
	if len(removed) == 0 {
		t.Errorf("no stack was removed: %s", r.stderr)
	}
	for _, m := range removed {
		if left := docker(t, "ps", "-a", "-q", "--filter", "name=^"+m[1]); left != "" {
			t.Errorf("left of %q: %s", m[1], left)
		}
	}
}
