package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeSSH makes a program that writes its arguments to a file and then does what
// sshd would: it hands the last one to a shell. What before says is run first.
func fakeSSH(t *testing.T, before string) (program, logFile string) {
	t.Helper()
	dir := t.TempDir()
	program, logFile = filepath.Join(dir, "ssh"), filepath.Join(dir, "log")
	script := "#!/bin/sh\nfor last; do :; done\n{ printf '%s\\n' \"$@\"; echo --; } >>" + logFile + "\n" + before +
		"\ncase \" $* \" in *' -N '*|*' -O exit '*) exit 0;; esac\nexec sh -c \"$last\"\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, logFile
}

func connect(t *testing.T, o Options) *Host {
	t.Helper()
	if o.Target == "" {
		o.Target = "old.example.org"
	}
	h, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(h.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", h.dir, err)
		}
	})
	return h
}

func TestArguments(t *testing.T) {
	program, logFile := fakeSSH(t, "")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := connect(t, Options{
		Target: "me@old.example.org", Port: 2222, Identity: key, ConfigFile: key,
		Extra: []string{"StrictHostKeyChecking=accept-new"}, Slots: 2, Program: program,
	})
	if err := os.Remove(logFile); err != nil {
		t.Fatal(err)
	}
	command := h.Command(t.Context(), "printf", "%s|", "a b", "c'd", "", "$HOME\n;`id`")
	command.Slot = 1
	out, err := command.Output()
	if want := "a b|c'd||$HOME\n;`id`|"; err != nil || string(out) != want {
		t.Errorf("printf: %q, %v, want %q", out, err, want)
	}
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	options := `-F KEY -p 2222 -i KEY
-o ControlMaster=auto -o ControlPath=DIR/1 -o ControlPersist=600
-o BatchMode=yes -o StrictHostKeyChecking=accept-new -o StrictHostKeyChecking=yes -o ConnectTimeout=20
-o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o LogLevel=ERROR
-o RequestTTY=no -o RemoteCommand=none -o PermitLocalCommand=no -o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no
-o EscapeChar=none`
	var want []string
	for _, tail := range []string{
		"-f -N -- me@old.example.org --",
		"-T -- me@old.example.org",
	} {
		want = append(want, strings.Fields(options+" "+tail)...)
	}
	// The last argument and the end of the second call.
	want = append(want, "exec printf '%s|' 'a b' 'c'\\''d' '' '$HOME", ";`id`'", "--", "")
	got := strings.Split(strings.NewReplacer(key, "KEY", h.dir, "DIR").Replace(string(log)), "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arguments of ssh (-want +got):\n%s", diff)
	}
	info, err := os.Stat(h.dir)
	if err != nil || info.Mode().Perm() != 0o700 || len(h.controlPath(63)) > maxControlPath {
		t.Errorf("control directory %s: %v, %v", h.dir, info.Mode(), err)
	}
}

// A terminal changes who is asked, and only when a connection is made.
func TestAsk(t *testing.T) {
	program, logFile := fakeSSH(t, "")
	connect(t, Options{Program: program, Ask: true})
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	open, command, _ := strings.Cut(string(log), "\n--\nold.example.org\n--\n")
	for _, test := range []struct{ got, want string }{
		{open, "BatchMode=no\n"},
		{open, "StrictHostKeyChecking=ask\n"},
		{command, "BatchMode=yes\n"},
		{command, "StrictHostKeyChecking=yes\n"},
	} {
		if !strings.Contains(test.got, test.want) {
			t.Errorf("arguments without %q:\n%s", test.want, test.got)
		}
	}
}

func TestScript(t *testing.T) {
	program, logFile := fakeSSH(t, "")
	h := connect(t, Options{Program: program})
	out, err := h.Script(t.Context(), "cat\nfor a; do printf '%s|' \"$a\"; done\nexit 0", "it's a secret", "-n", "a\nb").Output()
	if want := "it's a secret|-n|a\nb|"; err != nil || string(out) != want {
		t.Errorf("script: %q, %v, want %q", out, err, want)
	}
	log, err := os.ReadFile(logFile)
	if err != nil || bytes.Contains(log, []byte("secret")) || !bytes.Contains(log, []byte("exec sh -s\n")) {
		t.Errorf("arguments of ssh:\n%s\n%v", log, err)
	}
	var exit *ExitError
	if out, err := h.Script(t.Context(), "echo half; echo 'no \033[31mway' >&2; exit 3").Output(); !errors.As(err, &exit) ||
		*exit != (ExitError{"old.example.org", "script", 3, "no \uFFFD[31mway"}) || string(out) != "half\n" {
		t.Errorf("script that fails: %q, %v", out, err)
	}
}

