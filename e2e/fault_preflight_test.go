package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/stack"
)

// Bad luck and bad input before anything is up: each is one clear line, with
// what to do, and nothing is made.
func TestUpRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	image := inspect(t, shared(t).container("mysql")).Image
	for name, step := range map[string]func(*testing.T, *Stack, string){
		"port taken": testPortTaken, "ports of another stack": testPortsOfAnotherStack, "no engine": testNoEngine, "foreign container": testForeignContainer,
		"foreign network": testForeignNetwork, "foreign files": testForeignFiles, "bad host name": testBadHostname,
		"disk nearly full": testDiskFull, "lock held": testLockHeld, "address of another host": testOtherAddress,
	} {
		t.Run(name, func(t *testing.T) {
			step(t, s, image)
			if left := docker(t, "ps", "-a", "-q", "--filter", "label=mailstack.stack="+s.name); left != "" {
				t.Errorf("it made the containers %s", left)
			}
			if _, err := os.Stat(s.layout().IDFile()); err == nil {
				t.Error("it made a stack")
			}
		})
	}
	s.upGreen(t) // all of it was this test's doing
}

func testPortTaken(t *testing.T, s *Stack, _ string) {
	l, err := net.Listen("tcp", s.addr("imaps"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := s.refuse(t, 1, []string{s.addr("imaps"), fmt.Sprintf("(process %d)", os.Getpid()), "`imaps`"}, "up")
	if strings.Contains(r.stderr, s.addr("imap")+" ") {
		t.Errorf("it complains of a port that is free: %v", r)
	}
}

// testPortsOfAnotherStack: a second stack with the ports of the first is told so of
// every one of them, and the first one serves on.
func testPortsOfAnotherStack(t *testing.T, s *Stack, _ string) {
	first := shared(t)
	before := first.starts(t)
	var words []string
	for _, key := range listeners {
		s.set(t, "listen."+key, fmt.Sprint(first.port(key)))
		defer s.set(t, "listen."+key, fmt.Sprint(s.port(key)))
		words = append(words, fmt.Sprintf("127.0.0.1:%d is taken by", first.port(key)), "`"+key+"`")
	}
	r := s.run(t, "up")
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("the refusal does not say %q", word)
		}
	}
	if r.code != 1 || first.starts(t) != before {
		t.Errorf("ports of another stack: %v", r)
	}
}

func testOtherAddress(t *testing.T, s *Stack, _ string) {
	s.set(t, "listen.address", `["192.0.2.77"]`)
	defer s.set(t, "listen.address", `["127.0.0.1", "::1"]`)
	r := s.run(t, "up")
	if r.code != 1 || !strings.Contains(r.stderr, "192.0.2.77 is not one of this host's") || !strings.Contains(r.stderr, "`address`") {
		t.Errorf("an address of another host: %v", r)
	}
}

func testNoEngine(t *testing.T, s *Stack, _ string) {
	dead := filepath.Join(s.dir, "docker.sock")
	for _, c := range []struct{ host, words string }{
		{"unix://" + dead, "Docker is not running"},
		{"tcp://127.0.0.1:1", "unset DOCKER_HOST"},
	} {
		for _, command := range []string{"up", "status", "plan", "down"} {
			r := program(t.Context(), nil, "env", "DOCKER_HOST="+c.host, os.Getenv(binaryVar), command, "--config", s.config())
			r.expectRefusal(t, 1, c.host, c.words)
		}
	}
	// A socket file that nobody listens on any more.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	r := program(t.Context(), nil, "env", "DOCKER_HOST=unix://"+dead, os.Getenv(binaryVar), "up", "--config", s.config())
	r.expectRefusal(t, 1, dead, "Docker is not running")
}

func testForeignContainer(t *testing.T, s *Stack, image string) {
	name := s.container("postfix")
	docker(t, "create", "--name", name, image)
	defer docker(t, "rm", "-f", name)
	s.refuse(t, 1, []string{"container " + name, "was not made for this stack", "`name`"}, "up")
	if r := s.run(t, "down", "--purge", "--yes"); r.code != 0 {
		t.Errorf("down: %v", r)
	}
	docker(t, "inspect", name) // down leaves it alone
}

