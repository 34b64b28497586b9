package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An attack is something that whoever took over a service would try next.
type attack struct {
	name    string
	perl    string   // true where it worked
	refused []string // the errors that refuse it
}

// The errors that mean no. A read-only file system answers before permissions
// are looked at in most calls, and after them in some.
var (
	noRight  = []string{"EPERM", "EACCES"}
	readOnly = []string{"EROFS", "EACCES", "EPERM"}
	absent   = []string{"ENOENT"}
	nobody   = []string{"ESRCH", "EPERM"}
	noAnswer = []string{"ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"}
)

// systemCall is a system call for Perl that works where it does not answer -1. The
// first arguments are numbers or strings, as the kernel wants them.
func systemCall(number int, args ...string) string {
	var given []string
	for _, a := range append(args, make([]string, 6-len(args))...) {
		if a == "" {
			a = "0"
		}
		given = append(given, a)
	}
	return fmt.Sprintf("syscall(%d, %s) != -1", number, strings.Join(given, ", "))
}

// kernelAttacks are the same in every container and for every user: they ask the
// kernel for what would lead out of the container.
func kernelAttacks() []attack {
	const dir, tmpfs, root = `my $d = "/run"`, `my $t = "tmpfs"`, `my $r = "/"`
	const zero = `my $z = "\0" x 256`
	return []attack{
		{"raw socket", `socket(my $s, AF_INET, SOCK_RAW, 1)`, noRight},
		{"packet socket", `socket(my $s, 17, SOCK_RAW, 768)`, noRight},
		{"forwarding rules", `my $s; socket($s, AF_INET, SOCK_RAW, 255) && setsockopt($s, 0, 64, "x" x 84)`, noRight},
		{"interface down", `do { socket(my $s, AF_INET, SOCK_DGRAM, 0); my $i = pack("a16 s x22", "lo", 0); ioctl($s, 0x8914, $i) }`, noRight},
		{"mount tmpfs", tmpfs + ";" + dir + ";" + systemCall(unix.SYS_MOUNT, "$t", "$d", "$t"), noRight},
		{"mount proc", `my $p = "proc";` + dir + ";" + systemCall(unix.SYS_MOUNT, "$p", "$d", "$p"), noRight},
		{"mount cgroup", `my $p = "cgroup";` + dir + ";" + systemCall(unix.SYS_MOUNT, "$p", "$d", "$p"), noRight},
		{"bind mount", root + ";" + dir + ";" + systemCall(unix.SYS_MOUNT, "$r", "$d", "$r", fmt.Sprint(unix.MS_BIND)), noRight},
		{"remount root writable", root + ";" + systemCall(unix.SYS_MOUNT, "$r", "$r", "$r", fmt.Sprint(unix.MS_BIND|unix.MS_REMOUNT)), noRight},
		{"remount proc writable", `my $p = "/proc/sys";` + systemCall(unix.SYS_MOUNT, "$p", "$p", "$p", fmt.Sprint(unix.MS_BIND|unix.MS_REMOUNT)), noRight},
		{"unmount mask of proc", `my $p = "/proc/kcore";` + systemCall(unix.SYS_UMOUNT2, "$p", "2"), noRight},
		{"pivot root", root + ";" + systemCall(unix.SYS_PIVOT_ROOT, "$r", "$r"), noRight},
		{"chroot", `chroot("/tmp")`, append(noRight, absent...)},
		{"new mount namespace", systemCall(unix.SYS_UNSHARE, fmt.Sprint(unix.CLONE_NEWNS)), noRight},
		{"new user namespace", systemCall(unix.SYS_UNSHARE, fmt.Sprint(unix.CLONE_NEWUSER)), noRight},
		{"enter namespace", `do { open(my $n, "<", "/proc/self/ns/mnt"); ` + systemCall(unix.SYS_SETNS, "fileno $n") + ` }`, noRight},
		{"open by handle", `my $h = pack("I I Q", 8, 1, 2); ` + systemCall(unix.SYS_OPEN_BY_HANDLE_AT, "0", "$h"), noRight},
		{"make block device", `my $n = "/tmp/.attack";` + systemCall(unix.SYS_MKNODAT, "-100", "$n", fmt.Sprint(unix.S_IFBLK|0o600), "2049"), append(readOnly, absent...)},
		{"make memory device", `my $n = "/tmp/.attack";` + systemCall(unix.SYS_MKNODAT, "-100", "$n", fmt.Sprint(unix.S_IFCHR|0o600), "257"), append(readOnly, absent...)},
		{"open memory", `open(my $f, "<", "/dev/mem")`, absent},
		{"open kernel log", `open(my $f, "<", "/dev/kmsg")`, append(noRight, absent...)},
		{"read kernel log", zero + ";" + systemCall(unix.SYS_SYSLOG, "3", "$z", "256"), noRight},
		{"open kernel memory", `my ($f, $b); open($f, "<", "/proc/kcore") && sysread($f, $b, 1) || do { $! = 1; 0 }`, noRight},
		{"open disks", `do { my @d = grep { open(my $f, "<", $_) } glob("/dev/sd* /dev/vd* /dev/nvme* /dev/dm-* /dev/loop*"); $! = 2; @d > 0 }`, absent},
		{"load module", zero + ";" + systemCall(unix.SYS_INIT_MODULE, "$z", "256", "$z"), noRight},
		{"unload module", zero + ";" + systemCall(unix.SYS_DELETE_MODULE, "$z"), noRight},
		{"load kernel", systemCall(unix.SYS_KEXEC_LOAD), noRight},
		{"reboot", systemCall(unix.SYS_REBOOT), noRight},
		{"load bpf", zero + ";" + systemCall(unix.SYS_BPF, "5", "$z", "48"), noRight},
		{"watch events", zero + ";" + systemCall(unix.SYS_PERF_EVENT_OPEN, "$z", "-1", "0", "-1"), noRight},
		{"kernel keyring", systemCall(unix.SYS_KEYCTL, "0", "-3", "1"), noRight},
		{"page faults", systemCall(unix.SYS_USERFAULTFD), noRight},
		{"accounting file", `my $r = "/nowhere";` + systemCall(unix.SYS_ACCT, "$r"), noRight},
		{"swap file", root + ";" + systemCall(unix.SYS_SWAPON, "$r"), noRight},
		{"host name", root + ";" + systemCall(unix.SYS_SETHOSTNAME, "$r", "1"), noRight},
		{"clock", zero + ";" + systemCall(unix.SYS_CLOCK_SETTIME, "0", "$z"), noRight},
		{"priority", systemCall(unix.SYS_SETPRIORITY, "0", "0", "-20"), noRight},
		{"more files", `my $l = pack("QQ", 1 << 20, 1 << 20);` + systemCall(unix.SYS_PRLIMIT64, "0", "7", "$l"), noRight},
		{"more capabilities", `my $h = pack("II", 0x20080522, 0); my $c = pack("I6", 1 << 21, 1 << 21, 0, 0, 0, 0);` + systemCall(unix.SYS_CAPSET, "$h", "$c"), noRight},
		{"run from tmp", `my ($n, $f) = "/tmp/.attack-run"; open($f, ">", $n) && do { print $f "#!/bin/sh\n"; close $f; chmod 0755, $n; my $r = system($n) == 0; my $e = $! + 0; unlink $n; $! = $e; $r }`, append(readOnly, absent...)},
		{"socket of the engine", `do { socket(my $s, AF_UNIX, SOCK_STREAM, 0); grep { connect($s, pack_sockaddr_un($_)) } qw(/run/docker.sock /var/run/docker.sock /run/containerd/containerd.sock /run/podman/podman.sock) }`, absent},
		{"any file of /sys", `writable("/sys")`, readOnly},
		{"any file of /proc/sys", `writable("/proc/sys")`, readOnly},
		{"magic keys", `open(my $f, ">", "/proc/sysrq-trigger")`, append(readOnly, absent...)},
		{"interrupts", `do { my @w = grep { open(my $f, ">", $_) } glob("/proc/irq/*/smp_affinity /proc/bus/pci/*/*"); $! = 30 if !@w; @w > 0 }`, readOnly},
		{"core pattern", `open(my $f, ">", "/proc/sys/kernel/core_pattern")`, readOnly},
		{"release agent", `my $f; sysopen($f, "/sys/fs/cgroup/release_agent", O_WRONLY) || sysopen($f, "/sys/fs/cgroup/memory/release_agent", O_WRONLY)`, append(readOnly, absent...)},
		{"devices list", `sysopen(my $f, "/sys/fs/cgroup/devices/devices.allow", O_WRONLY)`, append(readOnly, absent...)},
		{"memory limit", `my $f; sysopen($f, "/sys/fs/cgroup/memory/memory.limit_in_bytes", O_WRONLY) || sysopen($f, "/sys/fs/cgroup/memory.max", O_WRONLY)`, append(readOnly, absent...)},
	}
}

