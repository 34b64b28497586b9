package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// TrustStore is the trust store of a Debian or Ubuntu system, as
// update-ca-certificates(8) keeps it.
type TrustStore struct {
	Root  string // where the system's / is; "/" or, for tests, a directory
	Stack string // the name of the stack, which is in the file's name
}

// Change is what was done to the trust store, to be told to a person.
type Change struct {
	File    string // the CA's file in the store
	Command string // the command that was run; "" where nothing was to do
	Output  string // what the command printed
}

// File is where the CA goes.
func (t TrustStore) File() string {
	return filepath.Join(t.directory(), t.name())
}

func (t TrustStore) directory() string {
	return filepath.Join(t.Root, "usr/local/share/ca-certificates")
}

// name ends in .crt: update-ca-certificates takes no other.
func (t TrustStore) name() string { return "mailstack-" + t.Stack + ".crt" }

// Add makes the system trust a CA. A CA that an earlier Add of the same stack
// put there is replaced; a file that is not ours is refused.
func (t TrustStore) Add(ctx context.Context, authority []byte) (Change, error) {
	d, err := t.open()
	if err != nil {
		return Change{}, err
	}
	defer d.close()
	old, err := t.present(d, authority)
	if err != nil {
		return Change{}, err
	}
	if old == nil || !bytes.Equal(old, authority) {
		if err := d.write(t.name(), authority, 0o644); err != nil {
			return Change{}, fmt.Errorf("add the CA: %w", err)
		}
	} else if t.listed(authority) {
		return Change{File: t.File()}, nil
	}
	// An exchanged file of the same name keeps its old hash link without --fresh.
	return t.update(ctx, old != nil)
}

// Remove undoes Add.
func (t TrustStore) Remove(ctx context.Context) (Change, error) {
	d, err := t.open()
	if err != nil {
		return Change{}, err
	}
	defer d.close()
	old, err := t.present(d, nil)
	if err != nil || old == nil {
		return Change{File: t.File()}, err
	}
	if err := d.remove(t.name()); err != nil {
		return Change{}, fmt.Errorf("remove the CA: %w", err)
	}
	return t.update(ctx, true) // --fresh: links to files that are gone stay otherwise
}

// open opens the store's directory. Debian lets the group staff write to it, so
// that is not held against it.
func (t TrustStore) open() (*directory, error) {
	d, err := openAnyDirectory(t.directory())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Problem{
			t.directory(), "does not exist",
			"This works on Debian and Ubuntu with the package ca-certificates. Elsewhere, give what " +
				"`mailstack cert trust --print` prints to the system's own tool.",
		}
	}
	return d, err
}

// present reads the file that is there, nil where there is none. It must be ours:
// the same as expected, or a CA that we made.
func (t TrustStore) present(d *directory, expected []byte) ([]byte, error) {
	content, err := d.read(t.name(), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	const advice = "Move it out of the way: mailstack did not put it there."
	if err != nil {
		return nil, asProblem(t.File(), err, advice)
	}
	if bytes.Equal(content, expected) {
		return content, nil
	}
	b, complaints := parseBundle(content)
	if len(complaints) > 0 || len(b.certs) != 1 || !slices.Contains(b.certs[0].Subject.Organization, organization) {
		return nil, Problem{t.File(), "is not a CA that mailstack made", advice}
	}
	return content, nil
}

// listed says whether the bundle that programs read holds the CA: an earlier
// run may have been killed before it got there.
func (t TrustStore) listed(authority []byte) bool {
	d, err := openAnyDirectory(filepath.Join(t.Root, "etc/ssl/certs"))
	if err != nil {
		return false
	}
	defer d.close()
	bundle, err := d.read("ca-certificates.crt", false)
	return err == nil && bytes.Contains(bundle, bytes.TrimSpace(authority))
}

func (t TrustStore) update(ctx context.Context, fresh bool) (Change, error) {
	argv := []string{filepath.Join(t.Root, "usr/sbin/update-ca-certificates")}
	if fresh {
		argv = append(argv, "--fresh")
	}
	change := Change{File: t.File(), Command: strings.Join(argv, " ")}
	output, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	change.Output = strings.TrimSpace(string(output))
	if err != nil {
		return change, fmt.Errorf("run %s: %w%s", change.Command, err, quoted(change.Output))
	}
	return change, nil
}

func quoted(output string) string {
	if output == "" {
		return ""
	}
	lines := strings.Split(output, "\n")
	return ": " + lines[len(lines)-1]
}
