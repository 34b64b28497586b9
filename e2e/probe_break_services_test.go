package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestProbeSeesBrokenServices: something is down, full, frozen, or somebody
// else's.
func TestProbeSeesBrokenServices(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	for _, volume := range []string{"queue", "vmail"} {
		mountTmpfs(t, s.disk(volume), "size=256m,mode=755")
		s.set(t, "data."+volume, quote(s.disk(volume)))
	}
	s.set(t, "limits.message_size", `"2MiB"`) // Postfix wants room for one and a half of them
	s.up(t, "--no-probe")
	s.testBreakages(t, []breakage{
		{
			name:  "the database is stopped",
			do:    allOf(forgetful, stopped("mysql")),
			lines: 80,
			want: map[string]finding{
				loginPorts + " " + delivered:      {"critical", "backend down", "probably because of mysql (exited"},
				dovecotNo + " refusal.submission": {"critical", "backend down", "`mailstack up` starts it"},
				"refusal.smtp":                    {"unknown", "smuggling: not run: no message is taken now: 451", ""},
				"mysql.query":                     {"critical", "the database is not running", "probably because of mysql"},
				"mysql.rights mailboxes":          {"unknown", "the database is not running", "mailstack up"},
				"containers":                      {"critical", "mysql: container not as it must be: exited", "`mailstack logs mysql` says why; `mailstack up` starts it"},
				"sockets.dovecot.mysql/mysqld.sock sockets.postfix.mysql/mysqld.sock": {"critical", "it does not exist", "mysql, which listens there, does not run"},
			},
		},
		{
			name: "the database is frozen",
			do:   allOf(forgetful, frozen("mysql")),
			wait: "10s",
			may:  "mysql.rights mailboxes sockets.dovecot.mysql/mysqld.sock sockets.postfix.mysql/mysqld.sock", // the kernel takes so many connections and no more
			want: map[string]finding{
				loginPorts + " " + delivered:      {"critical", "backend down", "probably because of mysql (paused)"},
				dovecotNo + " refusal.submission": {"critical", "backend down", ""},
				"refusal.smtp":                    {"unknown", "no message is taken now: 451", ""},
				"mysql.query":                     {"critical", "answer", "probably because of mysql (paused)"},
				"containers":                      {"critical", "mysql: container not as it must be: paused", "`mailstack up` starts it"},
			},
		},
		{
			name:  "Dovecot is stopped",
			do:    stopped("dovecot"),
			lines: 90,
			want: map[string]finding{
				dovecotPorts + " " + dovecotNo + " " + dovecotCerts:      {"critical", "connect: connection refused", "probably because of dovecot (exited"},
				"submission submissions refusal.submission " + delivered: {"critical", "backend down: 45", "probably because of dovecot (exited"},
				"refusal.smtp": {"unknown", "The mail store is away", ""},
				"containers":   {"critical", "dovecot: container not as it must be: exited", "`mailstack logs dovecot`"},
				dovecotSockets: {"unknown", "Container is not running", "is it running?"},
				"sockets.postfix.dovecot/auth sockets.postfix.dovecot/lmtp sockets.postfix.dovecot/quota-status": {"critical", "socket not as it must be", "dovecot, which listens there,"},
			},
		},
		{
			name: "Dovecot is frozen",
			long: true,
			do:   frozen("dovecot"),
			wait: "15s",
			may:  "sockets.postfix.dovecot/auth sockets.postfix.dovecot/lmtp sockets.postfix.dovecot/quota-status",
			want: map[string]finding{
				dovecotPorts + " " + dovecotNo + " " + dovecotCerts:      {"critical", "no answer in time", "probably because of dovecot (paused)"},
				"submission submissions refusal.submission " + delivered: {"critical", "", "probably because of dovecot (paused)"},
				"refusal.smtp": {"unknown", "The mail store is away", ""},
				"containers":   {"critical", "dovecot: container not as it must be: paused", "`mailstack up` starts it"},
				dovecotSockets: {"unknown", "is paused", "is it running?"},
			},
		},
		{
			name: "Postfix is frozen",
			long: true,
			do:   frozen("postfix"),
			wait: "15s",
			may:  "sockets.dovecot.postfix/submit",
			want: map[string]finding{
				postfixPorts + " " + postfixCerts + " refusal.smtp refusal.submission source-address " + delivered: {"critical", "no answer in time", "probably because of postfix (paused)"},
				"queue":        {"unknown", "is paused", "is Postfix running?"},
				"containers":   {"critical", "postfix: container not as it must be: paused", "`mailstack up` starts it"},
				postfixSockets: {"unknown", "is paused", "is it running?"},
			},
		},
		{
			name:  "Postfix is stopped",
			do:    stopped("postfix"),
			lines: 75,
			want: map[string]finding{
				postfixPorts + " " + postfixCerts + " refusal.smtp refusal.submission source-address " + delivered: {"critical", "connect: connection refused", "probably because of postfix (exited"},
				"queue":                          {"unknown", "Container is not running", "is Postfix running?"},
				"containers":                     {"critical", "postfix: container not as it must be: exited", "`mailstack logs postfix`"},
				"sockets.dovecot.postfix/submit": {"critical", "socket not as it must be", "postfix, which listens there,"},
				postfixSockets:                   {"unknown", "Container is not running", "is it running?"},
			},
		},
		{
			name:  "the filter is stopped",
			do:    stopped("filter"),
			lines: 70,
			// Of Postfix's sessions nothing works, not even STARTTLS: a filter that is to
			// see all of a session cannot see its beginning.
			want: map[string]finding{
				postfixPorts + " refusal.smtp refusal.submission " + delivered: {"critical", "backend down: 454 4.3.0", "probably because of filter (exited"},
				"cert.smtp cert.submission":                                    {"critical", "backend down: 454 4.3.0", ""},
				"source-address":                                               {"unknown", "451 4.7.1", ""},
				"containers":                                                   {"critical", "filter: container not as it must be: exited", "`mailstack logs filter`"},

				"sockets.postfix.filter/milter sockets.dovecot.filter/learn": {"critical", "socket not as it must be", "filter, which listens there,"},
				"sockets.filter.valkey/valkey.sock":                          {"unknown", "Container is not running", "is it running?"},
			},
		},
		{
			name: "what the filter remembers with is stopped",
			do:   stopped("valkey"),
			want: map[string]finding{
				"containers":                        {"critical", "valkey: container not as it must be: exited", "`mailstack logs valkey`"},
				"sockets.filter.valkey/valkey.sock": {"critical", "socket not as it must be", "valkey, which listens there,"},
			},
		},
		{
			name: "something else has a port of Dovecot's, which cannot start",
			do:   squatted,
			want: map[string]finding{
				"imap": {"critical", `not the protocol: banner "220 I am no IMAP server"`, "find it with `ss -ltnp`"},
				"refusal.imap cert.imap imaps cert.imaps pop3 cert.pop3 pop3s cert.pop3s managesieve cert.managesieve refusal.pop3 refusal.managesieve": {"critical", "", ""},
				"submission submissions refusal.submission " + delivered:                                                                                {"critical", "backend down", "probably because of dovecot"},
				"refusal.smtp": {"unknown", "The mail store is away", ""},
				"containers":   {"critical", "address already in use", "`mailstack up` starts it"},
				dovecotSockets: {"unknown", "is not running", ""},
				"sockets.postfix.dovecot/auth sockets.postfix.dovecot/lmtp sockets.postfix.dovecot/quota-status": {"critical", "socket not as it must be", ""},
			},
		},
		{
			name: "Dovecot ends again and again",
			do:   crashing,
			want: map[string]finding{"containers": {"warning", "dovecot: restarted by the engine: 3 times, the last", "`mailstack logs dovecot` says why it ended"}},
		},
		{
			name: "Postfix is unhealthy",
			do:   unhealthy,
			want: map[string]finding{"containers": {"critical", "postfix: container not as it must be: unhealthy: smtp on port 25: no answer", "`mailstack up` restarts it"}},
		},
		{
			name: "a socket directory is writable where it is used",
			do: func(t *testing.T, s *Stack) func() {
				s.recreate(t, "dovecot", mountWritable)
				s.ready(t, "dovecot")
				return byUp(t, s)
			},
			want: map[string]finding{
				dovecotSockets: {"critical", "its directory is mounted rw in dovecot, must be ro", "`mailstack up` recreates"},
			},
		},
		{
			name: "a socket was removed",
			do: func(t *testing.T, s *Stack) func() {
				if err := os.Remove(s.layout().Socket("dovecot", "quota-status")); err != nil {
					t.Fatal(err)
				}
				return func() { docker(t, "restart", "-t", "10", s.container("dovecot")) }
			},
			may: "refusal.smtp refusal.submission", // an smtpd may still have the connection
			want: map[string]finding{
				"sockets.postfix.dovecot/quota-status": {"critical", "it does not exist", "a restart of its container makes the socket anew"},
				delivered:                              {"critical", "backend down: 451 4.3.5", ""},
			},
		},
		{
			name: "the queue's disk is full",
			do:   filled("queue"),
			want: map[string]finding{
				delivered:                     {"critical", "no room: 452 4.3.1 Insufficient system storage", "`mailstack status` shows the disks"},
				"refusal.smtp source-address": {"unknown", "452 4.3.1 Insufficient system storage", ""},
				"refusal.submission":          {"unknown", "author: not run: no message is taken now: 452 4.3.1", ""},
				"disk":                        {"critical", "MB free for queue", "make room there"},
			},
		},
		{
			name: "the disk of the mail is full",
			do:   filled("vmail"),
			wait: "10s",
			want: map[string]finding{
				"imap imaps pop3 pop3s refusal.imap refusal.pop3 " + delivered: {"critical", "backend down", "probably because of the disk of vmail"},
				"disk": {"critical", "MB free for vmail", "make room there"},
			},
		},
	})
}

