package certs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Renew makes a new certificate with the local CA in dir where one is due, or
// in any case with force, and returns what is there afterwards. It creates dir.
//
// It may be killed at any point and called again: every file changes by one
// rename. An error leaves the old certificate in place; the State beside it says
// whether that one can still be served. A damaged CA is such an error even
// when the leaf is not due yet, because it will not get better by itself.
func Renew(ctx context.Context, dir string, names Names, now time.Time, force bool) (State, error) {
	return RenewFrom(ctx, LocalCA(dir), dir, names, now, force)
}

// RenewFrom is Renew for any source.
func RenewFrom(ctx context.Context, source Source, dir string, names Names, now time.Time, force bool) (State, error) {
	if err := names.check(); err != nil {
		return State{}, err
	}
	d, err := makeDirectory(dir)
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
	state, err := InspectFrom(source, dir, names, now)
	if err != nil {
		return State{}, err
	}
	if err := state.blocked.err(); err != nil {
		return state, err
	}
	due, cause := state.Due(now)
	if !due && !force {
		return state, nil
	}
	if !due {
		cause = "asked for"
	}
	pair, err := source.Obtain(ctx, names, now)
	if err != nil {
		return state, fmt.Errorf("obtain certificate: %w", err)
	}
	content, err := encode(pair.Key, pair.Chain...)
	if err != nil {
		return state, err
	}
	if err := d.write(ServerFile, content, 0o600); err != nil {
		return state, err
	}
	renewed, err := InspectFrom(source, dir, names, now)
	if err != nil {
		return state, err
	}
	if due, cause := renewed.Due(now); due {
		return renewed, fmt.Errorf("renew certificate: the new one is due again at once: %s", cause)
	}
	renewed.Renewed = cause
	return renewed, nil
}

// Install copies the certificate of state into the directory dst, which must
// exist, as ServerFile. It reads it again and makes sure that it is the one that
// state describes. changed is false where dst has it already.
func Install(dst string, state State) (changed bool, err error) {
	if state.Leaf == nil {
		return false, errors.New("install certificate: there is none")
	}
	content, err := state.content()
	if err != nil {
		return false, err
	}
	d, err := openDirectory(dst)
	if err != nil {
		return false, fmt.Errorf("install certificate: %w", err)
	}
	defer d.close()
	changed, err = d.writeOnce(ServerFile, content, 0o600)
	if err != nil {
		return changed, fmt.Errorf("install certificate: %w", err)
	}
	return changed, nil
}