func TestSudo(t *testing.T) {
	var program string
	sudo := func(t *testing.T, script string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "bin")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
		program, _ = fakeSSH(t, "PATH="+dir+":$PATH")
	}
	sudo(t, `[ "$1 $2" = "-n --" ] || exit 9; shift 2; AS=root exec env AS=root "$@"`)
	h := connect(t, Options{Program: program, Sudo: true})
	for _, command := range []*Command{h.Command(t.Context(), "sh", "-c", "echo $AS"), h.Script(t.Context(), "echo $AS")} {
		if out, err := command.Output(); err != nil || string(out) != "root\n" {
			t.Errorf("%s with sudo: %q, %v", command.name, out, err)
		}
	}
	if args := h.RsyncShell(0); !slices.Contains(args, "--rsync-path=sudo -n rsync") {
		t.Errorf("rsync without sudo: %q", args)
	}

	sudo(t, "echo 'sudo: a password is required' >&2; exit 1")
	_, err := Connect(t.Context(), Options{Target: "me@old", Program: program, Sudo: true})
	var refused *SudoError
	if !errors.As(err, &refused) || refused.Said != "a password is required" || !strings.Contains(refused.Hint(), "NOPASSWD") {
		t.Errorf("sudo that asks: %v", err)
	}
}

func TestConnectErrors(t *testing.T) {
	for _, test := range []struct {
		name, said string
		want       Reason
		hint       string
	}{
		{"no such name", "ssh: Could not resolve hostname old: Name or service not known", Unreachable, "ssh me@old"},
		{"nobody listens", "ssh: connect to host old port 22: Connection refused", Unreachable, "(--ssh-port)"},
		{"no answer", "ssh: connect to host old port 22: Connection timed out", Unreachable, "ssh me@old"},
		{"throttled", "kex_exchange_identification: Connection closed by remote host", Unreachable, ""},
		{"unknown key", "No ED25519 host key is known for old and you have requested strict checking.\nHost key verification failed.", HostKeyUnknown, "fingerprint"},
		{
			"changed key", "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key for old has changed and you have requested strict checking.\nHost key verification failed.",
			HostKeyChanged, "ssh-keygen -R old",
		},
		{"no key", "me@old: Permission denied (publickey).", AuthRefused, "ssh-copy-id me@old, or run this in a terminal; name the key if it is not one of ssh's own (--ssh-key)"},
		{"configuration", "/etc/ssh/ssh_config: line 3: Bad configuration option: foo\n/etc/ssh/ssh_config: terminating, 1 bad configuration options", BadConfig, "--ssh-config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			program, _ := fakeSSH(t, "cat >&2 <<'EOF'\n"+test.said+"\nEOF\nexit 255")
			_, err := Connect(t.Context(), Options{Target: "me@old", Program: program})
			var failed *ConnectError
			if !errors.As(err, &failed) || failed.Reason != test.want || !strings.Contains(failed.Hint(), test.hint) {
				t.Fatalf("got %v (%+v), want reason %d", err, failed, test.want)
			}
			if lines := strings.Split(test.said, "\n"); failed.Said != lines[len(lines)-1] || !strings.Contains(err.Error(), failed.Said) {
				t.Errorf("the error %q does not quote ssh's last line", err)
			}
		})
	}
	_, err := Connect(t.Context(), Options{Target: "old", Program: filepath.Join(t.TempDir(), "ssh")})
	if failed := new(ConnectError); !errors.As(err, &failed) || failed.Reason != NoProgram {
		t.Errorf("no ssh: %v", err)
	}
}

// TestConnectHints: what is to be done by hand is done as the options say, and
// what was said already is not asked for.
func TestConnectHints(t *testing.T) {
	for reason, want := range map[Reason]string{
		Unreachable:    "this has to work: ssh -p 2222 -i '/root/my key' me@old",
		HostKeyUnknown: "log in once by hand, compare the fingerprint and accept it: ssh -p 2222 -i '/root/my key' me@old",
		HostKeyChanged: "if the host was set up anew, forget the old key: ssh-keygen -R '[old]:2222'; if it was not, somebody else answers for it",
		AuthRefused:    "ssh has to log in without asking: ssh-copy-id -p 2222 -i '/root/my key' me@old, or run this in a terminal",
	} {
		e := &ConnectError{Target: "me@old", Reason: reason, opts: Options{Port: 2222, Identity: "/root/my key"}}
		if got := e.Hint(); got != want {
			t.Errorf("reason %d: %q, want %q", reason, got, want)
		}
	}
	asked := &ConnectError{Target: "old", Reason: AuthRefused, opts: Options{Ask: true}}
	if got := asked.Hint(); !strings.Contains(got, "this has to work: ssh old;") || !strings.Contains(got, "--ssh-key") {
		t.Errorf("somebody was asked: %q", got)
	}
}

