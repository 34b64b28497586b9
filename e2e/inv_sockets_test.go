package e2e

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// attack tries, as root and with the system calls themselves, everything that
// would take a socket away from those who use it. One line for each attempt:
// its name and "ok" or the name of the error.
const attack = `
use strict; use warnings; use Errno; use Socket;
my $socket = shift; my ($dir) = $socket =~ m{^(.+)/};
sub answer {
	my ($what, $done) = @_;
	my ($name) = grep { $!{$_} } qw(EROFS EPERM EACCES ENOENT EEXIST EBUSY EINVAL ECONNREFUSED);
	print "$what ", $done ? "ok" : $name // "errno " . ($! + 0), "\n";
}
my $n = "$dir/.attack-$$";
answer("connect", do { socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un($socket)) });
answer("create", open(my $f, ">", $n));
answer("mkdir", mkdir("$n.d"));
answer("listen", do { socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("$n.s")) });
answer("chmod", chmod(0777, $socket));
answer("chmod-dir", chmod(0777, $dir));
answer("chown", chown(0, 0, $socket));
answer("link", link($socket, "$n.l"));
# mount(2) is 165 on amd64 and 40 on arm64; 0x1020 is MS_BIND|MS_REMOUNT.
my $mount = (POSIX::uname())[4] eq "aarch64" ? 40 : 165;
my $none = "none";
answer("remount", syscall($mount, $none, $dir, $none, 0x1020, 0) == 0);
answer("umount", syscall($mount == 40 ? 39 : 166, $dir, 2) == 0);
answer("rename", rename($socket, "$n.r"));
answer("unlink", unlink($socket));
`

// attackSocket runs the attack in a consumer's container.
func (s *Stack) attackSocket(t *testing.T, consumer, socket string) map[string]string {
	t.Helper()
	out, code := s.exec(t, consumer, "perl", "-MPOSIX", "-e", attack, "/socket/"+socket)
	if code != 0 {
		t.Fatalf("attack on %s from %s: status %d: %s", socket, consumer, code, out)
	}
	answers := map[string]string{}
	for line := range strings.Lines(out) {
		what, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
		answers[what] = answer
	}
	if len(answers) != 12 {
		t.Fatalf("attack on %s from %s: %s", socket, consumer, out)
	}
	return answers
}

// edges are the pairs of consumer and socket, as the program lists them.
func (s *Stack) edges(t *testing.T) (edges [][2]string) {
	t.Helper()
	var sockets []struct {
		Socket   string
		Connects []string
	}
	if err := json.Unmarshal([]byte(s.mustRun(t, "socket", "list", "--format", "json")), &sockets); err != nil {
		t.Fatal(err)
	}
	for _, socket := range sockets {
		for _, consumer := range socket.Connects {
			edges = append(edges, [2]string{consumer, socket.Socket})
		}
	}
	if len(edges) < 6 {
		t.Fatalf("the graph has only the edges %v", edges)
	}
	return edges
}

// Invariant 1: root in a consumer can connect to a socket, and do nothing else
// to it or to its directory.
func TestSocketsAreReadOnly(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, edge := range s.edges(t) {
		consumer, socket := edge[0], edge[1]
		for what, answer := range s.attackSocket(t, consumer, socket) {
			want := []string{"EROFS"}
			switch what {
			case "connect":
				want = []string{"ok"}
			case "remount", "umount":
				want = []string{"EPERM", "EACCES"}
			}
			if !slices.Contains(want, answer) {
				t.Errorf("%s of %s from %s answers %s, want %v", what, socket, consumer, answer, want)
			}
		}
	}
	s.probe(t, "--only", "sockets")
}

// mountWritable is a change for recreate: the other services' socket
// directories become writable.
func mountWritable(config map[string]any) {
	for _, m := range config["HostConfig"].(map[string]any)["Mounts"].([]any) {
		mount := m.(map[string]any)
		if target, _ := mount["Target"].(string); path.Dir(target) == "/socket" {
			mount["ReadOnly"] = false
		}
	}
}

// A container that somebody made anew by hand, with its sockets writable, turns
// probe and status red, and up replaces it. The attack shows that the test for
// the invariant can fail.
func (s *Stack) testWritableSocket(t *testing.T) {
	s.recreate(t, "dovecot", mountWritable)
	s.ready(t, "dovecot")
	red := s.probe(t, "--only", "sockets").red()
	for _, check := range []string{"sockets.dovecot.mysql/mysqld.sock", "sockets.dovecot.postfix/submit"} {
		if !strings.HasPrefix(red[check], "critical") {
			t.Errorf("%s is not red although the directory is writable: %v", check, red)
		}
	}
	if len(red) != 2 {
		t.Errorf("red checks: %v, want the two of dovecot", red)
	}
	var status struct{ Status string }
	if err := json.Unmarshal([]byte(s.mustRun(t, "status", "--format", "json")), &status); err != nil || status.Status != "critical" {
		t.Errorf("status is %q (%v) although a socket directory is writable", status.Status, err)
	}
	answers := s.attackSocket(t, "dovecot", "postfix/submit")
	if answers["unlink"] == "EROFS" || answers["create"] == "EROFS" {
		t.Errorf("the attack sees no difference: %v", answers)
	}
	docker(t, "restart", s.container("postfix")) // the attack removed its socket
	if r := s.up(t, "--no-probe"); !strings.Contains(r.stderr, "is writable in it") {
		t.Errorf("up does not say that it replaces a container whose sockets are writable: %v", r)
	}
	s.healed(t, bounded, "the container was made as planned again")
}

// bounded is a wait that a healthy stack never needs.
const bounded = 30 * time.Second
