package certs

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Ask is what somebody wants beyond what is due.
type Ask int

// What may be asked for.
const (
	IfDue    Ask = iota
	Anyway       // a new certificate although the old one is still good
	Rollover     // the same, with the next key although keys are reused
)

// Renew makes or takes new certificates where some are due, or asked for, and
// returns what is there afterwards. It creates the directory.
//
// What is new is in PendingFile until [Store.Commit] says that it is served;
// where there is nothing to fall back to, it takes its place at once. Renew may
// be killed at any point and called again: every file changes by one rename.
// An error leaves the old certificate in place; the State beside it says
// whether that one can still be served. Where there is none that can, and the
// source is an authority elsewhere, one of our own stands in until a later Renew:
// the error is the same. A damaged CA is such an error even
// when the leaf is not due yet, because it will not get better by itself. A
// file for further names that is refused keeps nothing else from being renewed:
// see [State.Refused].
func (s Store) Renew(ctx context.Context, now time.Time, ask Ask) (State, error) {
	if err := s.Names.check(); err != nil {
		return State{}, err
	}
	d, err := makeDirectory(s.Dir)
	if err != nil {
		return State{}, err
	}
	defer d.close()
	if err := d.lock(); err != nil {
		return State{}, err
	}
	if err := d.sweep(); err != nil {
		return State{}, err
	}
	began := time.Now()
	r := s.read(now)
	state := r.state(s)
	blocked := r.status.Problems.Err()
	cause := r.due()
	main, err := s.main(ctx, d, r, now, ask)
	if failed := cmp.Or(err, blocked); failed != nil && main == nil && r.lacks(now) && ctx.Err() == nil {
		blocked = failed
		main, err = s.standIn(ctx, r, now)
	}
	if err != nil {
		return state, errors.Join(blocked, err)
	}
	if main == nil {
		return state, blocked
	}
	switch {
	case r.current != nil && main.equal(r.current) && r.current == r.served:
		cause = ""
	case cause == "":
		cause = "asked for"
	}
	if err := s.settle(d, r, main, now); err != nil {
		return state, err
	}
	// An authority takes its time, and its certificates begin when it is done.
	after := s.read(now.Add(time.Since(began)))
	if after.cause != "" && blocked == nil {
		return after.state(s), fmt.Errorf("renew certificate: the new one is due again at once: %s", after.cause)
	}
	state = after.state(s)
	state.Renewed = cause
	return state, blocked
}

// main is the set that is wanted from now on; nil where there is none.
func (s Store) main(ctx context.Context, d *directory, r *reading, now time.Time, ask Ask) (*Set, error) {
	var next []crypto.Signer
	if !r.status.Own && len(r.status.Problems) == 0 {
		var err error
		if next, err = s.writeNext(d, r.next, r.served, r.pending); err != nil {
			return nil, err
		}
		r.next = next
	}
	wanted := func(pairs []Pair, mode string) *Set { return r.wanted(pairs, mode) }
	switch {
	case len(r.status.Problems) > 0 && r.current == nil:
		return nil, nil
	case len(r.status.Problems) > 0, r.cause == "" && (ask == IfDue || r.status.Own):
		return wanted(r.current.Main, r.current.mode), nil
	}
	keys := next
	// Also keys of another kind than is wanted now; but not any kind that
	// somebody brought.
	if s.Reuse && ask != Rollover && r.current != nil && (r.current.mode == r.status.Mode || s.fit(r.current)) {
		keys = nil
		for _, pair := range r.current.Main {
			keys = append(keys, pair.Key)
		}
	}
	pairs, err := s.Source.Obtain(ctx, s.Names, keys, now)
	if err != nil {
		return nil, fmt.Errorf("obtain certificate: %w", err)
	}
	return wanted(pairs, r.status.Mode), nil
}

