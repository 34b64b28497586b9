package e2e

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketAttacks are everything that would take a socket away from those who use
// it, with the system calls themselves. The last two remove it where nothing
// stops them.
func socketAttacks(socket string) []attack {
	at := fmt.Sprintf("my $socket = %q; my $dir = %q; my $n = \"$dir/.attack-$$\"; ", "/socket/"+socket, "/socket/"+path.Dir(socket))
	const listen = `socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un("$n.s"))`
	const connect = `socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, pack_sockaddr_un($socket))`
	const none = `my $none = "none"; `
	return []attack{
		{"connect", at + connect, []string{"ok"}},
		{"create", at + `open(my $f, ">", $n)`, readOnly},
		{"mkdir", at + `mkdir("$n.d")`, readOnly},
		{"listen", at + listen, readOnly},
		{"chmod", at + `chmod(0777, $socket)`, readOnly},
		{"chmod of the directory", at + `chmod(0777, $dir)`, readOnly},
		{"chown", at + `chown(0, 0, $socket)`, readOnly},
		{"link", at + `link($socket, "$n.l")`, readOnly},
		{"symlink", at + `symlink("/tmp", "$n.y")`, readOnly},
		{"remount", at + none + systemCall(unix.SYS_MOUNT, "$none", "$dir", "$none", fmt.Sprint(unix.MS_BIND|unix.MS_REMOUNT)), noRight},
		{"unmount", at + systemCall(unix.SYS_UMOUNT2, "$dir", "2"), noRight},
		{"rename", at + `rename($socket, "$n.r")`, readOnly},
		{"unlink", at + `unlink($socket)`, readOnly},
	}
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
	if len(edges) < 9 {
		t.Fatalf("the graph has only the edges %v", edges)
	}
	return edges
}

// Invariant 1: root in a consumer, or a user of the service, can connect to a
// socket, and do nothing else to it or to its directory. For root the answer is
// that the file system is read-only, whatever else it may do.
func TestSocketsAreReadOnly(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, edge := range s.edges(t) {
		s.attackSocket(t, edge[0], edge[1])
	}
	s.probe(t, "--only", "sockets")
}

// attackSocket tries everything on a socket from a consumer's container, as each
// of its users.
func (s *Stack) attackSocket(t *testing.T, consumer, socket string) {
	for _, user := range []string{"0", ownUser[consumer]} {
		attacks := socketAttacks(socket)
		for i := range attacks {
			if user == "0" && slices.Contains(attacks[i].refused, "EROFS") {
				attacks[i].refused = []string{"EROFS"}
			}
		}
		t.Run(consumer+" as "+user+"/"+socket, func(t *testing.T) { s.attackAs(t, consumer, user, attacks) })
	}
}

// ownUser is whom the daemons run as that use the sockets of others.
var ownUser = map[string]string{"dovecot": "5303", "postfix": "5305", "filter": "5307"}

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
	for _, check := range []string{"sockets.dovecot.mysql/mysqld.sock", "sockets.dovecot.postfix/submit", "sockets.dovecot.filter/learn"} {
		if !strings.HasPrefix(red[check], "critical") {
			t.Errorf("%s is not red although the directory is writable: %v", check, red)
		}
	}
	if len(red) != 3 {
		t.Errorf("red checks: %v, want the three of dovecot", red)
	}
	var status struct{ Status string }
	if err := json.Unmarshal([]byte(s.mustRun(t, "status", "--format", "json")), &status); err != nil || status.Status != "critical" {
		t.Errorf("status is %q (%v) although a socket directory is writable", status.Status, err)
	}
	if answers := s.try(t, "dovecot", "0", socketAttacks("postfix/submit")); slices.Contains(answers, "EROFS") {
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
