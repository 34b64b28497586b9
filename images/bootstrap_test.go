package images

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeTools puts shell scripts in place of everything on the PATH but what
// they use themselves.
func fakeTools(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tar", "mkdir", "cat", "sleep"} {
		for _, from := range []string{"/usr/bin", "/bin"} {
			if _, err := os.Stat(filepath.Join(from, name)); err == nil {
				if err := os.Symlink(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
	for name, body := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func debianHost(t *testing.T) string {
	return hostRoot(t, map[string]string{
		keyring:                                 "keys",
		"etc/apt/sources.list.d/debian.sources": debian12,
	})
}

const aptConfig = `echo 'Acquire::http::Proxy "http://proxy.example.org:3128";'`

func TestBootstrapWithMmdebstrap(t *testing.T) {
	fakeTools(t, map[string]string{
		"apt-config":  aptConfig,
		"mmdebstrap":  `for a; do echo "arg $a" >&2; done; echo archive`,
		"debootstrap": "exit 1",
	})
	root := debianHost(t)
	var lines []string
	r, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: root, TempDir: t.TempDir()},
		func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil || string(data) != "archive\n" {
		t.Errorf("read %q, %v", data, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"arg --keyring=" + filepath.Join(root, keyring),
		"arg --dpkgopt=path-exclude=/usr/share/man/*",
		`arg --aptopt=Acquire::http::Proxy "http://proxy.example.org:3128";`,
		"arg trixie",
		"arg deb http://deb.example.org/debian trixie main",
		"arg deb http://deb.example.org/debian-security trixie-security main",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q in %q", want, lines)
		}
	}
	if slices.Contains(lines, "arg --include=ca-certificates") {
		t.Error("ca-certificates, though no mirror is https")
	}
}

func TestBootstrapWithDebootstrap(t *testing.T) {
	fakeTools(t, map[string]string{
		"apt-config": aptConfig,
		"debootstrap": `for a; do case $a in /*/mailstack-base-*) dir=$a;; esac; done
mkdir -p "$dir/etc/apt/apt.conf.d" "$dir/etc/dpkg/dpkg.cfg.d" "$dir/usr/share/doc/x" "$dir/var/log"
echo keep >"$dir/usr/share/doc/x/copyright"; echo drop >"$dir/usr/share/doc/x/README"; echo drop >"$dir/var/log/dpkg.log"
echo "I: done"`,
	})
	temp := t.TempDir()
	r, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: debianHost(t), TempDir: temp}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		"./usr/share/doc/x/copyright", "./var/log/",
		"deb http://deb.example.org/debian-security trixie-security main",
		`Acquire::http::Proxy "http://proxy.example.org:3128";`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the archive lacks %q", want)
		}
	}
	for _, unwanted := range []string{"README", "dpkg.log"} {
		if strings.Contains(string(data), unwanted) {
			t.Errorf("the archive holds %s", unwanted)
		}
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBootstrapFailureEndsReading(t *testing.T) {
	fakeTools(t, map[string]string{"mmdebstrap": "echo half; echo 'E: no such suite' >&2; exit 25"})
	r, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: debianHost(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var failed *CommandError
	if data, err := io.ReadAll(r); !errors.As(err, &failed) || string(data) != "half\n" {
		t.Errorf("read %q, %v; want a CommandError after the first half", data, err)
	}
	if err := r.Close(); !errors.As(err, &failed) || !slices.Contains(failed.Output, "E: no such suite") {
		t.Errorf("close: %v; want a CommandError with the last line", err)
	}
}

func TestBootstrapCancelled(t *testing.T) {
	fakeTools(t, map[string]string{"mmdebstrap": `trap 'echo "E: cleaned up" >&2; exit 1' TERM; echo half; while :; do sleep 0.1; done`})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Bootstrap(ctx, BootstrapOptions{HostRoot: debianHost(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, len("half"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "cleaned up") {
		t.Errorf("read: %v; want the cancellation and what the tool said", err)
	}
	if err := r.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

func TestBootstrapClosedEarly(t *testing.T) {
	fakeTools(t, map[string]string{"mmdebstrap": "echo half; sleep 60"})
	r, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: debianHost(t)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v; who gives up needs no error", err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after close: %v; a cut archive must not look whole", err)
	}
}

func TestBootstrapNeeds(t *testing.T) {
	var missing *MissingPackagesError
	fakeTools(t, nil)
	if _, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: debianHost(t)}, nil); !errors.As(err, &missing) ||
		missing.Hint() != "apt-get install mmdebstrap" {
		t.Errorf("without a tool: %v", err)
	}
	fakeTools(t, map[string]string{"mmdebstrap": "exit 1"})
	if _, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: t.TempDir()}, nil); !errors.As(err, &missing) ||
		missing.Hint() != "apt-get install debian-archive-keyring" {
		t.Errorf("without keys: %v", err)
	}
	bare := hostRoot(t, map[string]string{keyring: "keys"})
	var none *NoMirrorError
	if _, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: bare}, nil); !errors.As(err, &none) ||
		!strings.Contains(none.Hint(), "[images] mirror") {
		t.Errorf("without a mirror: %v", err)
	}
	for _, mirror := range []string{
		"deb.example.org/debian", "file:///srv/debian", "http://me:secret@deb.example.org/debian",
		"http://deb.example.org/debian trixie main",
	} {
		_, err := Bootstrap(t.Context(), BootstrapOptions{HostRoot: bare, Mirror: mirror}, nil)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("mirror %s: %v", mirror, err)
		}
	}
}

func TestArchives(t *testing.T) {
	for mirror, want := range map[string][]archive{
		"":                                  {{"http://deb.example.org/debian", "trixie"}, {"http://deb.example.org/debian-security", "trixie-security"}},
		"http://deb.example.org/other/":     {{"http://deb.example.org/other", "trixie"}, {"http://deb.example.org/debian-security", "trixie-security"}},
		"https://mirror.example.net/debian": {{"https://mirror.example.net/debian", "trixie"}},
	} {
		got, err := BootstrapOptions{Mirror: mirror, HostRoot: debianHost(t), Suite: Suite}.archives()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("mirror %q: %v, %v; want %v", mirror, got, err, want)
		}
	}
}
