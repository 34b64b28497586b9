package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWatchedChange: a change is taken once, and not while it is being made.
func TestWatchedChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cert.pem")
	content := ""
	put := func() {
		t.Helper()
		content += "x"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(file)
	for step, want := range []struct{ write, changed bool }{
		{false, false}, {true, false}, {true, false}, {false, true}, {false, false}, {true, false}, {false, true},
	} {
		if want.write {
			put()
		}
		if got := w.changed(); got != want.changed {
			t.Errorf("step %d: changed %v, want %v", step, got, want.changed)
		}
	}
}

// TestWatchReadsSettingsAgain: certificates are kept by the settings as they are,
// not as they were when watching began; broken ones count for nothing.
func TestWatchReadsSettingsAgain(t *testing.T) {
	dir := t.TempDir()
	path, cert := filepath.Join(dir, "stack.toml"), filepath.Join(dir, "cert.pem")
	put := func(tls string) {
		t.Helper()
		text := "name = \"paper\"\nhostname = \"mail.example.org\"\npostmaster = \"me@example.org\"\n[data]\ndir = \"" + dir + "\"\n[tls]\n" + tls
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	a := &app{Stdout: &out, Stderr: &out, configPath: path}
	put(`mode = "files"` + "\ncert_file = \"" + cert + "\"\n")
	cfg, err := a.config()
	if err != nil {
		t.Fatal(err)
	}
	files := a.watchFiles(cfg)
	if !slices.Equal(files.files, []string{cert}) {
		t.Errorf("watched are %q", files.files)
	}

	put(`mode = "fil`)
	if files = a.rereadWatched(files); !slices.Equal(files.files, []string{cert}) || a.cfg != cfg || !strings.Contains(out.String(), "what it said before holds") {
		t.Errorf("half-written settings are taken: %q, %s", files.files, out.String())
	}
	put(`mode = "self-signed"` + "\n")
	if files = a.rereadWatched(files); len(files.files) > 0 || a.cfg.TLS.Mode != "self-signed" {
		t.Errorf("mode %q, watched are %q", a.cfg.TLS.Mode, files.files)
	}
}
