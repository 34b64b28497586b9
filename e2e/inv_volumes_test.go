package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// background is mailstack under way.
type background struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer // to be read when it is done
	stderr *lineBuffer
	done   chan struct{}
}

// start begins a mailstack command; what it prints is watched line by line. What it
// leaves of ssh when it is killed is in the stack's directory.
func (s *Stack) start(t *testing.T, onLine func(line string), args ...string) *background {
	t.Helper()
	b := &background{stderr: &lineBuffer{onLine: onLine}, done: make(chan struct{})}
	b.cmd = exec.Command(os.Getenv(binaryVar), append(args, "--config", s.config())...)
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, b.stderr
	b.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.dir)
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // may have ended
		<-b.done
	})
	return b
}

// lineBuffer hands on whole lines.
type lineBuffer struct {
	onLine func(line string)
	part   string

	mu  sync.Mutex
	all strings.Builder
}

func (l *lineBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *lineBuffer) Write(data []byte) (int, error) {
	l.mu.Lock()
	l.all.Write(data)
	l.mu.Unlock()
	l.part += string(data)
	for {
		line, rest, whole := strings.Cut(l.part, "\n")
		if !whole {
			return len(data), nil
		}
		l.part = rest
		l.onLine(line)
	}
}

// Invariant 5. The steps build on each other, as the days of a server do.
func TestVolumesAreNeverTakenForGranted(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.testInterruptedInit(t)
	address, password := s.account(t)
	subject := s.deliver(t, "stranger@elsewhere.example", address)
	s.waitMail(t, address, password, "INBOX", subject)

	for _, v := range []struct{ name, service string }{{"vmail", "dovecot"}, {"mysql", "mysql"}, {"queue", "postfix"}, {"valkey", "valkey"}} {
		s.testDiskNotMounted(t, v.name, v.service)
	}
	s.up(t, "--no-probe")
	s.waitMail(t, address, password, "INBOX", subject)
	s.refuse(t, 1, []string{"vmail", "is complete"}, "up", "--init-volume", "vmail")
	s.refuse(t, 1, []string{`no volume "mail"`, "vmail"}, "up", "--init-volume", "mail")
	s.testForeignMark(t)
	s.testLostContent(t, address, password)
	s.testFreshDatabase(t)
}

// testInterruptedInit kills up, the process, while the database is being made.
func (s *Stack) testInterruptedInit(t *testing.T) {
	t.Helper()
	b := s.start(t, func(string) {}, "up", "--no-probe")
	init := s.container("mysql") + "-init"
	waitUntil(t, 2*time.Minute, init+" runs", func() (bool, string) {
		r := tryDocker(t, "inspect", "--format", "{{.State.Status}}", init)
		return strings.TrimSpace(r.stdout) == "running", r.stdout + b.stderr.String()
	})
	if err := b.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.done
	if _, err := os.Stat(s.layout().IDFile()); err == nil {
		t.Fatal("up had completed: nothing was interrupted")
	}
	if left, _ := filepath.Glob(s.layout().Volume("mysql") + "/data.tmp-*"); len(left) != 1 {
		t.Errorf("no interrupted initialisation: %v", left)
	}
	s.upGreen(t)
	if left, _ := filepath.Glob(s.data() + "/*/*.tmp-*"); len(left) > 0 {
		t.Errorf("leftovers: %v", left)
	}
	if out := docker(t, "ps", "-a", "--format", "{{.Names}}", "--filter", "name="+s.name+"-"); strings.Contains(out, "-init") {
		t.Errorf("leftovers: %s", out)
	}
}

// testDiskNotMounted replaces a volume by the empty directory that a disk
// leaves when it is not mounted.
func (s *Stack) testDiskNotMounted(t *testing.T, volume, service string) {
	t.Helper()
	dir, container := s.layout().Volume(volume), s.container(service)
	docker(t, "stop", "-t", "10", container)
	if err := os.Rename(dir, dir+".mounted"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{dir, "is its disk mounted", "--init-volume " + volume}, "up")
	s.refuse(t, 1, []string{dir}, "plan")
	// The engine itself, as after a reboot: no container starts empty.
	for _, command := range []string{"start", "restart"} {
		if r := tryDocker(t, command, container); r.code == 0 {
			t.Errorf("%s: docker %s starts the container without its volume", volume, command)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("something was made in %s: %v %v", dir, left, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{dir, "is its disk mounted"}, "up")
	if err := os.WriteFile(filepath.Join(dir, "holiday.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{dir, "holiday.jpg"}, "up", "--init-volume", volume)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".mounted", dir); err != nil {
		t.Fatal(err)
	}
}

// testForeignMark gives a volume the mark of another stack.
func (s *Stack) testForeignMark(t *testing.T) {
	t.Helper()
	file := filepath.Join(s.layout().Volume("vmail"), ".mailstack-volume")
	mark, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile(s.layout().IDFile())
	if err != nil {
		t.Fatal(err)
	}
	own := strings.TrimSpace(string(id))
	other := strings.Repeat("a", len(own))
	write := func(data string) {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(mark), own, other, 1))
	s.refuse(t, 1, []string{filepath.Dir(file), other}, "up")
	s.refuse(t, 1, []string{filepath.Dir(file), other}, "up", "--init-volume", "vmail")
	write("{")
	s.refuse(t, 1, []string{filepath.Dir(file)}, "up")
	write(string(mark))
	if out := s.up(t, "--no-probe").stdout; !strings.Contains(out, "nothing to do") {
		t.Errorf("with the mark back, up says %q", out)
	}
}

// testLostContent: the disk is really gone, and a person says so.
func (s *Stack) testLostContent(t *testing.T, address, password string) {
	t.Helper()
	dir := s.layout().Volume("vmail")
	docker(t, "stop", "-t", "10", s.container("dovecot"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.refuse(t, 1, []string{dir}, "up")
	s.upGreen(t, "--init-volume", "vmail")
	if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
		t.Error(err)
	}
	s.waitMail(t, address, password, "INBOX", s.deliver(t, "stranger@elsewhere.example", address))
}

// testFreshDatabase: a database that has just been made answers, and knows
// nobody. It says so to nobody: the services' users are made last.
func (s *Stack) testFreshDatabase(t *testing.T) {
	t.Helper()
	tr := newTraffic(t, s) // who has not logged in yet, so no answer is cached
	docker(t, "stop", "-t", "10", s.container("mysql"))
	if err := os.RemoveAll(s.layout().Volume("mysql")); err != nil {
		t.Fatal(err)
	}
	const answers, filled = "  wait     mysql", "  update   database"
	var b *background
	b = s.start(t, func(line string) {
		if strings.HasPrefix(line, "✓") && strings.Contains(line, answers) {
			_ = b.cmd.Process.Kill() // may have ended, which is seen below
		}
	}, "up", "--no-probe", "--init-volume", "mysql")
	<-b.done
	for line := range strings.Lines(b.stderr.String()) {
		if strings.HasPrefix(line, "✓") && strings.Contains(line, filled) {
			t.Fatalf("the database was complete: nothing was interrupted: %s", b.stderr)
		}
	}
	s.ready(t, "mysql")
	for _, a := range attempts {
		if answer, err := a.do(tr, t); err != nil || !a.temp(answer) {
			t.Errorf("with a database that knows nobody, %s: %q (%v)", a.what, answer, err)
		}
	}
	s.up(t, "--no-probe")
}
