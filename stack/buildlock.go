package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// buildLockPoll is how often is asked whether another build has ended.
const buildLockPoll = 200 * time.Millisecond

// building makes one thing that all stacks of the host share, an image by name, as
// long as no other process does. Two stacks that begin at the same moment on a
// fresh host would otherwise build the same image twice, and the one that was first
// would replace its containers when the other's had taken the name. The kernel drops
// the lock when the process ends.
func (x *Executor) building(ctx context.Context, name string, log func(string), do func() error) error {
	if x.BuildLocks == "" {
		return do()
	}
	if err := os.MkdirAll(x.BuildLocks, 0o700); err != nil {
		return fmt.Errorf("lock the build of %s: %w", name, err)
	}
	f, err := os.OpenFile(filepath.Join(x.BuildLocks, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("lock the build of %s: %w", name, err)
	}
	defer f.Close()
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock the build of %s: %w", name, err)
		}
		if !told {
			log("another stack is building it: waiting")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another stack's build of %s: %w", name, ctx.Err())
		case <-time.After(buildLockPoll):
		}
	}
}
