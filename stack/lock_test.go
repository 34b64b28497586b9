package stack

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lockChildVar makes this test binary a process that holds a lock until it is
// killed; see TestLockOfKilledProcess.
const lockChildVar = "STACK_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockChildVar); dir != "" {
		if _, err := Lock(Layout{Dir: dir}, "migrate", testTime); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		select {}
	}
	os.Exit(m.Run())
}

func TestLockNamesItsHolder(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: filepath.Join(t.TempDir(), "a", "demo")}
	unlock, err := Lock(l, "up", testTime)
	must(t, err)
	_, err = Lock(l, "down", testTime)
	var locked *LockedError
	want := fmt.Sprintf("lock stack: %s/lock is held by mailstack up (process %d, since 2025-11-22 17:00:00)", l.Dir, os.Getpid())
	if !errors.As(err, &locked) || err.Error() != want || locked.Hint() == "" {
		t.Errorf("error %v, want %q", err, want)
	}
	// Another stack is not in the way.
	other, err := Lock(Layout{Dir: t.TempDir()}, "up", testTime)
	must(t, err)
	other()
	unlock()
	// A longer holder leaves nothing behind in the text of a shorter one.
	unlock, err = Lock(l, "a command with a long name", testTime)
	must(t, err)
	unlock()
	unlock, err = Lock(l, "up", testTime)
	must(t, err)
	defer unlock()
	if _, err = Lock(l, "down", testTime); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	info, err := os.Stat(l.Dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v", info.Mode())
	}
}

// The kernel drops the lock of a process that is killed.
func TestLockOfKilledProcess(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: t.TempDir()}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), lockChildVar+"="+l.Dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "locked\n" {
		t.Fatalf("the child said %q %v", line, err)
	}
	if _, err := Lock(l, "up", testTime); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("mailstack migrate (process %d,", child.Process.Pid)) {
		t.Errorf("error beside the child: %v", err)
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // says that it was killed
	unlock, err := Lock(l, "up", testTime)
	must(t, err)
	unlock()
}

// A lock on a file that a purge has removed excludes nobody.
func TestLockOfRemovedFile(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: t.TempDir()}
	f, err := os.Create(l.lockFile())
	must(t, err)
	defer f.Close()
	must(t, os.Remove(l.lockFile()))
	var locked *LockedError
	if err := flock(f); !errors.As(err, &locked) {
		t.Errorf("a file without a name was locked: %v", err)
	}
}

func TestLockIsNotALink(t *testing.T) {
	needRoot(t)
	l := Layout{Dir: t.TempDir()}
	target := filepath.Join(t.TempDir(), "target")
	must(t, os.WriteFile(target, []byte("untouched"), 0o600))
	must(t, os.Symlink(target, l.lockFile()))
	if _, err := Lock(l, "up", testTime); err == nil {
		t.Error("a link was locked")
	}
	if data, _ := os.ReadFile(target); string(data) != "untouched" {
		t.Error("written through a link")
	}
}

// The data directory becomes the administrator's alone, but not one that is in
// use for something else.
func TestLockTakesNoOthersDirectory(t *testing.T) {
	needRoot(t)
	for name, test := range map[string]struct {
		files map[string]string
		taken bool
	}{
		"empty":               {map[string]string{}, true},
		"a file system":       {map[string]string{"lost+found/": ""}, true},
		"places to mount":     {map[string]string{"mysql/lost+found/": "", "vmail/": ""}, true},
		"a stack":             {map[string]string{"stack-id": "", "other": ""}, true},
		"a half-made stack":   {map[string]string{"stack-id.pending": "", "other": ""}, true},
		"a file":              {map[string]string{"notes": ""}, false},
		"somebody's files":    {map[string]string{"www/index.html": ""}, false},
		"hidden files":        {map[string]string{".profile": ""}, false},
		"a mount with a file": {map[string]string{"mysql/lost+found/": "", "mysql/x": ""}, false},
	} {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o755))
		tree(t, dir, test.files)
		unlock, err := Lock(Layout{Dir: dir}, "up", testTime)
		if err == nil {
			unlock()
		}
		info, statErr := os.Stat(dir)
		must(t, statErr)
		if test.taken && (err != nil || info.Mode().Perm() != 0o700) || !test.taken && (err == nil || info.Mode().Perm() != 0o755) {
			t.Errorf("%s: %v, mode %v", name, err, info.Mode())
		}
	}
	// Where nobody else may enter, nobody is shut out.
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	tree(t, dir, map[string]string{"notes": ""})
	unlock, err := Lock(Layout{Dir: dir}, "up", testTime)
	must(t, err)
	unlock()
}
