package stack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// pendingID is where the id is kept until the first up has completed.
func (l Layout) pendingIDFile() string { return l.IDFile() + ".pending" }

// ReadIdentity reads the stack's id and secrets, and makes in memory those
// that do not exist. names are the secrets that the stack needs. A secret that
// is there but cannot be used is an error; so is a missing AdminSecret of a
// stack that has a database.
func ReadIdentity(l Layout, names []string, now time.Time) (Identity, error) {
	id := Identity{Secrets: map[string]Secret{}}
	var err error
	switch id.ID, err = readID(l.IDFile()); {
	case err == nil:
		id.Initialised = true
	case !errors.Is(err, fs.ErrNotExist):
		return id, err
	default:
		if id.ID, err = readID(l.pendingIDFile()); errors.Is(err, fs.ErrNotExist) {
			id.ID, id.NewID, err = strings.ToLower(rand.Text()), true, nil
		}
		if err != nil {
			return id, err
		}
	}
	var errs []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		s, err := ReadSecret(l, name)
		if errors.Is(err, fs.ErrNotExist) && (name != AdminSecret || !id.Initialised) {
			s = newSecret(now.Unix(), rand.Text())
			id.New = append(id.New, name)
			err = nil
		} else if errors.Is(err, fs.ErrNotExist) {
			err = &SecretError{Name: name, Path: l.SecretFile(name), Err: errors.New("the file is missing")}
		}
		id.Secrets[name] = s
		errs = append(errs, err)
	}
	return id, errors.Join(errs...)
}

// readID reads a stack id.
func readID(path string) (string, error) {
	data, _, err := readRegular(path, 256)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return "", fmt.Errorf("read stack id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if len(id) != secretLength || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", fmt.Errorf("read stack id: %s is corrupt: the marks of the volumes (%s) hold the same id, put it back from there", path, MarkName)
	}
	return id, nil
}

// ReadID is the id of the stack, initialised or half made; empty where there
// is none.
func ReadID(l Layout) (string, error) {
	id, err := readID(l.IDFile())
	if errors.Is(err, fs.ErrNotExist) {
		id, err = readID(l.pendingIDFile())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return id, err
}
