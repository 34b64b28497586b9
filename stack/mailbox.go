package stack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removedDir keeps the mail of removed accounts, below the mail store. No
// domain has a name that begins with a dot.
const removedDir = ".removed"

// RetireMailbox moves the mail of a removed account aside, so that nobody who
// gets the same address later finds it, and nothing is deleted. movedTo is its
// path on the host; empty where there was none.
//
// The mail store belongs to a daemon that may have been broken into, so no
// link in it is followed.
func RetireMailbox(l Layout, address string, now time.Time) (movedTo string, err error) {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(address, "/\x00") || strings.HasPrefix(local, "..") || strings.HasPrefix(domain, ".") {
		return "", fmt.Errorf("move mail of %q aside: not the address of an account", address)
	}
	store, err := unix.Open(l.Content("vmail"), unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open mail store %s: %w", l.Content("vmail"), err)
	}
	defer unix.Close(store)
	from, err := unix.Openat(store, domain, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open mail of domain %s: %w", domain, err)
	}
	defer unix.Close(from)
	if err := unix.Mkdirat(store, removedDir, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return "", fmt.Errorf("make %s: %w", removedDir, err)
	}
	to, err := unix.Openat(store, removedDir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", removedDir, err)
	}
	defer unix.Close(to)
	name := address + "." + now.UTC().Format("20060102T150405Z")
	err = unix.Renameat2(from, local, to, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("move mail of %s aside: %w", address, err)
	}
	return filepath.Join(l.Content("vmail"), removedDir, name), nil
}

// Mailboxes are the addresses of the mailboxes in the mail store, sorted. No
// link in it is followed.
func Mailboxes(l Layout) ([]string, error) {
	root := l.Content("vmail")
	domains, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("read mail store: %w", err)
	}
	var all []string
	for _, domain := range domains {
		if !domain.IsDir() || strings.HasPrefix(domain.Name(), ".") {
			continue
		}
		homes, err := os.ReadDir(filepath.Join(root, domain.Name()))
		if err != nil {
			return nil, fmt.Errorf("read mail store: %w", err)
		}
		for _, home := range homes {
			info, err := os.Lstat(filepath.Join(root, domain.Name(), home.Name(), "Maildir"))
			if home.IsDir() && err == nil && info.IsDir() {
				all = append(all, home.Name()+"@"+domain.Name())
			}
		}
	}
	return all, nil
}
