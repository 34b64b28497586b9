package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Inside is what a running container sees, looked at from this host: to begin a
// command in there takes the engine a tenth of a second of processor time.
// Paths are the container's, and no link in there leads out of it.
type Inside struct {
	proc string   // /proc/<pid> of its first process
	root *os.File // its root directory
}

// errNotAsInside means that the kernel would not answer this program as it answers a
// program in the container.
var errNotAsInside = errors.New("cannot be looked into from this host")

// LookInto opens a container for looks. Its error means that only a command in
// there can look: the container does not run, its processes are not this host's to
// see, or its users or its confinement are of a kind that this program does not
// take on.
func LookInto(c Container) (*Inside, error) {
	if c.State != "running" || c.PID <= 0 {
		return nil, fmt.Errorf("container %s: %w: it is %s", c.Name, errNotAsInside, c.State)
	}
	i := &Inside{proc: "/proc/" + strconv.Itoa(c.PID)}
	if err := i.alike(); err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	root, err := os.OpenFile(i.proc+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.Name, err)
	}
	i.root = root
	fd, err := i.open("/", unix.O_DIRECTORY)
	if err != nil { // before Linux 5.6 there is no openat2
		return nil, errors.Join(fmt.Errorf("container %s: %w: openat2: %w", c.Name, errNotAsInside, err), root.Close())
	}
	unix.Close(fd)
	// Only now: the number may have become another process's until the open.
	groups, err := os.ReadFile(i.proc + "/cgroup")
	if err == nil && (c.ID == "" || !bytes.Contains(groups, []byte(c.ID))) {
		err = fmt.Errorf("%w: process %d is not its own", errNotAsInside, c.PID)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("container %s: %w", c.Name, err), root.Close())
	}
	return i, nil
}

// alike says whether the same rules hold in there as for this program, but for
// the users and capabilities that it can take on.
func (i *Inside) alike() error {
	theirs, err := os.Readlink(i.proc + "/ns/user")
	if err != nil {
		return err
	}
	if ours, err := os.Readlink("/proc/self/ns/user"); err != nil || ours != theirs {
		return fmt.Errorf("%w: it has users of its own", errNotAsInside)
	}
	// SELinux may forbid a container what this program may do. The engine's profile
	// for AppArmor allows all use of files.
	label, err := os.ReadFile(i.proc + "/attr/current")
	switch text := strings.TrimRight(string(label), "\x00\n"); {
	case errors.Is(err, unix.EINVAL): // neither of the two
	case err != nil:
		return err
	case text != "" && text != "unconfined" && !strings.HasPrefix(text, "docker-default "):
		return fmt.Errorf("%w: it is confined by %s", errNotAsInside, text)
	}
	return nil
}

// Close lets go of the container.
func (i *Inside) Close() error { return i.root.Close() }

// SocketView is a socket as a container sees it, in the words of
// mailstack-sockets, which looks from in there.
type SocketView struct {
	Socket  string // path
	Mount   string // of its directory: ro, rw or none
	Connect string // "ok" or the name of connect(2)'s error
	Unlink  string // the name of unlink(2)'s error for an absent random name in its directory
}

// Sockets looks at sockets with the rights of the container's first process,
// and touches nothing.
func (i *Inside) Sockets(paths []string) ([]SocketView, error) {
	mounts, err := i.mounts()
	if err != nil {
		return nil, err
	}
	rights, err := i.rights()
	if err != nil {
		return nil, err
	}
	views := make([]SocketView, len(paths))
	done := make(chan error, 1)
	go func() {
		// The thread keeps the rights, and so ends with its goroutine.
		runtime.LockOSThread()
		if err := rights.take(); err != nil {
			done <- err
			return
		}
		for n, p := range paths {
			views[n] = i.socket(p, mounts)
		}
		done <- nil
	}()
	return views, <-done
}

// open resolves a path in the container, and opens nothing of what is there.
func (i *Inside) open(name string, flags uint64) (int, error) {
	return unix.Openat2(int(i.root.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT})
}

