package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mailstack/stack"
)

// unitManager writes units where systemd looks for those of the administrator,
// and tells systemd.
type unitManager struct {
	root  string // the system's /, or another directory in tests
	stack string
}

func (m unitManager) path(name string) string {
	return filepath.Join(m.root, "etc/systemd/system", name)
}

// runs says whether systemd runs this system: sd_booted(3).
func (m unitManager) runs() bool {
	info, err := os.Lstat(filepath.Join(m.root, "run/systemd/system"))
	return err == nil && info.IsDir()
}

// install writes what differs, all of it or, where a file is somebody else's,
// none.
func (m unitManager) install(ctx context.Context, files []unitFile, out io.Writer) error {
	current, err := m.read(files)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.path(""), 0o755); err != nil {
		return m.asRoot(fmt.Errorf("make directory of units: %w", err))
	}
	changed := false
	for i, file := range files {
		if current[i] == file.content {
			continue
		}
		owner := stack.Owner{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
		if err := stack.WriteFile(m.path(file.name), []byte(file.content), owner); err != nil {
			return m.asRoot(fmt.Errorf("write unit: %w", err))
		}
		fmt.Fprintf(out, "wrote %s\n", m.path(file.name))
		changed = true
	}
	if !m.runs() {
		_, err := fmt.Fprintln(out, "systemd does not run here: it will take the units when it does;\n"+
			"until then, `mailstack systemd --cron` prints a line for root's crontab")
		return err
	}
	if changed {
		if err := m.systemctl(ctx, out, "daemon-reload"); err != nil {
			return err
		}
	}
	for _, file := range files {
		if file.enable == nil {
			continue
		}
		if err := m.systemctl(ctx, out, append(slices.Clone(file.enable), file.name)...); err != nil {
			return err
		}
	}
	return nil
}

// remove undoes install.
func (m unitManager) remove(ctx context.Context, files []unitFile, out io.Writer) error {
	current, err := m.read(files)
	if err != nil {
		return err
	}
	var there []unitFile
	for i, file := range files {
		if current[i] != "" {
			there = append(there, file)
		}
	}
	if len(there) == 0 {
		_, err := fmt.Fprintln(out, "no units there: nothing to do")
		return err
	}
	for _, file := range there {
		if !m.runs() || file.disable == nil {
			continue
		}
		if err := m.systemctl(ctx, out, append(slices.Clone(file.disable), file.name)...); err != nil {
			return err
		}
	}
	for _, file := range there {
		if err := os.Remove(m.path(file.name)); err != nil {
			return m.asRoot(fmt.Errorf("remove unit: %w", err))
		}
		fmt.Fprintf(out, "removed %s\n", m.path(file.name))
	}
	if m.runs() {
		return m.systemctl(ctx, out, "daemon-reload")
	}
	return nil
}

// read returns what is there of each file, "" for nothing, and reports every
// file that we did not write.
func (m unitManager) read(files []unitFile) ([]string, error) {
	contents := make([]string, len(files))
	var foreign []error
	for i, file := range files {
		content, err := readUnit(m.path(file.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, m.asRoot(fmt.Errorf("read unit: %w", err))
		}
		mark, _, _ := strings.Cut(file.content, "\n")
		if first, _, _ := strings.Cut(content, "\n"); first != mark && content != file.content {
			foreign = append(foreign, fmt.Errorf("%s was not written by mailstack for the stack %q", m.path(file.name), m.stack))
		}
		contents[i] = content
	}
	if len(foreign) > 0 {
		return nil, hinted(errors.Join(foreign...), "move it out of the way, or keep it and leave --install")
	}
	return contents, nil
}

// readUnit reads a file, not through a link: `systemctl mask` puts links to
// /dev/null there, and a mask is somebody's wish.
func readUnit(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		target, _ := os.Readlink(path)
		return "link to " + target, nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(content), err
}

// systemctl runs one command and says so.
func (m unitManager) systemctl(ctx context.Context, out io.Writer, args ...string) error {
	program := filepath.Join(m.root, "usr/bin/systemctl")
	output, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	line := "systemctl " + strings.Join(args, " ")
	if err != nil {
		return m.asRoot(fmt.Errorf("run %s: %w: %s", line, err, strings.TrimSpace(string(output))))
	}
	_, err = fmt.Fprintf(out, "ran %s\n", line)
	return err
}

// asRoot adds the commonest advice.
func (m unitManager) asRoot(err error) error {
	if os.Geteuid() != 0 {
		return hinted(err, "run it as root: sudo mailstack …")
	}
	return err
}
