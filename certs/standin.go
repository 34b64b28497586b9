package certs

import (
	"context"
	"crypto"
	"fmt"
	"time"
)

// lacks says whether there is nothing to serve until the source has given
// something: a stack must not wait for an authority. (Where a person brings the
// certificates, they can bring one.)
func (r *reading) lacks(now time.Time) bool {
	if r.status.Own || r.status.Mode == selfSigned {
		return false
	}
	if r.current == nil {
		return true
	}
	leaf := r.current.leaf()
	return now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)
}

// standIn makes certificates with a CA of the stack's own for the time until the
// source gives some. They are of another mode than is wanted, and so are due from
// the beginning.
func (s Store) standIn(ctx context.Context, r *reading, now time.Time) (*Set, error) {
	keys := r.next
	if !s.Reuse || len(keys) != len(s.kinds()) {
		// The next keys stay: the source may have begun to certify them.
		keys = make([]crypto.Signer, len(s.kinds()))
		for i, kind := range s.kinds() {
			var err error
			if keys[i], err = newKey(kind); err != nil {
				return nil, err
			}
		}
	}
	pairs, err := LocalCA(s.Dir).Obtain(ctx, s.Names, keys, now)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to stand in: %w", err)
	}
	return r.wanted(pairs, selfSigned), nil
}
