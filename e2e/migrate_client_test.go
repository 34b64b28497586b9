package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailstack/e2e/oldhost"
)

// TestMigrateKeepsClients: a mail program that knew the old server goes on with the
// new one and downloads nothing again. The last copy waits for a person who stops
// the old server by hand.
func TestMigrateKeepsClients(t *testing.T) {
	t.Parallel()
	old, s := oldHost(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: moveSpool()}), newSmallStack(t)
	s.up(t, "--no-probe")
	bob := old.Account("bob@example.org")
	client := newMbsync(t, bob.Address, bob.Password)
	_, port, err := net.SplitHostPort(old.IMAPS)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	client.write(t, "localhost", number, old.CAFile)
	there := total(old.Mailboxes(t, bob.Address))
	if n := client.sync(t, s); n != there {
		t.Fatalf("from the old server it downloads %d messages, want %d", n, there)
	}
	known := client.files(t)
	if n := client.sync(t, s); n != 0 || !maps.Equal(known, client.files(t)) {
		t.Fatalf("from the old server, once more, it downloads %d messages", n)
	}
	control := client.clone(t)

	args := append(moveFrom(old), "--allow-weak-hashes")
	s.mustRun(t, args...)
	s.moveByHand(t, old, append(args, "--final")...)

	client.write(t, s.hostname(), s.port("imaps"), s.caFile(t))
	if n := client.sync(t, s); n != 0 {
		t.Errorf("from the new server it downloads %d messages, want none", n)
	}
	now := client.files(t)
	for file, seen := range known {
		if now[file] != seen {
			t.Errorf("%s was %s and is %s", file, seen, now[file])
		}
	}
	s.waitMail(t, bob.Address, bob.Password, "INBOX", s.deliver(t, stranger, bob.Address))
	if n := client.sync(t, s); n != 1 {
		t.Errorf("after one more letter it downloads %d messages", n)
	}

	// Had the messages got other numbers, it would have been told.
	s.renumber(t, bob.Address)
	control.write(t, s.hostname(), s.port("imaps"), s.caFile(t))
	if r := control.run(t, s); goesOn(r) || !uidsChanged.MatchString(r.stdout) {
		t.Errorf("with other UIDs mbsync goes on as if nothing had happened, and this test would see nothing: %v", r)
	}
}

// run runs the program in a terminal, as only there it says what it has done.
func (c mbsync) run(t *testing.T, s *Stack) result {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+s.hostname()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return tool(t, "", "unshare", "-m", "sh", "-c", `mount --bind "$1" /etc/hosts && exec script -qec "mbsync -c '$2' -a" /dev/null`, "sh", hosts, c.file)
}

// pulledCount is of what isync 1.4 counts, and of what 1.5 says in the end.
var pulledCount = regexp.MustCompile(`N: \+(\d+)/|pulled (\d+) new message`)

// pulled is how many messages were downloaded.
func pulled(r result) (n int, told bool) {
	all := pulledCount.FindAllStringSubmatch(r.stdout, -1)
	if len(all) == 0 {
		return 0, false
	}
	last := all[len(all)-1]
	n, err := strconv.Atoi(last[1] + last[2])
	return n, err == nil
}

// sync brings the program's mailboxes up to date and returns how many messages it
// has downloaded.
func (c mbsync) sync(t *testing.T, s *Stack) int {
	t.Helper()
	r := c.run(t, s)
	n, told := pulled(r)
	if !told || !goesOn(r) {
		t.Fatalf("mbsync: %v", r)
	}
	return n
}

// goesOn says whether the program has found what it knew of the server to be true.
func goesOn(r result) bool { return r.code == 0 && !uidsChanged.MatchString(r.stdout) }

// uidsChanged is what it says otherwise: "Recovered from change of UIDVALIDITY.",
// "Unable to recover from UIDVALIDITY change."
var uidsChanged = regexp.MustCompile(`change of UIDVALIDITY|UIDVALIDITY change`)

// files are the messages that the program keeps: which file, and since when.
func (c mbsync) files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(c.store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all[strings.TrimPrefix(path, c.store)] = fmt.Sprintf("inode %d of %v", st.Ino, info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// clone is the same program on another machine.
func (c mbsync) clone(t *testing.T) mbsync {
	t.Helper()
	other := newMbsync(t, c.user, c.password)
	mustTool(t, "", "cp", "-a", c.store+".", other.store)
	return other
}

// renumber gives the messages of an inbox other UIDs, as a copy of the messages
// alone would.
func (s *Stack) renumber(t *testing.T, address string) {
	t.Helper()
	local, domain, _ := strings.Cut(address, "@")
	dir := filepath.Join(s.data(), "vmail", "data", domain, local, "Maildir")
	docker(t, "stop", "-t", "10", s.container("dovecot"))
	mustTool(t, "", "find", dir, "-maxdepth", "1", "-type", "f", "-name", "dovecot.index*", "-delete")
	list := filepath.Join(dir, "dovecot-uidlist")
	mustTool(t, "", "sed", "-i", "-E", `1s/ V1?([0-9]+) N/ V2\1 N9/; 2,$s/^/9/`, list)
	docker(t, "start", s.container("dovecot"))
	s.ready(t, "dovecot")
}

// moveByHand runs the last copy in a terminal, and stops the old host when it is
// asked for.
func (s *Stack) moveByHand(t *testing.T, old *oldhost.Host, args ...string) {
	t.Helper()
	master, slave := terminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv(binaryVar), append(args, "--config", s.config())...)
	shown := &lineBuffer{onLine: func(string) {}}
	var stdout strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, &stdout, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			if err != nil {
				return
			}
			_, _ = shown.Write(buffer[:n])
		}
	}()
	waitUntil(t, 2*time.Minute, "the question", func() (bool, string) {
		return strings.Contains(shown.String(), `Type "stopped" when that is done: `), shown.String()
	})
	if !strings.Contains(shown.String(), "systemctl stop postfix dovecot") {
		t.Errorf("it does not say what to stop: %s", shown)
	}
	for _, answer := range []string{"", "yes", "stopped"} {
		if answer == "stopped" {
			old.Exec(t, "sh", "-c", stopOld)
		}
		if _, err := master.WriteString(answer + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the last copy: %v\n%s\n%s", err, shown, stdout.String())
	}
	for _, want := range []string{"will be out of use for about", "(out of use for "} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the terminal does not show %q: %s", want, shown)
		}
	}
	if !strings.Contains(stdout.String(), "out of use for ") || !strings.Contains(stdout.String(), "the forecast was ") {
		t.Errorf("the report does not say how long it took: %s", stdout.String())
	}
}

// terminal is both ends of a pseudo-terminal (pty(7)).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
