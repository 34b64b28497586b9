package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailstack/probe"
)

// TestProbeUsage: errors of usage are "unknown" to a monitoring system, never
// "critical", and every one of them is said at once.
func TestProbeUsage(t *testing.T) {
	for _, c := range []struct {
		args  string
		words []string
	}{
		{"probe here", []string{`takes no arguments, got "here"`}},
		{"probe --colour", []string{"unknown flag: --colour", "mailstack probe --help"}},
		{"probe --timeout never", []string{"invalid argument"}},
		{"probe --warning 1,imap=x --critical nocheck=3 --skip no --format xml --only imapz,refusal --timeout 1ms", []string{
			`--warning: parse range "x": "x" is no number`, `--critical: no check is called "nocheck"`, `--skip: no check is called "no"`,
			`--format "xml": not one of text, json, nagios, prometheus`, `no check is called "imapz"`, "--timeout 1ms", "hint: `mailstack probe --list`",
		}},
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), strings.Fields(c.args), nil, &stdout, &stderr)
		if code != probe.Unknown.ExitCode() {
			t.Errorf("%s: exit code %d, want 3", c.args, code)
		}
		for _, w := range c.words {
			if !strings.Contains(stderr.String(), w) {
				t.Errorf("%s: stderr %q does not say %q", c.args, stderr.String(), w)
			}
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: stdout %q", c.args, stdout.String())
		}
	}
}

func TestProbeList(t *testing.T) {
	var text, asJSON, stderr bytes.Buffer
	if code := run(context.Background(), []string{"probe", "--list"}, nil, &text, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if code := run(context.Background(), []string{"probe", "--list", "--format", "json"}, nil, &asJSON, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var list []listedCheck
	if err := json.Unmarshal(asJSON.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	if len(lines) != len(list) || len(list) < 16 {
		t.Fatalf("%d lines and %d objects", len(lines), len(list))
	}
	for i, c := range list {
		if !strings.HasPrefix(lines[i], c.Name+" ") || !strings.HasSuffix(lines[i], "  "+c.About) || c.About == "" {
			t.Errorf("line %q for %+v", lines[i], c)
		}
	}
}

// TestProbeNagiosUsage: monitoring reads stdout, whatever went wrong.
func TestProbeNagiosUsage(t *testing.T) {
	for _, args := range []string{
		"probe --format nagios --timeout 1ms", "probe --format nagios --config /nowhere/mailstack.toml",
		"probe --timeout never --format=nagios", "probe --nonsense --format nagios", "probe --format nagios here",
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), strings.Fields(args), nil, &stdout, &stderr)
		if code != 3 || !strings.HasPrefix(stdout.String(), "MAILSTACK UNKNOWN - ") || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
	// Help says nothing about a server: UNKNOWN for a checker, success for people.
	for args, want := range map[string]int{
		"probe --help": 0, "probe --help --format nagios": 3, "probe --version": 0, "probe -V --format nagios": 3,
	} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), strings.Fields(args), nil, &stdout, &stderr); code != want || !strings.Contains(stdout.String(), "mailstack ") {
			t.Errorf("%s: exit code %d, want %d, stdout %q", args, code, want, stdout.String())
		}
	}
}

// TestProbeWaitsForNoPassword: a password that does not come, or standard input
// that does not end behind it, takes no more than the timeout.
func TestProbeWaitsForNoPassword(t *testing.T) {
	for _, said := range []string{"", "secret\n"} {
		r, w := io.Pipe()
		go io.WriteString(w, said)
		var stdout, stderr bytes.Buffer
		began := time.Now()
		code := run(context.Background(), strings.Fields("probe -H 127.0.0.1 --user a@b.example --password-stdin -t 1 --format nagios"), r, &stdout, &stderr)
		w.Close()
		if took := time.Since(began); took > 10*time.Second || code != 2 || !strings.HasPrefix(stdout.String(), "MAILSTACK CRITICAL - preparation: no answer in time: the password") {
			t.Errorf("exit code %d after %s: %s%s", code, took, stdout.String(), stderr.String())
		}
	}
}

// TestProbeKeepsItsTime: servers that take connections and never say a word
// cost no more than the timeout, and are critical, never unknown.
func TestProbeKeepsItsTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var ports []string
	for _, key := range []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "managesieve"} {
		ports = append(ports, fmt.Sprintf("%s=%d", key, port))
	}
	for _, format := range []string{"text", "nagios", "json", "prometheus"} {
		const limit = 2 * time.Second
		var stdout, stderr bytes.Buffer
		began := time.Now()
		code := run(context.Background(), []string{
			"probe", "-H", "127.0.0.1", "--ports", strings.Join(ports, ","), "-t", "2", "--format", format,
			"--user", "a@b.example", "--password-stdin",
		}, strings.NewReader("x\n"), &stdout, &stderr)
		// What is over is scheduling, on a machine that may be busy.
		if took := time.Since(began); took > 2*limit || code != 2 || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d after %s\n%s%s", format, code, took, stdout.String(), stderr.String())
		}
		if format == "nagios" && (!strings.HasPrefix(stdout.String(), "MAILSTACK CRITICAL - ") || strings.Contains(stdout.String(), "UNKNOWN")) {
			t.Errorf("%s", stdout.String())
		}
	}
}