// fit says whether a set's keys are of the kinds that are wanted.
func (s Store) fit(set *Set) bool {
	kinds := s.kinds()
	if len(kinds) != len(set.Main) {
		return false
	}
	for i, pair := range set.Main {
		if pair.Kind() != kinds[i] {
			return false
		}
	}
	return true
}

// settle writes a set to where it belongs.
func (s Store) settle(d *directory, r *reading, set *Set, now time.Time) error {
	served := r.served
	if served != nil && set.equal(served) {
		return d.remove(PendingFile)
	}
	if served == nil || now.Before(served.leaf().NotBefore) || now.After(served.leaf().NotAfter) {
		// Nothing to fall back to.
		if err := writeSet(d, ServerFile, set); err != nil {
			return err
		}
		if err := d.remove(PendingFile); err != nil {
			return err
		}
	} else if err := writeSet(d, PendingFile, set); err != nil {
		return err
	}
	if r.status.Own || len(r.status.Problems) > 0 {
		return nil
	}
	_, err := s.writeNext(d, r.next, served, set)
	return err
}

// Newest is the set to serve: the one that waits to be proven, else the one that
// was. It matches [ErrNone] where there is neither.
func (s Store) Newest() (*Set, error) { return s.set(PendingFile, ServerFile) }

// Served is the set that was last proven to be served, or that there was nothing
// to compare with. It matches [ErrNone] where there is none.
func (s Store) Served() (*Set, error) { return s.set(ServerFile) }

// ErrNone is that there is no certificate.
var ErrNone = errors.New("there is no certificate")

func (s Store) set(files ...string) (*Set, error) {
	d, err := openDirectory(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	defer d.close()
	for _, file := range files {
		set, problems := readSet(d, file)
		if err := problems.Err(); err != nil && file != PendingFile {
			return nil, err
		}
		if set != nil {
			return set, nil
		}
	}
	return nil, ErrNone
}

// Commit makes the set that waits the one that is served. That there is none
// waiting is no error: it is done then.
func (s Store) Commit() error {
	d, err := openDirectory(s.Dir)
	if err != nil {
		return fmt.Errorf("commit certificate: %w", err)
	}
	defer d.close()
	if err := d.lock(); err != nil {
		return err
	}
	set, _ := readSet(d, PendingFile)
	if set == nil {
		return nil
	}
	return d.rename(PendingFile, ServerFile)
}

// Pending says whether a set waits to be proven.
func (s Store) Pending() bool {
	d, err := openDirectory(s.Dir)
	if err != nil {
		return false
	}
	defer d.close()
	set, _ := readSet(d, PendingFile)
	return set != nil
}

// File is one of the files that a service reads.
type File struct {
	Name    string // without a directory
	Content []byte
}

// Install writes files into a directory, which must exist, in their order and
// each by one rename, so that a file may name those before it. changed is false
// where all were there already.
func Install(dst string, files []File) (changed bool, err error) {
	d, err := openDirectory(dst)
	if err != nil {
		return false, fmt.Errorf("install certificate: %w", err)
	}
	defer d.close()
	for _, f := range files {
		if f.Name != filepath.Base(f.Name) {
			return changed, fmt.Errorf("install certificate: %q is not a file's name", f.Name)
		}
		wrote, err := d.writeOnce(f.Name, f.Content, 0o600)
		if err != nil {
			return changed, fmt.Errorf("install certificate: %w", err)
		}
		changed = changed || wrote
	}
	return changed, nil
}

// Tidy removes from a directory what is not one of files.
func Tidy(dst string, files []File) error {
	d, err := openDirectory(dst)
	if err != nil {
		return fmt.Errorf("tidy certificates: %w", err)
	}
	defer d.close()
	return d.keepOnly(files)
}

// Installed says whether a directory holds these files and nothing else.
func Installed(dst string, files []File) (bool, error) {
	d, err := openDirectory(dst)
	if err != nil {
		return false, fmt.Errorf("look for installed certificate: %w", err)
	}
	defer d.close()
	return d.holds(files)
}