// disk is where a volume on a disk of its own is.
func (s *Stack) disk(volume string) string { return filepath.Join(s.dir, volume) }

// forgetful makes Dovecot look up everybody again.
func forgetful(t *testing.T, s *Stack) func() {
	t.Helper()
	if out, code := s.exec(t, "dovecot", "doveadm", "auth", "cache", "flush"); code != 0 {
		t.Fatalf("flush: %s", out)
	}
	return func() {}
}

func stopped(service string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		docker(t, "stop", "-t", "10", s.container(service))
		return byUp(t, s)
	}
}

func frozen(service string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		waitUntil(t, bounded, service+" is paused", func() (bool, string) {
			r := tryDocker(t, "pause", s.container(service)) // a busy kernel may be "unable to freeze"
			return r.code == 0, r.stderr
		})
		return byUp(t, s)
	}
}

// squatted gives Dovecot's IMAP port to somebody else while Dovecot is away.
func squatted(t *testing.T, s *Stack) func() {
	t.Helper()
	docker(t, "stop", "-t", "10", s.container("dovecot"))
	var squatters []net.Listener
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(s.port("imap"))))
		if err != nil {
			t.Fatal(err)
		}
		squatters = append(squatters, l)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("220 I am no IMAP server\r\n"))
				_ = conn.(*net.TCPConn).CloseWrite()
			}
		}()
	}
	if r := tryDocker(t, "start", s.container("dovecot")); r.code == 0 {
		t.Error("Dovecot starts although its port is taken")
	}
	return func() {
		for _, l := range squatters {
			l.Close()
		}
		s.up(t, "--no-probe")
	}
}

