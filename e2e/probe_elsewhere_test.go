package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailstack/accounts"
)

// Anybody can look at any server: as a user without any right, in an empty
// directory, with no engine and no configuration.
func TestProbeAsAStranger(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	dir := s.dir + "-stranger"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Getenv(binaryVar))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"mailstack": binary, "ca.pem": s.caPEM(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o777); err != nil {
		t.Fatal(err)
	}
	probe := func(stdin string, args ...string) result {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(dir, "mailstack"), append([]string{
			"probe", "--target", "127.0.0.1", "--server-name", s.hostname(), "--ca", "../ca.pem", "--timeout", "60s", "--ports", s.targetPorts(),
		}, args...)...)
		cmd.Dir, cmd.Env = empty, []string{} // no home, no path, no engine
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return runCommand(ctx, cmd, []byte(stdin))
	}
	if r := probe(password+"\n", "--user", user, "--password-stdin"); r.code != 0 || !strings.Contains(r.stdout, "✓ delivery.inbound") {
		t.Errorf("with an account: %v", r)
	}
	if r := probe("", "--format", "nagios"); r.code != 0 || !strings.HasPrefix(r.stdout, "MAILSTACK OK - all ") {
		t.Errorf("without an account: %v", r)
	}
	if r := probe("wrong\n", "--user", user, "--password-stdin", "--only", "imaps"); r.code != 2 || !strings.Contains(r.stdout, "credentials refused") || strings.Contains(r.stdout, "mailstack up") {
		t.Errorf("with a wrong password: %v", r)
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if left := s.count(t, user, password, ""); left != 0 {
		t.Errorf("%d messages left in the mailbox", left)
	}
}

// A message from one stack to the probe of another is seen on its way and read
// where it arrives, as both ends are known: the one by its account, the other by
// its configuration.
func TestProbeSendsFromStackToStack(t *testing.T) {
	t.Parallel()
	there := shared(t)
	here := newSmallStack(t)
	here.upGreen(t)
	user, password := here.account(t)
	// The other stack listens on loopback only: a door on the bridge leads there.
	gateway := docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", here.container("postfix"))
	here.set(t, "relay.host", quote(gateway))
	here.set(t, "relay.tls", quote("encrypt"))
	here.set(t, "relay.port", fmt.Sprint(door(t, gateway, there.addr("smtp"))))
	here.upGreen(t)
	own := accounts.ProbeLocal + "@" + there.hostname()
	send := func(to string, stdin string) result {
		ca := here.caFile(t)
		return program(t.Context(), []byte(stdin), os.Getenv(binaryVar), "probe", "--config", there.config(),
			"--target", "127.0.0.1", "--server-name", here.hostname(), "--ca", ca, "--timeout", "60s", "-v", "--only", "delivery.elsewhere",
			"--ports", fmt.Sprintf("submissions=%d", here.port("submissions")), "--user", user, "--password-stdin", "--send-to", to)
	}
	r := send(own, password+"\n")
	if r.code != 0 || !strings.Contains(r.stdout, "✓ delivery.elsewhere") {
		t.Fatalf("to the other stack's probe: %v", r)
	}
	for _, step := range []string{"accepted ", "imap ", "pop3 ", "removed "} {
		if !strings.Contains(r.stdout, "      "+step) {
			t.Errorf("no step %q: %v", step, r)
		}
	}
	// Of another mailbox there it is only known that the mail was taken.
	other, otherPassword := there.account(t)
	if r := send(other, password+"\n"); r.code != 0 || !strings.Contains(r.stdout, "cannot be looked at from here") {
		t.Errorf("to another account: %v", r)
	}
	there.waitMail(t, other, otherPassword, "INBOX", "delivery.elsewhere")
	if red := there.probe(t, "--only", "delivery").red(); len(red) > 0 {
		t.Errorf("the other stack's probe: %v", red)
	}
}

// door hands connections to an address of this machine on to another.
func door(t *testing.T, address, to string) (port int) {
	t.Helper()
	return movingDoor(t, net.JoinHostPort(address, "0"), func() string { return to })
}

// movingDoor is one that leads where to says at the moment.
func movingDoor(t *testing.T, listen string, to func() string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				out, err := net.DialTimeout("tcp", to(), 10*time.Second)
				if err != nil {
					return
				}
				defer out.Close()
				go func() {
					_, _ = io.Copy(out, conn)
					_ = out.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(conn, out)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
