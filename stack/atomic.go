package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile writes a file so that a reader sees the old content or the new
// one, whole, also after a power cut: a temporary file in the same directory,
// owner, mode, fsync, rename, fsync of the directory. It never writes through
// a link, because it always makes a file of its own. The temporary name is
// always the same, so that one that a killed run left does not stay; two must
// not write the same file at once.
func WriteFile(path string, data []byte, owner Owner) (err error) {
	dir := filepath.Dir(path)
	name := filepath.Join(dir, "."+filepath.Base(path)+".tmp-")
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	tmp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if err = tmp.Chown(owner.UID, owner.GID); err != nil {
		return err
	}
	if err = tmp.Chmod(owner.Mode); err != nil {
		return err
	}
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// makeParents makes a directory and the missing ones above it, durably: a
// volume whose name is lost in a power cut looks like one that never was.
func makeParents(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := makeParents(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// makeDir makes a directory with this owner and mode, durably, or gives an
// existing one both. A link in its place is an error: somebody else put it
// there.
func makeDir(path string, owner Owner) error {
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		if err := syncDir(filepath.Dir(path)); err != nil {
			return err
		}
	case !os.IsExist(err):
		return err
	}
	return own(path, owner)
}

// own gives a directory this owner and mode.
func own(path string, owner Owner) error {
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	if err := dir.Chown(owner.UID, owner.GID); err != nil {
		return err
	}
	return dir.Chmod(owner.Mode)
}

// readRegular reads a file that must be a regular one, not a link, and of at
// most limit bytes.
func readRegular(path string, limit int64) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, nil, fmt.Errorf("read %s: a symbolic link, not a regular file", path)
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("read %s: not a regular file", path)
	}
	if info.Size() > limit {
		return nil, nil, fmt.Errorf("read %s: %d bytes, more than the %d it may have", path, info.Size(), limit)
	}
	data := make([]byte, info.Size())
	n, err := f.ReadAt(data, 0)
	if n < len(data) && err != nil {
		return nil, nil, err
	}
	return data[:n], info, nil
}