func testForeignNetwork(t *testing.T, s *Stack, _ string) {
	name := s.container("dovecot")
	docker(t, "network", "create", name)
	defer docker(t, "network", "rm", name)
	s.refuse(t, 1, []string{"network " + name, "was not made for this stack"}, "up")
}

func testForeignFiles(t *testing.T, s *Stack, _ string) {
	dir := s.layout().Volume("vmail")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s.refuse(t, 1, []string{dir, "holds files but no mark of this stack"}, "up")
	s.refuse(t, 1, []string{dir}, "up", "--init-volume", "vmail")
	if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
		t.Error(err)
	}
}

func testBadHostname(t *testing.T, s *Stack, _ string) {
	defer s.set(t, "hostname", quote(s.hostname()))
	for _, bad := range []string{"mail", "192.0.2.1", "mail_host.example.org", "-mail.example.org", "mail.example.org.", "", "mäil..example.org"} {
		s.set(t, "hostname", quote(bad))
		s.refuse(t, 2, []string{"mailstack.toml:", quote(bad), "not a host name"}, "up")
	}
}

func testDiskFull(t *testing.T, s *Stack, _ string) {
	dir := filepath.Join(s.dir, "small")
	mountTmpfs(t, dir, "size=64m")
	s.set(t, "data.dir", quote(filepath.Join(dir, "data")))
	defer s.set(t, "data.dir", quote(s.data()))
	s.refuse(t, 1, []string{dir, "nearly full", "[data]"}, "up")
}

func testLockHeld(t *testing.T, s *Stack, _ string) { s.refusesLocked(t, "up", "down") }

// refusesLocked: no command goes on while another one holds the stack's lock.
func (s *Stack) refusesLocked(t *testing.T, commands ...string) {
	t.Helper()
	unlock, err := stack.Lock(s.layout(), "migrate", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for _, command := range commands {
		s.refuse(t, 1, []string{fmt.Sprintf("is held by mailstack migrate (process %d, since ", os.Getpid()), "wait"}, command)
	}
}

// mountTmpfs mounts a file system of its own on a new directory.
func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount %s: %v: %s", dir, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil && !strings.Contains(string(out), "not mounted") {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
}

// mysql, mysql_socket and vmail each on a file system of its own: it works,
// survives a reboot's order of things, and a disk that is not there is not
// taken for a fresh one.
func TestThreeFileSystems(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	paths := map[string]string{"mysql": "db", "mysql_socket": "sock", "vmail": "mail"}
	for key, name := range paths {
		dir := filepath.Join(s.dir, name)
		paths[key] = dir
		mountTmpfs(t, dir, "size=256m,mode=700")
		s.set(t, "data."+key, quote(dir))
	}
	if err := os.Mkdir(filepath.Join(paths["mysql"], "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.upGreen(t)
	for key, dir := range paths {
		if _, err := os.Stat(filepath.Join(dir, stack.MarkName)); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, unused := range []string{"mysql", "socket/mysql", "vmail"} {
		if _, err := os.Stat(filepath.Join(s.data(), unused)); err == nil {
			t.Errorf("%s is also below data.dir", unused)
		}
	}
	address, password := s.account(t)
	subject := s.deliver(t, "stranger@elsewhere.example", address)
	s.waitMail(t, address, password, "INBOX", subject)
	s.mustRun(t, "down")

	aside := filepath.Join(s.dir, "aside")
	if err := os.Mkdir(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"vmail", "mysql_socket"} {
		move(t, paths[key], aside)
		s.refuse(t, 1, []string{paths[key], "is its disk mounted"}, "up")
		move(t, aside, paths[key])
	}
	s.upGreen(t)
	s.waitMail(t, address, password, "INBOX", subject)
	s.mustRun(t, "down", "--purge", "--yes")
	for key, dir := range paths {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 1 || len(left) == 1 && left[0].Name() != "lost+found" {
			t.Errorf("down --purge leaves %v of %s (%v)", left, key, err)
		}
	}
}

// move takes a file system off one directory and puts it on another.
func move(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("mount", "--move", from, to).CombinedOutput(); err != nil {
		t.Fatalf("mount --move %s %s: %v: %s", from, to, err, out)
	}
}
