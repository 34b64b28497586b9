package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/probe"
)

const keptJSON = `{"schema":1,"stack":"home","status":"warning","checks":[
 {"name":"imap","status":"ok","seconds":0.1,"reason":"","hint":"","steps":[]},
 {"name":"cert.imaps","status":"ok","seconds":0.1,"reason":"","hint":"","steps":[]},
 {"name":"queue","status":"warning","seconds":0.2,"reason":"many wait","hint":"look","steps":[],
  "values":[{"name":"messages","value":101,"unit":"","warning":"100","critical":"1000"}]}]}`

func TestKeptResult(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	home := probe.Target{Stack: "home", Ports: map[string]uint16{"imaps": 993}}
	kept := func(age time.Duration) *maintenance {
		return &maintenance{When: now.Add(-age), Probe: json.RawMessage(keptJSON)}
	}
	for _, c := range []struct {
		name string
		m    *maintenance
		only []string
		want probe.Status
		word string
	}{
		{"none", nil, nil, probe.Unknown, "no result"},
		{"no probe in it", &maintenance{When: now}, nil, probe.Unknown, "no result"},
		{"fresh", kept(time.Hour), nil, probe.Warning, "'queue_messages'=101;100;1000;0"},
		{"too old", kept(50 * time.Hour), nil, probe.Unknown, "too old"},
		{"from the future", kept(-2 * time.Hour), nil, probe.Unknown, "too old"},
		{"selected", kept(time.Hour), []string{"imap"}, probe.OK, "all 1 checks passed"},
		{"selected by its port", kept(time.Hour), []string{"cert.993"}, probe.OK, "[OK] cert.imaps"},
		{"not in it", kept(time.Hour), []string{"pop3"}, probe.Unknown, "not in the result"},
	} {
		r, err := keptIn(c.m, home, probeFlags{only: c.only}, now)
		var b strings.Builder
		if err == nil {
			err = r.WriteNagios(&b)
		}
		if err != nil || r.Status != c.want || !strings.Contains(b.String(), c.word) {
			t.Errorf("%s: %v, %s, %s", c.name, err, r.Status, b.String())
		}
	}
	if _, err := keptIn(&maintenance{When: now, Probe: json.RawMessage(`{"schema":9}`)}, home, probeFlags{}, now); err == nil {
		t.Error("a result of another schema is read")
	}
}

// TestProbeTarget: any server, without configuration and without Docker.
func TestProbeTarget(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	t.Chdir(t.TempDir())
	t.Setenv("DOCKER_HOST", "unix:///nowhere")
	for _, c := range []struct {
		args  string
		code  int
		words []string
	}{
		{"--target 127.0.0.1 --ports smtp=" + port, 2, []string{"✓ dns", "✗ smtp", "connect: connection refused", "is a firewall in the way"}},
		{"--target 127.0.0.1 --format nagios --ports smtp=" + port, 2, []string{"MAILSTACK CRITICAL - smtp"}},
		{"--target no-such-host.invalid --format nagios --timeout 5s", 2, []string{"MAILSTACK CRITICAL - dns: dns: "}},
		{"--target 127.0.0.1 --only dns", 0, []string{"all 1 checks passed"}},
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), strings.Fields("probe "+c.args), nil, &stdout, &stderr)
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s%s", c.args, code, c.code, stdout.String(), stderr.String())
		}
		for _, w := range c.words {
			if !strings.Contains(stdout.String(), w) {
				t.Errorf("%s: stdout %q does not say %q", c.args, stdout.String(), w)
			}
		}
	}
}

func TestProbeTargetUsage(t *testing.T) {
	for args, words := range map[string][]string{
		"--user a@b --send-to c@d":                                 {"--user: only with --target", "--send-to: only with --target"},
		"--target h --user a@b":                                    {"--user: only together with one of --password-stdin and --password-file"},
		"--target h --user a@b --password-stdin --password-file f": {"--user: only together with one of --password-stdin and --password-file"},
		"--password-file f":                                        {"--password-file: only with --target"},
		"--target h --ports imapz,smtp=0":                          {`no listener is called "imapz"`, `"smtp=0" is no port`},
		"--target h --ports=":                                      {"--ports: no listener is named"},
		"--address a@b":                                            {"--address: only with --target"},
		"--target h --address a@b":                                 {"--address: only together with --user"},
		"--target h --user joe --password-stdin":                   {`--user "joe": not a mail address: add --address`},
		"--target h --user joe --address @b --password-stdin":      {`--address "@b": not a mail address`},
		"--target h --send-to x":                                   {`--send-to "x"`},
		"--last --target h --retries 1":                            {"--last: shows what was found before"},
		"--changes --format json":                                  {"--changes: prints text"},
		"--target= --ports smtp":                                   {"--target: no host is named"},
		"--state f":                                                {"--state: only with --changes"},
		"--retries -1":                                             {"--retries -1"},
		"--target h --ca /nowhere/ca.pem":                          {"read certificate authority: open /nowhere/ca.pem"},
		"--target h --user a@b --password-stdin --only dns":        {"read password: standard input has no first line"},
		"--target h --user a@b --password-file /dev/null":          {"read password: /dev/null is not a regular file"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), strings.Fields("probe "+args), strings.NewReader(""), &stdout, &stderr)
		if code != 3 {
			t.Errorf("%s: exit code %d: %s", args, code, stdout.String())
		}
		for _, w := range words {
			if !strings.Contains(stderr.String(), w) {
				t.Errorf("%s: stderr %q does not say %q", args, stderr.String(), w)
			}
		}
	}
}

// TestProbeChanges: the first run shows everything, the second nothing.
func TestProbeChanges(t *testing.T) {
	state := filepath.Join(t.TempDir(), "deeper", "state.json")
	args := strings.Fields("probe --target 127.0.0.1 --only dns --changes --state " + state)
	for i, want := range []string{"✓ dns  ok, was new\n", ""} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), args, nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Fatalf("run %d: exit code %d: %s", i, code, stderr.String())
		}
		if got := stdout.String(); got != want && !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("run %d: %q, want %q", i, got, want)
		}
	}
}

// TestProbeChangesCalledOff: a run that was called off is no state to compare
// the next one with.
func TestProbeChangesCalledOff(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state.json")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, strings.Fields("probe --target 127.0.0.1 --ports smtp=1 --changes --state "+state), nil, &stdout, &stderr)
	if _, err := os.Stat(state); code != exitInterrupted || stdout.Len() > 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("exit code %d, %v: %s%s", code, err, stdout.String(), stderr.String())
	}
}

func TestStatePath(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("XDG_STATE_HOME", "/x")
	if p, err := (probeFlags{}).statePath("a/b:1"); err != nil || p != "/x/mailstack/probe-a_b_1.json" {
		t.Errorf("%s, %v", p, err)
	}
	t.Setenv("STATE_DIRECTORY", "/var/lib/m")
	if p, err := (probeFlags{}).statePath("a"); err != nil || p != "/var/lib/m/probe-a.json" {
		t.Errorf("%s, %v", p, err)
	}
}
