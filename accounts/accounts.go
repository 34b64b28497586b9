// Package accounts keeps the stack's domains, accounts and aliases in its
// database: schema and migrations, the rights of the services that read it,
// addresses, password schemes, and every change a person can make.
//
// It speaks to MariaDB over the stack's Unix socket and to nothing else. What
// a change means for running services (cached logins, open sessions) is written
// down in the same transaction and carried out through [Sessions].
//
// Everything is stored lower-case, domains as A-labels (RFC 5890), times in UTC.
package accounts

import (
	"errors"
	"fmt"
)

// Kinds of refusal, matched with errors.Is. The error itself is an [*Error],
// whose text is the sentence a user needs.
var (
	// ErrExists: what was to be added is there already; nothing was changed.
	ErrExists = errors.New("exists already")
	// ErrNotFound: what was named does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInUse: something else depends on what was to be removed.
	ErrInUse = errors.New("in use")
	// ErrInvalid: the input can never be accepted.
	ErrInvalid = errors.New("invalid")
)

// Error is a refusal: a request that was understood and not carried out.
type Error struct {
	Kind   error  // ErrExists, ErrNotFound, ErrInUse or ErrInvalid
	Text   string // lower-case, no full stop
	Advice string // what to do about it; may be empty
}

func (e *Error) Error() string { return e.Text }

// Is makes errors.Is(err, ErrExists) and its like work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Hint is what to do about it; may be empty.
func (e *Error) Hint() string { return e.Advice }

func refuse(kind error, advice, format string, args ...any) *Error {
	return &Error{Kind: kind, Advice: advice, Text: fmt.Sprintf(format, args...)}
}
