package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailstack/config"
)

// openTerminal makes a pseudo-terminal: what is written to the first file is
// typed at the second.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return keyboard, terminal
}

// initAtTerminal types lines at `mailstack init` and returns what it says.
func initAtTerminal(t *testing.T, typed string, args ...string) (code int, stdout, screen string) {
	t.Helper()
	keyboard, terminal := openTerminal(t)
	if _, err := io.WriteString(keyboard, typed); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out strings.Builder
	code = run(ctx, append([]string{"init"}, args...), terminal, &out, terminal)
	io.WriteString(terminal, "\n--end--\n")
	var seen strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(seen.String(), "--end--"); {
		n, err := keyboard.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(buffer[:n])
	}
	return code, out.String(), seen.String()
}

func TestInitAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.toml")
	code, stdout, screen := initAtTerminal(t, "example\nexample.org\nmail_1.example.org\n\n\n127.0.0.1, ::1\n", "--output", path)
	if code != 0 {
		t.Fatalf("exit %d:\n%s", code, screen)
	}
	for _, want := range []string{
		"Mail domain, behind the @ of your addresses: ",
		`"example" is not a host name: it has no dot`,
		"as its clients and the DNS know it [mail.example.org]: ",
		`"mail_1.example.org" is not a host name: '_' in it`,
		"Postmaster, who hears of problems and complaints [postmaster@example.org]: ",
		"IP addresses to listen on [0.0.0.0 ::]: ",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	if !strings.Contains(stdout, path+" is written.") {
		t.Errorf("stdout is:\n%s", stdout)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Name != "mailstack" || cfg.Hostname != "mail.example.org" || cfg.Postmaster != "postmaster@example.org" || !cfg.Loopback() {
		t.Errorf("got %+v", cfg)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Ctrl-D leaves nothing behind, and what flags have said is not asked.
func TestInitIsLeft(t *testing.T) {
	dir := t.TempDir()
	code, _, screen := initAtTerminal(t, "\n\x04", "--output", filepath.Join(dir, "sub", "new.toml"), "--hostname", "mx.example.net")
	if code != exitFailed || !strings.Contains(screen, "the input ended before the last question: nothing is written") {
		t.Errorf("exit %d:\n%s", code, screen)
	}
	if strings.Contains(screen, "Name of this mail server") || !strings.Contains(screen, "addresses [example.net]: ") {
		t.Errorf("screen:\n%s", screen)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Ctrl-C is answered while a question waits.
func TestInitInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent, writer := io.Pipe()
	defer writer.Close()
	q := newQuestions(ctx, silent, io.Discard)
	cancel()
	if err := q.ask("?", "", func(string) error { return nil }); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestInitOutput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none, none2 := filepath.Join(dir, "none"), filepath.Join(dir, "none2")
	active := file("active", "name = \"x\"\n")
	reference := file("reference", string(config.Reference()))
	for _, test := range []struct {
		about, explicit, local, system string
		want                           string // empty: refused
	}{
		{"nothing there", "", none, none2, none},
		{"in a clone", "", reference, none2, none2},
		{"in a clone, done before", "", reference, active, ""},
		{"done before, here", "", active, none2, ""},
		{"done before, for the system", "", none, active, ""},
		{"explicit", none, active, active, none},
		{"explicit, there", reference, none, none2, ""},
	} {
		got, err := initOutput(test.explicit, test.local, test.system)
		if test.want == "" {
			if err == nil {
				t.Errorf("%s: writes %s", test.about, got)
			}
		} else if got != test.want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", test.about, got, err, test.want)
		}
	}
}

// A file that appears while init asks is not overwritten either.
func TestWriteNewNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mailstack.toml")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("new")); err == nil {
		t.Error("no error")
	}
	if data, _ := os.ReadFile(path); string(data) != "old" {
		t.Errorf("now holds %q", data)
	}
	if left, _ := fs.Glob(os.DirFS(dir), ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
