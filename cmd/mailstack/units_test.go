package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailstack/config"
)

var plainUnits = units{
	stack: "mailstack", hostname: "mail.example.org",
	binary: "/usr/local/bin/mailstack", config: "/etc/mailstack/mailstack.toml",
	paths: []string{
		"/var/lib/mailstack", "/srv/db/mysql", "/var/lib/mailstack/socket/mysql",
		"/srv/mail", "/var/lib/mailstack/queue",
	},
}

var oddUnits = units{
	stack: "odd", hostname: "mail.example.org",
	binary: `/opt/my $tools/100%/mail stack`, config: `/etc/it's "$HOME"/%n\x.toml`,
	paths: []string{`/srv/my mail/50% full`, `/srv/back\slash`},
}

// TestUnits compares with testdata/systemd/<case>/<unit>; run with
// UPDATE_GOLDEN=1 after a change that is meant.
func TestUnits(t *testing.T) {
	for name, u := range map[string]units{"plain": plainUnits, "odd": oddUnits} {
		if err := u.check(); err != nil {
			t.Fatal(err)
		}
		files := append(u.files(), unitFile{name: "crontab", content: u.cron()})
		for _, file := range files {
			golden := filepath.Join("testdata/systemd", name, file.name)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(file.content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), file.content); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		}
	}
}

func TestUnitsRefusePaths(t *testing.T) {
	u := plainUnits
	u.binary, u.config = `mail"stack`, "/etc/new\nline.toml"
	u.paths = []string{"/srv/\xff"}
	err := u.check()
	if err == nil || strings.Count(err.Error(), "into a unit") != 4 {
		t.Errorf("check: %v", err)
	}
}

// TestUnitsNeedAFile: the demonstration has none, and where no file is named
// another stack's might be found.
func TestUnitsNeedAFile(t *testing.T) {
	demo := config.Default()
	a := &app{cfg: &demo}
	_, err := a.systemdUnits(systemdOptions{})
	if err == nil || !strings.Contains(err.Error(), "units need a configuration file") {
		t.Errorf("error %v", err)
	}
}

func TestQuoting(t *testing.T) {
	for _, test := range []struct{ path, word, argument, cron string }{
		{"/a/b.toml", "/a/b.toml", "/a/b.toml", "/a/b.toml"},
		{"/a b", `"/a b"`, `"/a b"`, `'/a b'`},
		{"/50%", `"/50%%"`, `"/50%%"`, `'/50'\%''`},
		{"/$HOME", "/$HOME", "/$$HOME", "'/$HOME'"},
		{`/a"b`, `"/a\"b"`, `"/a\"b"`, `'/a"b'`},
		{`/a\b`, `"/a\\b"`, `"/a\\b"`, `'/a\b'`},
		{"/it's", `"/it's"`, `"/it's"`, `'/it'\''s'`},
	} {
		if got := quotePath(test.path); got != test.word {
			t.Errorf("quotePath(%s) = %s, want %s", test.path, got, test.word)
		}
		if got := quoteArgument(test.path); got != test.argument {
			t.Errorf("quoteArgument(%s) = %s, want %s", test.path, got, test.argument)
		}
		if got := quoteCron(test.path); got != test.cron {
			t.Errorf("quoteCron(%s) = %s, want %s", test.path, got, test.cron)
		}
	}
}

func TestWithoutNested(t *testing.T) {
	got := withoutNested([]string{"/", "/a", "/a/b", "/ab", "/a/b", "/c/"})
	if diff := cmp.Diff([]string{"/a/b", "/ab", "/c"}, got); diff != "" {
		t.Error(diff)
	}
}

// system is a root directory with a systemctl that records its calls.
func system(t *testing.T) (manager unitManager, calls func() string) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"run/systemd/system", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\necho \"$*\" >>'" + root + "/calls'\n"
	if err := os.WriteFile(filepath.Join(root, "usr/bin/systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	calls = func() string {
		content, _ := os.ReadFile(filepath.Join(root, "calls"))
		_ = os.Remove(filepath.Join(root, "calls"))
		return string(content)
	}
	return unitManager{root: root, stack: "mailstack"}, calls
}

func TestInstallUnits(t *testing.T) {
	manager, calls := system(t)
	files := plainUnits.files()
	enable := "enable mailstack-mailstack.service\nenable --now mailstack-mailstack-maintain.timer\ntry-restart mailstack-mailstack-exporter.service\n"
	disable := "disable mailstack-mailstack.service\ndisable --now mailstack-mailstack-maintain.timer\ndisable --now mailstack-mailstack-exporter.service\n"
	steps := []struct {
		name string
		do   func(context.Context, *strings.Builder) error
		want string
	}{
		{"first", func(ctx context.Context, out *strings.Builder) error { return manager.install(ctx, files, out) }, "daemon-reload\n" + enable},
		{"again", func(ctx context.Context, out *strings.Builder) error { return manager.install(ctx, files, out) }, enable},
		{"changed", func(ctx context.Context, out *strings.Builder) error {
			moved := plainUnits
			moved.binary = "/opt/mailstack"
			return manager.install(ctx, moved.files(), out)
		}, "daemon-reload\n" + enable},
		{"removed", func(ctx context.Context, out *strings.Builder) error { return manager.remove(ctx, files, out) }, disable + "daemon-reload\n"},
		{"removed again", func(ctx context.Context, out *strings.Builder) error { return manager.remove(ctx, files, out) }, ""},
	}
	for _, step := range steps {
		var out strings.Builder
		if err := step.do(t.Context(), &out); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, calls()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		if out.Len() == 0 {
			t.Errorf("%s says nothing", step.name)
		}
	}
	if left, _ := os.ReadDir(manager.path("")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestForeignUnits: nothing is written where one of the files is not ours.
func TestForeignUnits(t *testing.T) {
	manager, calls := system(t)
	files := plainUnits.files()
	other := plainUnits
	other.stack = "other"
	if err := os.MkdirAll(manager.path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"by hand":          func(path string) error { return os.WriteFile(path, []byte("[Unit]\n"), 0o644) },
		"of another stack": func(path string) error { return os.WriteFile(path, []byte(other.files()[1].content), 0o644) },
		"masked":           func(path string) error { return os.Symlink("/dev/null", path) },
	} {
		path := manager.path(files[1].name)
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		for _, do := range []func(context.Context, []unitFile, *strings.Builder) error{
			func(ctx context.Context, f []unitFile, out *strings.Builder) error {
				return manager.install(ctx, f, out)
			},
			func(ctx context.Context, f []unitFile, out *strings.Builder) error {
				return manager.remove(ctx, f, out)
			},
		} {
			var out strings.Builder
			err := do(t.Context(), files, &out)
			if err == nil || !strings.Contains(err.Error(), path+" was not written by mailstack") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(manager.path("")); len(left) > 0 {
			t.Errorf("%s: written: %v", name, left)
		}
	}
	if got := calls(); got != "" {
		t.Errorf("systemctl was run: %s", got)
	}
}
