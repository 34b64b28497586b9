package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// killed is a point of a migration, and what breaks there.
type killed struct {
	phase  string
	after  string // of the line that begins so, the moment is by chance
	within time.Duration
	what   func(t *testing.T, old *oldhost.Host, b *background)
}

// TestMigrateSurvivesKills: whatever is killed at whatever moment, the same command
// again goes on, and what comes out in the end is what the old server had.
func TestMigrateSurvivesKills(t *testing.T) {
	t.Parallel()
	const seed = 20240229
	random := rand.New(rand.NewPCG(seed, 0))
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: moveSpool()}), newSmallStack(t)
	s.up(t, "--no-probe")
	args := append(moveFrom(old), "--allow-weak-hashes", "--bwlimit", "4MiB", "--verify", "full",
		// A dead network is noticed in seconds.
		"--ssh-option", "ServerAliveInterval=1", "--ssh-option", "ServerAliveCountMax=2", "--ssh-option", "ConnectTimeout=3")
	const listed, placed = "✓ list mailboxes there", "✓ put into the mail store"
	phase := "accounts"
	for i, k := range []killed{
		{"accounts", "", 2 * time.Second, killProgram},
		{"accounts", "", 2 * time.Second, killSSHD},
		{"accounts", "✓ accounts", 500 * time.Millisecond, killProgram},
		{"first copy", listed, 1500 * time.Millisecond, killProgram},
		{"first copy", listed, time.Second, killRsync},
		{"first copy", listed, time.Second, killSSHD},
		{"comparison", placed, 300 * time.Millisecond, cutNetwork},
		{"comparison", placed, 300 * time.Millisecond, killProgram},
	} {
		if k.phase != phase {
			s.mustRun(t, args...)
		}
		phase = k.phase
		s.interrupt(t, old, i, k, random, args)
	}
	s.mustRun(t, args...)
	want := old.AllMailboxes(t)
	args = append(args, "--final", "--freeze-command", stopOld)
	for i, k := range []killed{
		{"last copy", "on " + old.SSH.Alias, time.Second, killRsync},
		{"last copy", "on " + old.SSH.Alias, 4 * time.Second, killProgram},
	} {
		s.interrupt(t, old, 8+i, k, random, args)
	}
	s.mustRun(t, args...)
	bob := old.Account("bob@example.org")
	for _, a := range old.Accounts {
		if a.Disabled || a.Address == bob.Address { // whose mail was added to
			delete(want, a.Address)
		}
	}
	s.expectMoved(t, old, want)
	if n, want := len(s.placedMail(t, bob)), len(mailFiles(t, old.Local(bob.Maildir))); n != want {
		t.Errorf("%s has %d messages, want %d", bob.Address, n, want)
	}
}

// interrupt runs migrate with something new to copy, and breaks it.
func (s *Stack) interrupt(t *testing.T, old *oldhost.Host, n int, k killed, random *rand.Rand, args []string) {
	t.Helper()
	arrive(t, old, n)
	pause := time.Duration(random.Int64N(int64(k.within)))
	name := fmt.Sprintf("point %d, %s: %v after %q", n+1, k.phase, pause.Round(time.Millisecond), k.after)
	reached := make(chan struct{}, 1)
	began := time.Now()
	b := s.start(t, func(line string) {
		if k.after != "" && strings.HasPrefix(line, k.after) {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
	}, args...)
	if k.after == "" {
		reached <- struct{}{}
	}
	select {
	case <-reached:
	case <-b.done:
		t.Fatalf("%s: it ended before: %s", name, b.stderr)
	case <-time.After(time.Minute):
		t.Fatalf("%s: it does not come to that: %s", name, b.stderr)
	}
	select {
	case <-b.done:
		t.Fatalf("%s: it ended before: %s", name, b.stderr)
	case <-time.After(pause):
	}
	k.what(t, old, b)
	select {
	case <-b.done:
	case <-time.After(90 * time.Second):
		t.Fatalf("%s: it does not end: %s", name, b.stderr)
	}
	t.Logf("%s: %v after %v", name, b.cmd.ProcessState, time.Since(began).Round(100*time.Millisecond))
	if b.cmd.ProcessState.ExitCode() == 1 && !strings.Contains("\n"+b.stderr.String(), "\nmailstack: ") {
		t.Errorf("%s: it does not say why it ended: %s", name, b.stderr)
	}
}

// arrive puts 6 MB into bob's inbox on the old host, as Dovecot would.
func arrive(t *testing.T, old *oldhost.Host, n int) {
	t.Helper()
	dir := filepath.Join(old.Local(old.Account("bob@example.org").Maildir), "new")
	for i := range 24 {
		number := n*100 + i
		file := filepath.Join(dir, fmt.Sprintf("17100%05d.M%dP1.old", number, number))
		if err := os.WriteFile(file, oldhost.Sized(number, 256<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 5000, 5000); err != nil {
			t.Fatal(err)
		}
	}
}

func killProgram(t *testing.T, _ *oldhost.Host, b *background) {
	t.Helper()
	if err := b.cmd.Process.Kill(); err != nil {
		t.Errorf("kill mailstack: %v", err)
	}
}

// killRsync waits for one of the program's rsync, and kills them all.
func killRsync(t *testing.T, _ *oldhost.Host, b *background) {
	t.Helper()
	waitUntil(t, 20*time.Second, "an rsync to kill", func() (bool, string) {
		hit := 0
		for _, pid := range copying(t, b.cmd.Process.Pid) {
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				hit++
			}
		}
		select {
		case <-b.done:
			return true, ""
		default:
			return hit > 0, b.stderr.String()
		}
	})
	if code := b.cmd.ProcessState; code != nil && code.ExitCode() == 0 {
		t.Errorf("no rsync was killed")
	}
}

// copying are the rsync that a program has started to copy something.
func copying(t *testing.T, parent int) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		stat, _ := os.ReadFile(file) // it may have ended
		// PID (NAME) STATE PPID, proc(5)
		head, tail, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(tail)
		pid, name, _ := strings.Cut(head, " (")
		if name != "rsync" || len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if number, err := strconv.Atoi(pid); err == nil && strings.Contains(string(line), "--out-format") {
			pids = append(pids, number)
		}
	}
	return pids
}

// killSSHD kills every sshd of the old host, sessions included, and starts another.
func killSSHD(t *testing.T, old *oldhost.Host, _ *background) {
	t.Helper()
	old.Exec(t, "pkill", "-KILL", "-x", "sshd")
	// It is a daemon before it listens.
	old.Exec(t, "sh", "-c", "/usr/sbin/sshd; until bash -c ': </dev/tcp/127.0.0.1/22' 2>/dev/null; do sleep 0.05; done")
}

// cutNetwork takes the old host off its network for longer than that goes unnoticed.
func cutNetwork(t *testing.T, old *oldhost.Host, b *background) {
	t.Helper()
	pid := docker(t, "inspect", "--format", "{{.State.Pid}}", old.Name)
	mustTool(t, "", "nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "down")
	select {
	case <-b.done:
	case <-time.After(6 * time.Second):
	}
	mustTool(t, "", "nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "up")
}

// placedMail are the messages in an account's inbox here.
func (s *Stack) placedMail(t *testing.T, a oldhost.Account) []string {
	t.Helper()
	local, domain, _ := strings.Cut(a.Address, "@")
	return mailFiles(t, filepath.Join(s.data(), "vmail", "data", domain, local, "Maildir"))
}

func mailFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(dir + "/[cn][ue][rw]/*")
	if err != nil {
		t.Fatal(err)
	}
	return files
}