// preamble are the parts that attacks share. dial waits two seconds for a TCP
// connection; writable opens every file of a tree for writing, and closes it.
const preamble = `
use strict; use warnings; no warnings qw(void once redefine); use Errno; use Socket; use Fcntl; use POSIX ();
sub answer {
	my ($what, $done) = @_;
	my ($name) = $done ? "ok" : grep { $!{$_} } qw(EROFS EPERM EACCES ENOENT EEXIST EBUSY EINVAL ESRCH ECONNREFUSED ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOTDIR);
	print "$what\t", $name // "errno " . ($! + 0), "\n";
}
sub dial {
	my ($address, $port) = @_;
	socket(my $s, AF_INET, SOCK_STREAM | Socket::SOCK_NONBLOCK, 0) or return 0;
	connect($s, pack_sockaddr_in($port, inet_aton($address))) and return 1;
	$!{EINPROGRESS} or return 0;
	vec(my $ready = "", fileno $s, 1) = 1;
	if (select(undef, $ready, undef, 2) < 1) { $! = POSIX::ETIMEDOUT(); return 0 }
	$! = unpack("i", getsockopt($s, SOL_SOCKET, SO_ERROR));
	return $! == 0;
}
sub writable {
	my ($tree) = @_; my ($found, $seen, @left) = (0, 0, $tree);
	while (defined(my $dir = pop @left)) {
		opendir(my $d, $dir) or next;
		for my $path (map { "$dir/$_" } grep { !/^\.\.?$/ } readdir $d) {
			next if -l $path;
			if (-d _) { push @left, $path; next }
			$seen++;
			sysopen(my $f, $path, O_WRONLY | O_NONBLOCK) and $found++ and print STDERR "$path\n";
		}
	}
	$! = $seen ? POSIX::EROFS() : 0;
	return $found;
}
$| = 1; undef $!;
`