// crashing kills Dovecot's first process three times; the engine starts it again.
func crashing(t *testing.T, s *Stack) func() {
	t.Helper()
	for n := range 3 {
		if err := syscall.Kill(inspect(t, s.container("dovecot")).State.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, bounded, "another start of Dovecot", func() (bool, string) {
			now := docker(t, "inspect", "--format", "{{.RestartCount}} {{.State.Status}}", s.container("dovecot"))
			return now == fmt.Sprint(n+1, " running"), now
		})
	}
	s.ready(t, "dovecot")
	return func() { docker(t, "restart", "-t", "10", s.container("dovecot")) } // counts anew
}

// unhealthy gives Postfix a health check that fails.
func unhealthy(t *testing.T, s *Stack) func() {
	t.Helper()
	s.recreate(t, "postfix", func(config map[string]any) {
		config["Healthcheck"] = map[string]any{
			"Test": []string{"CMD-SHELL", "echo smtp on port 25: no answer; exit 1"}, "Interval": time.Second, "Timeout": time.Second, "Retries": 1,
		}
	})
	waitUntil(t, bounded, "Postfix is unhealthy", func() (bool, string) {
		health := docker(t, "inspect", "--format", "{{.State.Health.Status}}", s.container("postfix"))
		return health == "unhealthy", health
	})
	s.ready(t, "postfix")
	return func() {
		docker(t, "rm", "-f", s.container("postfix"))
		s.up(t, "--no-probe")
	}
}

// filled makes the disk of a volume as large as what is on it, nearly.
func filled(volume string) func(t *testing.T, s *Stack) func() {
	return func(t *testing.T, s *Stack) func() {
		t.Helper()
		dir := s.disk(volume)
		resize := func(size string) {
			if out, err := exec.Command("mount", "-o", "remount,size="+size, dir).CombinedOutput(); err != nil {
				t.Fatalf("resize %s: %v: %s", dir, err, out)
			}
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		used := int64(st.Blocks-st.Bfree) * st.Bsize
		resize(fmt.Sprint(used + 1<<20))
		filler := filepath.Join(dir, "filler")
		if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
			t.Errorf("%s is not full", dir)
		}
		return func() {
			if err := os.Remove(filler); err != nil {
				t.Error(err)
			}
			resize("256m")
		}
	}
}
