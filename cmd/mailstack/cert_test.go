package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/certs"
)

// certStack is a stack that has a certificate and nothing else.
type certStack struct {
	config, dir string
	state       certs.State
}

// newCertStack makes one that publishes imaps on the given port.
func newCertStack(t *testing.T, imaps int) certStack {
	t.Helper()
	dir := t.TempDir()
	s := certStack{config: filepath.Join(dir, "stack.toml"), dir: filepath.Join(dir, "data")}
	text := fmt.Sprintf(`name = "paper"
hostname = "mail.example.org"
aliases = ["imap.example.org"]
postmaster = "me@example.org"
[data]
dir = %q
[listen]
address = ["127.0.0.1"]
smtp = 0
submission = 0
submissions = 0
imap = 0
imaps = %d
pop3 = 0
pop3s = 0
managesieve = 0
`, s.dir, imaps)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.state = s.renew(t, certs.IfDue)
	return s
}

// renew makes a certificate as if it were served at once.
func (s certStack) renew(t *testing.T, ask certs.Ask) certs.State {
	t.Helper()
	dir := filepath.Join(s.dir, "ca")
	store := certs.Store{
		Dir: dir, Source: certs.LocalCA(dir),
		Names: certs.Names{Hostname: "mail.example.org", Aliases: []string{"imap.example.org"}},
	}
	state, err := store.Renew(t.Context(), time.Now(), ask)
	if err := errors.Join(err, store.Commit()); err != nil {
		t.Fatal(err)
	}
	return state
}

// cert runs a cert command.
func (s certStack) cert(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), append([]string{"--config", s.config, "cert"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCertShow(t *testing.T) {
	s := newCertStack(t, 993)
	code, stdout, stderr := s.cert(t, "show")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, want := range []string{
		s.state.File, "mail.example.org, imap.example.org", "SHA-256 " + s.state.Leaf.Fingerprint,
		s.state.Leaf.Issuer, "89 days, 100 % of its life", "not due", "SHA-256 " + s.state.Authority.Fingerprint,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in:\n%s", want, stdout)
		}
	}

	code, stdout, _ = s.cert(t, "show", "--format", "json")
	var report struct {
		Mode, File string
		Cert       certs.Certificate `json:"certificate"`
		DaysLeft   int               `json:"days_left"`
		ShareLeft  float64           `json:"share_left"`
		Usable     bool
		Due        string
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatalf("exit %d: %v", code, err)
	}
	if report.Mode != "self-signed" || report.Cert.Fingerprint != s.state.Leaf.Fingerprint ||
		report.DaysLeft != 89 || report.ShareLeft < 0.99 || !report.Usable || report.Due != "" {
		t.Errorf("%+v", report)
	}
	if strings.Contains(stdout, "PRIVATE") {
		t.Error("the private key is in the output")
	}
}

func TestCertShowBroken(t *testing.T) {
	s := newCertStack(t, 993)
	if err := os.WriteFile(s.state.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := s.cert(t, "show")
	if code != exitFailed || !strings.Contains(stderr, s.state.File+" is empty\n  hint: `mailstack cert renew`") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if !strings.Contains(stdout, "due: "+s.state.File+" is empty") {
		t.Errorf("stdout:\n%s", stdout)
	}
}

func TestCertShowServed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := newCertStack(t, listener.Addr().(*net.TCPAddr).Port)
	pair, err := tls.LoadX509KeyPair(s.state.File, s.state.File)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake()
			}()
		}
	}()
	code, stdout, stderr := s.cert(t, "show", "--served")
	if code != 0 || !strings.Contains(stdout, "imaps on "+listener.Addr().String()+" for mail.example.org, key ecdsa: the same") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}

	s.renew(t, certs.Anyway)
	code, stdout, stderr = s.cert(t, "show", "--served")
	if code != exitFailed || !strings.Contains(stdout, "another certificate, SHA-256 "+s.state.Leaf.Fingerprint) {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}

	listener.Close()
	code, stdout, _ = s.cert(t, "show", "--served")
	if code != exitFailed || !strings.Contains(stdout, "connection refused") {
		t.Errorf("exit %d: %s", code, stdout)
	}
}

func TestCertTrust(t *testing.T) {
	s := newCertStack(t, 993)
	root := t.TempDir()
	for _, dir := range []string{"usr/local/share/ca-certificates", "usr/sbin", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "#!/bin/sh\ncat '" + root + "'/usr/local/share/ca-certificates/*.crt >'" + root + "/etc/ssl/certs/ca-certificates.crt'\necho done.\n"
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/update-ca-certificates"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(s.dir, "ca", certs.AuthorityFile))
	if err != nil {
		t.Fatal(err)
	}
	profile, err := certs.Profile("paper", "mail.example.org", authority)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "usr/local/share/ca-certificates/mailstack-paper.crt")
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"--print"}, string(authority)},
		{[]string{"--print", "--format", "mobileconfig"}, string(profile)},
		{nil, "wrote " + file + "\nran " + root + "/usr/sbin/update-ca-certificates\nundo it with: mailstack cert trust --remove\n"},
		{nil, file + " is trusted already: nothing to do\n"},
		{[]string{"--remove"}, "removed " + file + "\nran " + root + "/usr/sbin/update-ca-certificates --fresh\n"},
		{[]string{"--remove"}, file + " was not there: nothing to do\n"},
	} {
		code, stdout, stderr := s.cert(t, append([]string{"trust", "--root", root}, step.args...)...)
		// cat finds nothing once the file is gone, which is not the command's fault.
		if len(step.args) > 0 && step.args[0] == "--remove" {
			stderr = ""
		}
		if code != 0 || stdout != step.want {
			t.Errorf("%v: exit %d:\n%s%s", step.args, code, stdout, stderr)
		}
	}
}
