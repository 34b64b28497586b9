package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Secret is a password between services. It prints as [redacted]; Reveal is
// the only way to its value.
type Secret struct {
	// Generation is when it was made, in Unix seconds: it enters hashes and
	// causes, where the value never may.
	Generation int64
	// A pointer, because fmt prints what is in an unexported field without
	// asking its methods, but does not follow pointers there.
	value *string
}

// newSecret wraps a value.
func newSecret(generation int64, value string) Secret {
	return Secret{Generation: generation, value: &value}
}

// Reveal returns the value; that of the zero Secret is empty.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

const redacted = "[redacted]"

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SecretError is a secret that cannot be used.
type SecretError struct {
	Name, Path string
	Err        error
	fix        string // empty: the secret itself is lost
}

func (e *SecretError) Error() string {
	return fmt.Sprintf("read secret %s from %s: %v", e.Name, e.Path, e.Err)
}

func (e *SecretError) Unwrap() error { return e.Err }

// Hint says how to get past it.
func (e *SecretError) Hint() string {
	if e.fix != "" {
		return e.fix
	}
	if e.Name == AdminSecret {
		return "restore " + e.Path + " from a backup: the database accepts no other secret for its administrator"
	}
	return "remove " + e.Path + " and run mailstack up: it makes a new one and gives it to both ends"
}

// AdminSecret is the database administrator's: the only secret that cannot be
// made anew, since it is needed to set the others.
const AdminSecret = "admin"

// secretFile is how a secret is kept: one line of JSON, so that a truncated
// or edited file is noticed.
type secretFile struct {
	Generation int64  `json:"generation"`
	Secret     string `json:"secret"`
}

// secretLength is that of crypto/rand.Text: 26 characters, at least 128 bits.
const secretLength = 26

// ReadSecret reads a secret; its error matches fs.ErrNotExist where there is
// none, and is a *SecretError where there is one that cannot be used.
func ReadSecret(l Layout, name string) (Secret, error) {
	path := l.SecretFile(name)
	data, info, err := readRegular(path, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, err
	}
	if err != nil {
		return Secret{}, &SecretError{Name: name, Path: path, Err: err}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Secret{}, &SecretError{
			Name: name, Path: path, fix: "chmod 0600 " + path,
			Err: fmt.Errorf("mode %04o lets others read it, 0600 is wanted", info.Mode().Perm()),
		}
	}
	var f secretFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err = dec.Decode(&f)
	if _, more := dec.Token(); err != nil || more != io.EOF {
		return Secret{}, &SecretError{Name: name, Path: path, Err: errors.New("the file is corrupt: it is not what mailstack wrote")}
	}
	if f.Generation <= 0 || len(f.Secret) != secretLength || strings.Trim(f.Secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return Secret{}, &SecretError{Name: name, Path: path, Err: errors.New("the file is corrupt: it holds no secret that mailstack made")}
	}
	return newSecret(f.Generation, f.Secret), nil
}

// writeSecret keeps a secret.
func writeSecret(l Layout, name string, s Secret) error {
	data, err := json.Marshal(secretFile{Generation: s.Generation, Secret: s.Reveal()})
	if err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(l.SecretFile(name)), Owner{Mode: 0o700}); err != nil {
		return err
	}
	return WriteFile(l.SecretFile(name), append(data, '\n'), Owner{Mode: 0o600})
}

// RetireSecret gives a secret another name, in the place of what has that. The next plan
// makes a new one.
func RetireSecret(l Layout, name, as string) error {
	if err := os.Rename(l.SecretFile(name), l.SecretFile(as)); err != nil {
		return fmt.Errorf("retire secret: %w", err)
	}
	return syncDir(filepath.Dir(l.SecretFile(as)))
}

// RemoveSecrets removes those that are there. The next plan makes new ones.
func RemoveSecrets(l Layout, names ...string) error {
	for _, name := range names {
		if err := os.Remove(l.SecretFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove secret: %w", err)
		}
	}
	return syncDir(filepath.Dir(l.SecretFile(AdminSecret)))
}