// usersOf are the user ids of each service, root in its container first.
var usersOf = map[string][]string{
	"mysql":   {"0", "5301"},
	"dovecot": {"0", "5302", "5303", "5304"},
	"postfix": {"0", "5305"},
	"filter":  {"0", "5307"},
	"valkey":  {"0", "5308"},
}

// try attacks as a user of a service, and gives each answer: "ok" or the name of
// the error.
func (s *Stack) try(t *testing.T, service, user string, attacks []attack) []string {
	t.Helper()
	script := preamble
	for i, a := range attacks {
		script += fmt.Sprintf("$! = 0; answer(%d, do { %s });\n", i, a.perl)
	}
	r := tryDocker(t, "exec", "-u", user+":"+user, s.container(service), "perl", "-e", script)
	answers := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || len(answers) != len(attacks) {
		t.Fatalf("%d attacks as %s in %s: %v", len(attacks), user, service, r)
	}
	for i := range answers {
		number, answer, _ := strings.Cut(answers[i], "\t")
		if number != fmt.Sprint(i) {
			t.Fatalf("attacks as %s in %s: %v", user, service, r)
		}
		answers[i] = answer
	}
	return answers
}

// attackAs runs attacks as a user of a service, each as a subtest.
func (s *Stack) attackAs(t *testing.T, service, user string, attacks []attack) {
	t.Helper()
	answers := s.try(t, service, user, attacks)
	for i, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			if !slices.Contains(a.refused, answers[i]) {
				t.Errorf("as %s in %s: answered %s, want %v", user, service, answers[i], a.refused)
			}
		})
	}
}

// TestAttacksFromContainers: nothing that somebody in a container tries leads out
// of it, whether as root or as a user of the service.
func TestAttacksFromContainers(t *testing.T) {
	t.Parallel()
	s := shared(t)
	used := map[string][]string{}
	for _, edge := range s.edges(t) {
		used[edge[0]] = append(used[edge[0]], filepath.Dir(edge[1]))
	}
	for _, service := range services {
		if len(usersOf[service]) < 2 {
			t.Errorf("nobody attacks from %s", service)
		}
		for _, user := range usersOf[service] {
			attacks := slices.Concat(kernelAttacks(), s.fileAttacks(service, used[service]), s.processAttacks(t, service), s.networkAttacks(t, service))
			if user != "0" {
				attacks = append(attacks,
					attack{"become root", `do { $! = 0; POSIX::setuid(0) }`, noRight},
					attack{"root's group", `do { $! = 0; POSIX::setgid(0) }`, noRight})
			}
			t.Run(service+" as "+user, func(t *testing.T) { s.attackAs(t, service, user, attacks) })
		}
	}
}

