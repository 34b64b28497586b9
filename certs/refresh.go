package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"time"
)

// Advised is a [Source] whose authority says when to renew (RFC 9773).
type Advised interface {
	Source
	// Refresh asks it about the leaf in use, where it may be asked again, and
	// keeps the answer for Status.
	Refresh(ctx context.Context, current *x509.Certificate, now time.Time) error
}

// Refresh asks the source's authority when it wants the served certificate
// renewed. Without an answer, the last one and the certificate's dates count.
func (s Store) Refresh(ctx context.Context, now time.Time) error {
	source, ok := s.Source.(Advised)
	if !ok {
		return nil
	}
	served, err := s.Served()
	if errors.Is(err, ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return source.Refresh(ctx, served.leaf(), now)
}
