package stack

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says that another command is changing the stack.
type LockedError struct {
	Path   string
	Holder string // as the holder described itself
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("lock stack: %s is held by %s", e.Path, e.Holder)
}

// Hint says what to do.
func (e *LockedError) Hint() string {
	return "wait until it has finished, then run the command again"
}

// Lock takes the stack's lock: one command at a time changes a stack. The
// kernel drops it when the process ends, however it ends, so there is no stale
// lock. what names the command for whoever finds it taken.
func Lock(l Layout, what string, now time.Time) (unlock func(), err error) {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := makeDir(l.Dir, Owner{Mode: 0o700}); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := l.lockFile()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock stack: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if err != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("lock stack: %s: %w", path, err)
		}
		holder := make([]byte, 256)
		n, _ := f.ReadAt(holder, 0)
		return nil, &LockedError{Path: path, Holder: strings.TrimSpace(string(holder[:n]))}
	}
	holder := fmt.Sprintf("mailstack %s (process %d, since %s)\n", what, os.Getpid(), now.Format("2006-01-02 15:04:05"))
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(holder), 0)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock stack: %w", err)
		}
	}
	return func() { f.Close() }, nil
}