// fileAttacks go for what belongs to others, by the paths of the host and by
// those that the others have it at, and for what is mounted read-only: the sockets
// of the services that are used, among others.
func (s *Stack) fileAttacks(service string, used []string) (attacks []attack) {
	at := map[string]string{
		"mysql": "/var/lib/mysql", "dovecot": "/var/vmail", "postfix": "/var/spool/postfix",
		"filter": "/run/mailstack/signing", "valkey": "/var/lib/valkey",
	}
	for _, other := range services {
		if other == service {
			continue
		}
		attacks = append(attacks,
			attack{"data of " + other, fmt.Sprintf(`opendir(my $d, %q)`, at[other]), absent},
			attack{"secrets of " + other, fmt.Sprintf(`opendir(my $d, %q)`, s.data()+"/run/"+other+"/secret"), absent})
		if !slices.Contains(used, other) {
			attacks = append(attacks, attack{"sockets of " + other, fmt.Sprintf(`do { my @f = glob("/socket/%s/*"); $! = 2; @f > 0 }`, other), absent})
			continue
		}
		n := "/socket/" + other + "/.attack"
		attacks = append(attacks,
			attack{"listen beside the sockets of " + other, fmt.Sprintf(`do { socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, pack_sockaddr_un(%q)) }`, n), readOnly},
			attack{"link out of the sockets of " + other, fmt.Sprintf(`symlink("/etc/passwd", %q)`, n), readOnly})
	}
	for _, file := range []string{"", "/secrets/admin", "/ca/ca.key", "/stack-id", "/vmail/data", "/queue/data", "/mysql/data", "/valkey/data", "/run/filter/signing"} {
		attacks = append(attacks, attack{"host's " + filepath.Join(filepath.Base(s.data()), file), fmt.Sprintf(`-e %q`, s.data()+file), absent})
	}
	for _, dir := range []string{"/", "/etc", "/usr/bin", "/usr/local/bin", "/usr/lib", "/var/lib/dpkg", "/run/mailstack/config", "/run/mailstack/secret"} {
		attacks = append(attacks,
			attack{"write in " + dir, fmt.Sprintf(`open(my $f, ">", %q)`, filepath.Join(dir, ".attack")), readOnly},
			attack{"rename in " + dir, fmt.Sprintf(`rename(%q, %q)`, filepath.Join(dir, ".a"), filepath.Join(dir, ".b")), append(readOnly, absent...)})
	}
	return append(attacks,
		attack{"overwrite passwd", `open(my $f, ">>", "/etc/passwd")`, readOnly},
		attack{"overwrite resolver", `open(my $f, ">>", "/run/mailstack/config/" . do { opendir(my $d, "/run/mailstack/config"); (grep { !/^\./ } readdir $d)[0] // "x" })`, readOnly})
}

// processAttacks go for the processes of the other services, by the numbers that
// they have on the host, and for process 1 of the host.
func (s *Stack) processAttacks(t *testing.T, service string) (attacks []attack) {
	t.Helper()
	for _, other := range services {
		if other == service {
			continue
		}
		pid := inspect(t, s.container(other)).State.Pid
		own := fmt.Sprintf("-e %q", fmt.Sprintf("/proc/%d/status", pid))
		attacks = append(attacks,
			attack{"see process of " + other, own, absent},
			attack{"signal process of " + other, fmt.Sprintf("kill(0, %d)", pid), nobody},
			attack{"trace process of " + other, systemCall(unix.SYS_PTRACE, fmt.Sprint(unix.PTRACE_ATTACH), fmt.Sprint(pid)), nobody},
			attack{"read memory of " + other, fmt.Sprintf(`my $v = "\0" x 16; syscall(%d, %d, $v, 1, $v, 1, 0) != -1`, unix.SYS_PROCESS_VM_READV, pid), nobody})
	}
	return attacks
}

// networkAttacks go for the other containers at their own addresses, where all
// their ports are open.
func (s *Stack) networkAttacks(t *testing.T, service string) (attacks []attack) {
	t.Helper()
	for other, port := range map[string]int{"dovecot": 143, "postfix": 25, "filter": 11332} {
		if other != service {
			attacks = append(attacks, attack{"address of " + other, fmt.Sprintf("dial(%q, %d)", s.address(t, other), port), noAnswer})
		}
	}
	if service == "mysql" || service == "valkey" {
		attacks = append(attacks, attack{"any network", `do { opendir(my $d, "/sys/class/net"); my @n = grep { !/^\.|^lo$/ } readdir $d; $! = POSIX::ENETUNREACH(); @n > 0 }`, noAnswer})
	}
	return attacks
}
