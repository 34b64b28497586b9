package accounts

import (
	"fmt"
	"io"
)

const redacted = "[secret]"

// Secret is a password, a password hash or a database secret. However it is
// printed or encoded, it shows nothing; only Reveal gives it away.
//
// The value hides behind a pointer because fmt prints unexported fields of
// other structs without asking for their methods.
type Secret struct{ value *string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value; empty for the zero Secret.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero says whether there is nothing in it.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String redacts.
func (s Secret) String() string { return redacted }

// GoString redacts.
func (s Secret) GoString() string { return redacted }

// Format redacts, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText redacts; encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
