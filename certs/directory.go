package certs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxFileBytes bounds what is read of a file. A chain is a few kilobytes.
const maxFileBytes = 1 << 20

// temporaryMark is in the name of every file that is not complete yet.
const temporaryMark = ".tmp-"

// directory is an open directory. Its files are named relative to the open
// descriptor and never followed through a link, so nobody can exchange one of
// them, or the directory itself, for something else between a check and its use.
type directory struct {
	path string
	f    *os.File
}

// openDirectory opens an existing directory that only root and we can write to.
func openDirectory(path string) (*directory, error) {
	d, err := openAnyDirectory(path)
	if err != nil {
		return nil, err
	}
	info, err := d.f.Stat()
	if err != nil {
		d.close()
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	if problem := distrust(info); problem != "" {
		d.close()
		return nil, Problem{path, problem, "chown root: " + path + "; chmod go-w " + path}
	}
	return d, nil
}

// openAnyDirectory opens a directory whoever may write to it.
func openAnyDirectory(path string) (*directory, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	// Linux answers ENOTDIR, not ELOOP, when both flags meet a link.
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, Problem{path, "is not a directory", "Move it out of the way: a directory of root's belongs there."}
	}
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return &directory{path: path, f: f}, nil
}

// makeDirectory opens a directory, creating it for our eyes only where it is
// missing and taking rights away from others where they have some.
func makeDirectory(path string) (*directory, error) {
	if err := createDirectory(path); err != nil {
		return nil, fmt.Errorf("create directory: %w", err)
	}
	d, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	if err := d.f.Chmod(0o700); err != nil {
		d.close()
		return nil, fmt.Errorf("protect directory: %w", err)
	}
	return d, nil
}

// createDirectory makes a directory that survives a power cut. That something is
// there already is found out by who opens it.
func createDirectory(path string) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := openAnyDirectory(parent)
	if err != nil {
		return err
	}
	defer d.close()
	return d.sync()
}

func (d *directory) close() { _ = d.f.Close() }

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

// distrust says why a file or directory may have been written by somebody
// else, or "".
func distrust(info fs.FileInfo) string {
	uid := info.Sys().(*syscall.Stat_t).Uid // Linux always gives this type
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Sprintf("belongs to the user with number %d, not to root", uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("can be written by others (mode %04o)", info.Mode().Perm())
	}
	return ""
}

// read returns a file's content. The error matches fs.ErrNotExist when there
// is none, and is a Problem without advice when it is not a plain file that
// only we can read (secret) or write.
func (d *directory) read(name string, secret bool) ([]byte, error) {
	path := d.file(name)
	// O_NONBLOCK: opening a FIFO would wait for a writer.
	fd, err := unix.Openat(int(d.f.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, Problem{File: path, Text: "is a symbolic link, which is not followed"}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, Problem{File: path, Text: "is not a plain file"}
	case info.Size() > maxFileBytes:
		return nil, Problem{File: path, Text: fmt.Sprintf("is too large to be a certificate (%d bytes)", info.Size())}
	}
	if text := distrust(info); text != "" {
		return nil, Problem{File: path, Text: text}
	}
	if secret && info.Mode().Perm()&0o077 != 0 {
		return nil, Problem{File: path, Text: fmt.Sprintf("holds a private key and can be read by others (mode %04o)", info.Mode().Perm())}
	}
	return io.ReadAll(io.LimitReader(f, maxFileBytes))
}

// write replaces a file in one step: whoever reads it sees the old content or
// the new one, also after a power cut.
func (d *directory) write(name string, content []byte, mode fs.FileMode) (err error) {
	temporary := "." + name + temporaryMark + rand.Text()
	fd, err := unix.Openat(int(d.f.Fd()), temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: d.file(temporary), Err: err}
	}
	f := os.NewFile(uintptr(fd), d.file(temporary))
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(int(d.f.Fd()), temporary, 0)
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", d.file(name), err)
	}
	return d.rename(temporary, name)
}

// writeOnce is write for a file that may have that content already.
func (d *directory) writeOnce(name string, content []byte, mode fs.FileMode) (changed bool, err error) {
	old, err := d.read(name, mode.Perm()&0o077 == 0)
	if err == nil && bytes.Equal(old, content) {
		return false, nil
	}
	return true, d.write(name, content, mode)
}

// remove deletes a file; one that is not there is no error.
func (d *directory) remove(name string) error {
	if err := unix.Unlinkat(int(d.f.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: d.file(name), Err: err}
	}
	return d.sync()
}

// rename gives a file the name of another, in one step.
func (d *directory) rename(from, to string) error {
	if err := unix.Renameat(int(d.f.Fd()), from, int(d.f.Fd()), to); err != nil {
		return &fs.PathError{Op: "rename", Path: d.file(from), Err: err}
	}
	return d.sync()
}

// holds says whether these files, each readable by us alone, are all there is.
func (d *directory) holds(files []File) (bool, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return false, fmt.Errorf("read directory: %w", err)
	}
	if len(entries) != len(files) {
		return false, nil
	}
	for _, f := range files {
		content, err := d.read(f.Name, true)
		if err != nil || !bytes.Equal(content, f.Content) {
			return false, nil // written again, whatever is wrong with it
		}
	}
	return true, nil
}

// keepOnly removes every other file.
func (d *directory) keepOnly(files []File) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, entry := range entries {
		if slices.ContainsFunc(files, func(f File) bool { return f.Name == entry.Name() }) {
			continue
		}
		if entry.IsDir() { // may hold something
			return Problem{d.file(entry.Name()), "does not belong there", "Move it away."}
		}
		if err := d.remove(entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (d *directory) sync() error {
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", d.path, err)
	}
	return nil
}

// lock keeps a second run out until close.
func (d *directory) lock() error {
	err := unix.Flock(int(d.f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return Problem{d.path, "is in use: another run is renewing certificates there", "Wait until it has ended, then try again."}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.path, err)
	}
	return nil
}

// sweep removes what a killed run left behind. Only whoever holds the lock may
// call it.
func (d *directory) sweep() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") && strings.Contains(entry.Name(), temporaryMark) {
			if err := d.remove(entry.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
