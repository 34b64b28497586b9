package stack

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	if err := claimDir(l); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	return lockFile(l.lockFile(), what, now)
}

// LockMigration is a lock of its own for what brings another host's mail over:
// it takes hours, and the stack is maintained meanwhile. The stack's directory
// must be there.
func LockMigration(l Layout, now time.Time) (unlock func(), err error) {
	return lockFile(l.migrationLock(), "migrate", now)
}

func lockFile(path, what string, now time.Time) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock stack: %w", err)
	}
	if err := flock(f); err != nil {
		f.Close()
		return nil, err
	}
	holder := fmt.Sprintf("mailstack %s (process %d, since %s)\n", what, os.Getpid(), now.Format("2006-01-02 15:04:05"))
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(holder), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock stack: %w", err)
	}
	return func() { f.Close() }, nil
}

// claimDir makes the data directory, the administrator's alone. One that others
// may enter and that holds something already is not shut: it may be /srv.
func claimDir(l Layout) error {
	if err := makeParents(l.Dir); err != nil {
		return err
	}
	info, err := os.Stat(l.Dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 || !ownedBy(info, 0, 0) {
		used, err := holdsOthers(l)
		if err != nil {
			return err
		}
		if used != "" {
			return &ObstacleError{
				What: fmt.Sprintf("%s is open to others and holds %s, which is no stack's", l.Dir, used),
				Fix:  "give the stack a directory of its own as `dir` in [data]",
			}
		}
	}
	return makeDir(l.Dir, Owner{Mode: 0o700})
}

// holdsOthers names an entry of the data directory that is neither the stack's
// nor a place where a disk is mounted; empty: there is none.
func holdsOthers(l Layout) (string, error) {
	for _, ours := range []string{l.lockFile(), l.IDFile(), l.pendingIDFile()} {
		if _, err := os.Lstat(ours); err == nil {
			return "", nil
		}
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		inside, err := os.ReadDir(filepath.Join(l.Dir, e.Name()))
		if e.Name() == "lost+found" || err == nil && (len(inside) == 0 || len(inside) == 1 && inside[0].Name() == "lost+found") {
			continue
		}
		return e.Name(), nil
	}
	return "", nil
}

// flock locks an open lock file, or says who has it.
func flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := make([]byte, 256)
		n, _ := f.ReadAt(holder, 0) // empty: it has just taken it
		text := strings.TrimSpace(string(holder[:n]))
		return &LockedError{Path: f.Name(), Holder: cmp.Or(text, "another mailstack command")}
	}
	if err != nil {
		return fmt.Errorf("lock stack: %s: %w", f.Name(), err)
	}
	// A purge removes the file: a lock on one without a name excludes nobody.
	mine, err := f.Stat()
	if err != nil {
		return fmt.Errorf("lock stack: %w", err)
	}
	if named, err := os.Lstat(f.Name()); err != nil || !os.SameFile(mine, named) {
		return &LockedError{Path: f.Name(), Holder: "a purge that has just ended"}
	}
	return nil
}