func (i *Inside) socket(name string, mounts map[string]string) SocketView {
	v := SocketView{Socket: name, Mount: "none"}
	if fd, err := i.open(name, 0); err != nil {
		v.Connect = errnoName(err)
	} else {
		v.Connect = errnoName(connect(fd))
		unix.Close(fd)
	}
	dir, err := i.open(path.Dir(name), unix.O_DIRECTORY)
	if err != nil {
		v.Unlink = errnoName(err)
		return v
	}
	defer unix.Close(dir)
	v.Unlink = errnoName(unix.Unlinkat(dir, ".absent-"+rand.Text(), 0))
	for at := path.Dir(name); ; at = path.Dir(at) {
		kind, ok := mounts[at]
		if above := at == "/" && path.Dir(name) != "/"; ok && !above { // the root is no mount of its own
			v.Mount = kind
		}
		if ok || at == "/" {
			return v
		}
	}
}

// connect connects to what an open file stands for, and leaves again.
func connect(fd int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.Connect(s, &unix.SockaddrUnix{Name: openFile(fd)})
}

// openFile is a path of an open file.
func openFile(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func errnoName(err error) string {
	var number syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &number) && unix.ErrnoName(number) != "":
		return unix.ErrnoName(number)
	}
	return err.Error()
}

// mounts are the container's mount points, each ro or rw. Of two on one point
// the later line hides the earlier one. See proc_pid_mountinfo(5).
func (i *Inside) mounts() (map[string]string, error) {
	data, err := os.ReadFile(i.proc + "/mountinfo")
	if err != nil {
		return nil, err
	}
	octal := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	all := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		mount, super, _ := strings.Cut(line, " - ")
		fields, behind := strings.Fields(mount), strings.Fields(super)
		if len(fields) < 6 || len(behind) < 3 {
			return nil, fmt.Errorf("%s/mountinfo: %q", i.proc, line)
		}
		kind := "rw"
		if options := "," + fields[5] + "," + behind[2] + ","; strings.Contains(options, ",ro,") {
			kind = "ro"
		}
		all[octal.Replace(fields[4])] = kind
	}
	return all, nil
}

// rights are whom the kernel takes a process for.
type rights struct {
	uid, gid     int
	groups       []uint32
	capabilities uint64
}

// rights are those of the container's first process: what the engine gives a
// command that it begins there.
func (i *Inside) rights() (r rights, err error) {
	data, err := os.ReadFile(i.proc + "/status")
	if err != nil {
		return r, err
	}
	seen := 0
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(value)
		var errLine error
		switch {
		case key == "Uid" && len(fields) == 4: // real, effective, saved, file system's
			r.uid, errLine = strconv.Atoi(fields[3])
		case key == "Gid" && len(fields) == 4:
			r.gid, errLine = strconv.Atoi(fields[3])
		case key == "Groups":
			for _, f := range fields {
				g, err := strconv.ParseUint(f, 10, 32)
				errLine = errors.Join(errLine, err)
				r.groups = append(r.groups, uint32(g))
			}
		case key == "CapEff" && len(fields) == 1:
			r.capabilities, errLine = strconv.ParseUint(fields[0], 16, 64)
		default:
			continue
		}
		seen++
		err = errors.Join(err, errLine)
	}
	if seen != 4 || err != nil {
		return r, errors.Join(fmt.Errorf("read rights from %s/status", i.proc), err)
	}
	return r, nil
}

// take gives them to the calling thread, for good, as far as files are concerned.
// The functions of package syscall would change all threads.
func (r rights) take() error {
	first := unsafe.Pointer(unsafe.SliceData(append(r.groups, 0)))
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(r.groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("take on groups: %w", errno)
	}
	for _, id := range []struct {
		set func(int) (int, error)
		id  int
	}{{unix.SetfsgidRetGid, r.gid}, {unix.SetfsuidRetUid, r.uid}} {
		if _, err := id.set(id.id); err != nil {
			return fmt.Errorf("take on a user: %w", err)
		}
		if now, err := id.set(-1); err != nil || now != id.id { // changes nothing
			return fmt.Errorf("take on user or group %d: it is %d: %w", id.id, now, unix.EPERM)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for n := range sets {
		word := uint32(r.capabilities >> (32 * n))
		sets[n] = unix.CapUserData{Effective: word, Permitted: word}
	}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("take on capabilities: %w", err)
	}
	return nil
}

// Dial connects to a socket in the container.
func (i *Inside) Dial(ctx context.Context, name string) (net.Conn, error) {
	fd, err := i.open(name, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	return new(net.Dialer).DialContext(ctx, "unix", openFile(fd))
}
