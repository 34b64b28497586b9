package certs

import (
	"bytes"
	"context"
	"crypto/x509"
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

// nextName is for the CA that will follow: a file of the store can hold one
// certificate only. It cannot be another stack's name: those have no dot.
func (t TrustStore) nextName() string { return "mailstack-" + t.Stack + ".next.crt" }

// Add makes the system trust the CAs of a stack, the content of AuthorityFile. A
// CA that an earlier Add of the same stack put there is replaced; a file that is
// not ours is refused.
func (t TrustStore) Add(ctx context.Context, authorities []byte) (Change, error) {
	b, complaints := parseBundle(authorities)
	if len(complaints) > 0 || len(b.certs) == 0 || len(b.certs) > 2 {
		return Change{}, fmt.Errorf("add the CA: %d certificates, %v", len(b.certs), complaints)
	}
	d, err := t.open()
	if err != nil {
		return Change{}, err
	}
	defer d.close()
	changed, replaced, listed := false, false, true
	for i, name := range []string{t.name(), t.nextName()} {
		var authority []byte
		if i < len(b.certs) {
			authority = encodeCertificates(b.certs[i])
			listed = listed && t.listed(authority)
		}
		old, err := t.put(d, name, authority)
		if err != nil {
			return Change{}, fmt.Errorf("add the CA: %w", err)
		}
		changed = changed || !bytes.Equal(old, authority)
		replaced = replaced || old != nil
	}
	if !changed && listed {
		return Change{File: t.File()}, nil
	}
	// An exchanged file of the same name keeps its old hash link without --fresh.
	return t.update(ctx, replaced)
}

// Remove undoes Add.
func (t TrustStore) Remove(ctx context.Context) (Change, error) {
	d, err := t.open()
	if err != nil {
		return Change{}, err
	}
	defer d.close()
	removed := false
	for _, name := range []string{t.name(), t.nextName()} {
		old, err := t.put(d, name, nil)
		if err != nil {
			return Change{}, fmt.Errorf("remove the CA: %w", err)
		}
		removed = removed || old != nil
	}
	if !removed {
		return Change{File: t.File()}, nil
	}
	return t.update(ctx, true) // --fresh: links to files that are gone stay otherwise
}

// put makes a file of the store hold a CA, or none, and returns what it held.
func (t TrustStore) put(d *directory, name string, authority []byte) (old []byte, err error) {
	if old, err = t.present(d, name, authority); err != nil || bytes.Equal(old, authority) {
		return old, err
	}
	if authority == nil {
		return old, d.remove(name)
	}
	return old, d.write(name, authority, 0o644)
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
func (t TrustStore) present(d *directory, name string, expected []byte) ([]byte, error) {
	content, err := d.read(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	const advice = "Move it out of the way: mailstack did not put it there."
	if err != nil {
		return nil, asProblem(d.file(name), err, advice)
	}
	if bytes.Equal(content, expected) {
		return content, nil
	}
	b, complaints := parseBundle(content)
	if len(complaints) > 0 || len(b.certs) != 1 || !slices.Contains(b.certs[0].Subject.Organization, organization) {
		return nil, Problem{d.file(name), "is not a CA that mailstack made", advice}
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

// AuthorityPEM is the certificate of the local CA in dir, and that of the one
// that follows it, for a trust store. It matches fs.ErrNotExist before the first
// Renew.
func AuthorityPEM(dir string) ([]byte, error) {
	certificates, err := authorityCertificates(dir)
	return encodeCertificates(certificates...), err
}

func authorityCertificates(dir string) ([]*x509.Certificate, error) {
	d, err := openDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	defer d.close()
	if _, err := d.read(AuthorityFile, false); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	certificates, complaints := readCertificates(d, AuthorityFile)
	if len(complaints) > 0 {
		return nil, problemsOf(d.file(AuthorityFile), complaints, "`mailstack up` writes it again.")
	}
	return certificates, nil
}
