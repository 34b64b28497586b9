package stack

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ourselves is this process as if it were a container with dir for its root.
func ourselves(t *testing.T, dir string) *Inside {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &Inside{proc: "/proc/self", root: root}
}

// TestSocketsInside: each answer of the kernel has its name, and no link leads out.
// What is mounted how, and the rights of a real container, are e2e's.
func TestSocketsInside(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "socket/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	listen := func(path string) *net.UnixListener {
		t.Helper()
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	defer listen(filepath.Join(dir, "socket/a/on")).Close()
	dead := listen(filepath.Join(dir, "socket/a/dead"))
	dead.SetUnlinkOnClose(false)
	dead.Close()
	outside := filepath.Join(t.TempDir(), "s")
	defer listen(outside).Close()
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "socket/a/file"), nil, 0o666),
		os.Symlink(outside, filepath.Join(dir, "socket/a/out")),
		os.Symlink("/socket/a/on", filepath.Join(dir, "socket/a/link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	i := ourselves(t, dir)
	paths := []string{"/socket/a/on", "/socket/a/link", "/socket/a/out", "/socket/a/dead", "/socket/a/file", "/socket/a/none", "/socket/b/none"}
	got, err := i.Sockets(paths)
	if os.Geteuid() != 0 {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("without the right to take on others' rights: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []SocketView{
		{"/socket/a/on", "none", "ok", "ENOENT"},
		{"/socket/a/link", "none", "ok", "ENOENT"},
		{"/socket/a/out", "none", "ENOENT", "ENOENT"},
		{"/socket/a/dead", "none", "ECONNREFUSED", "ENOENT"},
		{"/socket/a/file", "none", "ECONNREFUSED", "ENOENT"},
		{"/socket/a/none", "none", "ENOENT", "ENOENT"},
		{"/socket/b/none", "none", "ENOENT", "ENOENT"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	conn, err := i.Dial(t.Context(), "/socket/a/on")
	if err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if _, err := i.Dial(t.Context(), "/socket/a/out"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the container: %v", err)
	}
}

// TestLookInto: what is not certainly the running container is not looked into.
func TestLookInto(t *testing.T) {
	for _, c := range []Container{
		{Name: "paused", State: "paused", PID: os.Getpid(), ID: "x"},
		{Name: "ended", State: "exited"},
		{Name: "gone", State: "running", PID: 1 << 30, ID: "x"},
		{Name: "other", State: "running", PID: os.Getpid(), ID: "no-control-group-is-called-this"},
		{Name: "nameless", State: "running", PID: os.Getpid()},
	} {
		if i, err := LookInto(c); err == nil {
			i.Close()
			t.Errorf("%s is looked into", c.Name)
		}
	}
}