func TestCommandErrors(t *testing.T) {
	program, _ := fakeSSH(t, "")
	h := connect(t, Options{Program: program})
	for _, test := range []struct {
		name, script string
		want         error
	}{
		{"not found", "echo 'sh: 1: foo: not found' >&2; exit 127", &NotFoundError{"old.example.org", "foo"}},
		{"status", "echo one >&2; echo two >&2; exit 4", &ExitError{"old.example.org", "foo", 4, "two"}},
		{"its own 255", "echo 'foo: bad day' >&2; exit 255", &ExitError{"old.example.org", "foo", 255, "foo: bad day"}},
		{"dead network", "echo 'Timeout, server old.example.org not responding.' >&2; exit 255", &ConnectError{Reason: Lost}},
		{"dead master", "exit 255", &ConnectError{Reason: Lost}},
		{"killed", "kill -9 $$", &ConnectError{Reason: Lost}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := (&Command{host: h, ctx: t.Context(), name: "foo", line: test.script}).Output()
			switch want := test.want.(type) {
			case *ConnectError:
				if got := new(ConnectError); !errors.As(err, &got) || got.Reason != want.Reason {
					t.Errorf("got %v, want reason %d", err, want.Reason)
				}
			default:
				if err == nil || err.Error() != want.Error() {
					t.Errorf("got %v, want %v", err, want)
				}
			}
		})
	}
}

func TestLoudShell(t *testing.T) {
	program, _ := fakeSSH(t, `case " $* " in *' -N '*) ;; *) echo "Welcome, $USER!" ;; esac`)
	_, err := Connect(t.Context(), Options{Target: "old", Program: program})
	if loud := new(ShellError); !errors.As(err, &loud) || !strings.Contains(loud.Said, "Welcome") || loud.Hint() == "" {
		t.Errorf("got %v", err)
	}
}

func TestMaxOutput(t *testing.T) {
	program, _ := fakeSSH(t, "")
	h := connect(t, Options{Program: program})
	command := h.Script(t.Context(), "while :; do echo more; done")
	command.MaxOutput = 10000
	out, err := command.Output()
	if limit := new(LimitError); !errors.As(err, &limit) || limit.Bytes != 10000 || len(out) > 10000 {
		t.Errorf("endless output: %d bytes, %v", len(out), err)
	}
	command = h.Script(t.Context(), "while :; do echo more; done >&2")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	command.ctx = ctx
	if _, err := command.Output(); !errors.Is(err, context.DeadlineExceeded) || len(err.Error()) > 1000 {
		t.Errorf("endless errors: %v", err)
	}
}

// What is cancelled leaves no process behind.
func TestCancel(t *testing.T) {
	program, _ := fakeSSH(t, "")
	h := connect(t, Options{Program: program})
	ctx, cancel := context.WithCancel(t.Context())
	command := h.Script(ctx, "sleep 1000 & echo $!; wait")
	stream, err := command.Stream()
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := stream.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(stream); !errors.Is(err, context.Canceled) {
		t.Errorf("read after cancel: %v", err)
	}
	pid := strings.TrimSpace(string(line[:n]))
	deadline := time.Now().Add(30 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s still runs", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// alive says whether the process still does anything: a zombie does not.
func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, after, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(after, "Z")
}

func TestClosedStream(t *testing.T) {
	program, _ := fakeSSH(t, "")
	h := connect(t, Options{Program: program})
	stream, err := h.Script(t.Context(), "while :; do echo more; done").Stream()
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Read(make([]byte, 10)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"a\nb\n\n":                   "b",
		"a\r\n":                      "a",
		"\x1b]0;x\x07\xff":           "\uFFFD]0;x\uFFFD\uFFFD",
		strings.Repeat("x", 400):     strings.Repeat("x", 300) + "…",
		"left\u202Eright":            "left\uFFFDright",
		"Permission denied\r\n \t\n": "Permission denied",
	} {
		if got := lastLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
