package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// debootstrap makes the base in a temporary directory, then packs it. It knows
// neither dpkg's path filters nor a second archive, so what it installed too
// much is removed, and security updates come when images are built.
func (b baseSystem) debootstrap(ctx context.Context, tool string, progress func(string)) (io.ReadCloser, error) {
	dir, err := os.MkdirTemp(b.tempDir, "mailstack-base-")
	if err != nil {
		return nil, fmt.Errorf("make a Debian base: %w", err)
	}
	// mountinfo has paths without links.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("make a Debian base: %w", err)
	}
	cleanup := func() error { return removeSystem(dir) }

	args := []string{"--variant=minbase", "--keyring=" + b.keyring}
	args = append(args, b.extra()...)
	args = append(args, b.suite, dir, b.mirror)
	args = append(args, suiteScript(b.suite)...)
	cmd := newCommand(ctx, tool, args, progress)
	cmd.Stdout = cmd.lines // its progress
	err = cmd.run()
	if err == nil {
		err = b.trim(dir)
	}
	var tar string
	if err == nil {
		tar, err = exec.LookPath("tar")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a Debian base: %w", err), cleanup())
	}
	return startArchive(newCommand(ctx, tar, []string{
		"--create", "--numeric-owner", "--one-file-system", "--directory", dir, ".",
	}, progress), cleanup)
}

// suiteScript names the script for a release that this debootstrap is too old to
// know; all newer releases are made alike.
func suiteScript(suite string) []string {
	const scripts = "/usr/share/debootstrap/scripts"
	if _, err := os.Stat(filepath.Join(scripts, suite)); err == nil {
		return nil
	}
	return []string{filepath.Join(scripts, "sid")}
}

// trim makes a fresh installation what mmdebstrap would have made. Directories
// are opened as roots, so that a link in the new system leads nowhere outside.
func (b baseSystem) trim(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()

	var lines []string
	for _, a := range b.archives {
		lines = append(lines, a.String())
	}
	var options []string
	for _, o := range b.options {
		options = append(options, o.String())
	}
	for _, f := range []struct {
		name  string
		lines []string
	}{
		{"etc/apt/sources.list", lines},
		{"etc/apt/apt.conf.d/99mailstack", options},
		{"etc/dpkg/dpkg.cfg.d/99mailstack", unwanted},
	} {
		data := strings.Join(f.lines, "\n") + "\n"
		if err := root.WriteFile(f.name, []byte(data), 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{
		"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale",
		"var/cache/apt", "var/lib/apt/lists", "var/log",
	} {
		if err := removeFiles(root, name); err != nil {
			return err
		}
	}
	return nil
}

// removeFiles removes all files below a directory but licences, and keeps the
// directories, which packages expect.
func removeFiles(root *os.Root, dir string) error {
	var files []string
	err := fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() && d.Name() != "copyright" {
			files = append(files, name)
		}
		return err
	})
	for _, name := range files {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}

// removeSystem removes a half or wholly installed system. What an interrupted
// debootstrap left mounted in it, /proc first, is unmounted before.
func removeSystem(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove temporary system: %w", err)
	}
	return nil
}

// mountsBelow lists mount points below dir in the order they were mounted.
func mountsBelow(dir string) ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer file.Close()
	var mounts []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// Octal escapes stand for white space, which our directories lack.
		if f := strings.Fields(lines.Text()); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			mounts = append(mounts, f[4])
		}
	}
	return mounts, lines.Err()
}
