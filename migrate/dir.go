package migrate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dir is an open directory. What is done in one follows no link, in no part of
// a path: the mail store belongs to a daemon that may have been broken into, and
// names in a mailbox are anybody's.
type dir struct {
	f *os.File
}

const openDirectory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openTrusted opens a directory by a path that only root can change.
func openTrusted(p string) (*dir, error) {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	return &dir{os.NewFile(uintptr(fd), p)}, nil
}

func (d *dir) fd() int { return int(d.f.Fd()) }

func (d *dir) close() { d.f.Close() }

// name is the path of something in the directory, for messages.
func (d *dir) name(p string) string { return path.Join(d.f.Name(), p) }

func (d *dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.name(name), Err: err}
}

// clone opens the directory once more.
func (d *dir) clone() (*dir, error) { return d.sub(".") }

// sub opens a directory in it.
func (d *dir) sub(name string) (*dir, error) {
	fd, err := unix.Openat(d.fd(), name, openDirectory, 0)
	if err != nil {
		return nil, d.fail("open directory", name, err)
	}
	return &dir{os.NewFile(uintptr(fd), d.name(name))}, nil
}

// descend opens a directory below it, by a path; "" is itself.
func (d *dir) descend(p string) (*dir, error) { return d.follow(p, (*dir).sub) }

// create is descend that makes what is missing.
func (d *dir) create(p string, o owner) (*dir, error) {
	return d.follow(p, func(d *dir, name string) (*dir, error) { return d.ensure(name, o) })
}

func (d *dir) follow(p string, step func(*dir, string) (*dir, error)) (*dir, error) {
	at, err := d.clone()
	if p == "" || err != nil {
		return at, err
	}
	for name := range strings.SplitSeq(p, "/") {
		next, err := step(at, name)
		at.close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// owner is who something made here belongs to. Directories are 0700, files 0600.
type owner struct{ uid, gid int }

// ensure opens a directory in it, and makes it if there is none.
func (d *dir) ensure(name string, o owner) (*dir, error) {
	err := unix.Mkdirat(d.fd(), name, 0o700)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, d.fail("make directory", name, err)
	}
	sub, openErr := d.sub(name)
	if openErr != nil || err != nil {
		return sub, openErr
	}
	if err := sub.f.Chown(o.uid, o.gid); err != nil {
		sub.close()
		return nil, err
	}
	return sub, nil
}

// belongs refuses a directory that is somebody else's.
func (d *dir) belongs(o owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd(), &st); err != nil {
		return d.fail("stat", "", err)
	}
	if int(st.Uid) != o.uid {
		return fmt.Errorf("%s belongs to uid %d, not %d", d.f.Name(), st.Uid, o.uid)
	}
	return nil
}

// names are all names in it.
func (d *dir) names() ([]string, error) {
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return d.f.Readdirnames(-1)
}

func (d *dir) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, d.fail("stat", name, err)
}

// open opens a regular file for reading.
func (d *dir) open(name string) (*os.File, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), d.name(name))
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("open %s: not a regular file", d.name(name)))
	}
	return f, nil
}

// remove removes a file; one that is not there is no error.
func (d *dir) remove(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return d.fail("remove", name, err)
}

// removeAll removes whatever has this name, with all below it.
func (d *dir) removeAll(name string) error {
	err := d.remove(name)
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	sub, err := d.sub(name)
	if err != nil {
		return err
	}
	defer sub.close()
	names, err := sub.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sub.removeAll(n); err != nil {
			return err
		}
	}
	if err := unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR); !errors.Is(err, unix.ENOENT) {
		return d.fail("remove directory", name, err)
	}
	return nil
}

// rename renames a file into another directory. It takes the place of one that
// has the name.
func (d *dir) rename(name string, to *dir, newName string) error {
	return d.fail("rename", name, unix.Renameat(d.fd(), name, to.fd(), newName))
}

// link gives a file a second name.
func (d *dir) link(name string, to *dir, newName string) error {
	return d.fail("link", name, unix.Linkat(d.fd(), name, to.fd(), newName, 0))
}

// write makes or replaces a file, so that it is never there in part.
func (d *dir) write(name string, content io.Reader, o owner, modified time.Time) (err error) {
	tmp := ".mailstack.tmp"
	if err := d.removeAll(tmp); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd(), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return d.fail("make", name, err)
	}
	f := os.NewFile(uintptr(fd), d.name(tmp))
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chown(o.uid, o.gid)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.setTime(tmp, modified)
	}
	if err == nil {
		err = d.rename(tmp, d, name)
	}
	if err != nil {
		_ = d.remove(tmp)
	}
	return err
}

// setTime sets the modification time.
func (d *dir) setTime(name string, modified time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: modified.Unix(), Nsec: int64(modified.Nanosecond())}}
	return d.fail("set time of", name, unix.UtimesNanoAt(d.fd(), name, times, unix.AT_SYMLINK_NOFOLLOW))
}

// symlink makes or replaces a symbolic link.
func (d *dir) symlink(target, name string, o owner) error {
	if old, err := d.readlink(name); err == nil && old == target {
		return nil
	}
	if err := d.removeAll(name); err != nil {
		return err
	}
	if err := unix.Symlinkat(target, d.fd(), name); err != nil {
		return d.fail("link", name, err)
	}
	return d.fail("change owner of", name, unix.Fchownat(d.fd(), name, o.uid, o.gid, unix.AT_SYMLINK_NOFOLLOW))
}

func (d *dir) readlink(name string) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd(), name, target)
	if err != nil {
		return "", d.fail("read link", name, err)
	}
	return string(target[:n]), nil
}
