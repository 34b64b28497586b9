package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mailstack/e2e/lab"
)

// diskSize is what a volume's own disk holds.
type diskSize struct {
	bytes  int64
	inodes int // 0 for as many as mkfs makes
}

// diskSizes are by volume. The files behind are sparse. The queue needs room for
// one and a half of the largest message, or Postfix takes none.
var diskSizes = map[string]diskSize{
	"mysql": {1 << 30, 0},
	"queue": {1 << 30, 20000},
	"vmail": {10 << 30, 100000},

	everything: {12 << 30, 0},
}

// everything names the disk that all volumes are on.
const everything = "all"

// disk is an ext4 file system in a file.
type disk struct {
	file, dir string
}

func newDisk(ctx context.Context, path string, size diskSize) (*disk, error) {
	d := &disk{file: path + ".img", dir: path}
	args := []string{"-q", "-m", "0"}
	if size.inodes > 0 {
		args = append(args, "-N", fmt.Sprint(size.inodes))
	}
	err := errors.Join(os.Mkdir(d.dir, 0o755), os.WriteFile(d.file, nil, 0o600), os.Truncate(d.file, size.bytes))
	if err == nil {
		_, err = lab.Output(exec.CommandContext(ctx, "mkfs.ext4", append(args, d.file)...))
	}
	if err == nil {
		err = d.mount(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make disk %s: %w", path, err)
	}
	return d, nil
}

func (d *disk) mount(ctx context.Context) error {
	_, err := lab.Output(exec.CommandContext(ctx, "mount", "-o", "loop", d.file, d.dir))
	return err
}

// unmount waits for those who have only just let go. A container that starts
// anywhere holds a copy of every mount for a moment, and with it the file system:
// only when its loop device is gone does the next mount read the disk again.
func (d *disk) unmount(ctx context.Context) error {
	err := lab.Eventually(ctx, time.Minute, "unmount "+d.dir, func(ctx context.Context) error {
		_, err := lab.Output(exec.CommandContext(ctx, "umount", d.dir))
		return err
	})
	if err != nil {
		return err
	}
	return lab.Eventually(ctx, time.Minute, "let go of "+d.file, func(ctx context.Context) error {
		used, err := lab.Output(exec.CommandContext(ctx, "losetup", "-j", d.file))
		if err == nil && used != "" {
			err = errors.New(used)
		}
		return err
	})
}

func (d *disk) remove(ctx context.Context) error {
	return errors.Join(d.unmount(ctx), os.Remove(d.file))
}

// fill keeps the disk without a free block, or without a free inode, also when
// others give some back. The end gives everything back.
func (d *disk) fill(ctx context.Context, take func(dir string) error) (end func() error, err error) {
	dir := filepath.Join(d.dir, "filler")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("fill disk: %w", err)
	}
	if err := take(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("fill disk: %w", err), os.RemoveAll(dir))
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() {
		for ctx.Err() == nil && failed == nil {
			failed = take(dir)
			lab.Pause(ctx, 50*time.Millisecond)
		}
	})
	return func() error {
		stop()
		wg.Wait()
		return errors.Join(failed, os.RemoveAll(dir))
	}, nil
}

// takeBlocks takes all free blocks into one file.
func takeBlocks(dir string) error {
	file, err := os.OpenFile(filepath.Join(dir, "blocks"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	for size, chunk := info.Size(), int64(1<<30); chunk >= 4096; {
		switch err := syscall.Fallocate(int(file.Fd()), 0, size, chunk); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ENOSPC):
			chunk /= 2
		case err != nil:
			return err
		default:
			size += chunk
		}
	}
	return nil
}

// takeInodes takes all free inodes with empty files.
func takeInodes(dir string) error {
	for {
		file, err := os.CreateTemp(dir, "")
		if errors.Is(err, syscall.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}
