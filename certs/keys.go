package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// rsaBits is what Mozilla's intermediate recommendation allows and every client
// takes: 2048 would do until 2030 (NIST SP 800-57 part 1), 3072 beyond.
const rsaBits = 3072

// newKey makes a private key: "ecdsa", on the curve P-256, which every client of
// the last ten years takes, or "rsa".
func newKey(kind string) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("make key: no kind of key is called %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

func newPin(public crypto.PublicKey) Pin { return Pin{Kind: keyKind(public), SHA256: pin(public)} }

// readNext reads the keys of the next certificates; nil where there are none
// that can be used.
func readNext(d *directory) ([]crypto.Signer, error) {
	content, err := d.read(NextKeyFile, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, complaints := parseBundle(content)
	if len(complaints) > 0 {
		return nil, Problem{File: d.file(NextKeyFile), Text: complaints[0]}
	}
	return b.keys, nil
}

// writeNext sees to it that there is a key for the next certificate of each
// kind, none of them served or waiting to be, and returns them.
func (s Store) writeNext(d *directory, old []crypto.Signer, sets ...*Set) ([]crypto.Signer, error) {
	if s.isNext(old, sets) {
		return old, nil
	}
	var keys []crypto.Signer
	var content []byte
	for i, kind := range s.kinds() {
		var key crypto.Signer
		if i < len(old) && isKept(old[i], kind, sets) {
			key = old[i]
		} else {
			var err error
			if key, err = newKey(kind); err != nil {
				return nil, err
			}
		}
		form, err := encode(key)
		if err != nil {
			return nil, err
		}
		keys, content = append(keys, key), append(content, form...)
	}
	return keys, d.write(NextKeyFile, content, 0o600)
}

// isNext says whether keys are one of each kind for the next certificates.
func (s Store) isNext(keys []crypto.Signer, sets []*Set) bool {
	kinds := s.kinds()
	if len(keys) != len(kinds) {
		return false
	}
	for i, kind := range kinds {
		if !isKept(keys[i], kind, sets) {
			return false
		}
	}
	return true
}

// isKept says whether a key can be the next one of a kind.
func isKept(key crypto.Signer, kind string, sets []*Set) bool {
	return keyKind(key.Public()) == kind && !held(key, sets)
}

// lacksNext says why the next keys must be made, or "". They are made ahead of
// time where we make keys at all.
func (s Store) lacksNext(r *reading) string {
	if r.status.Own || len(r.status.Problems) > 0 || s.isNext(r.next, []*Set{r.served, r.pending}) {
		return ""
	}
	return "next keys are wanted: " + strings.Join(s.kinds(), " and ")
}

// keysChange says that the next renewal changes the kind of keys, or "". A
// renewal for that alone would serve a key whose TLSA record nobody could
// publish before.
func (s Store) keysChange(r *reading) string {
	if r.current == nil || r.current.mode != r.status.Mode || r.status.Own || s.fit(r.current) {
		return ""
	}
	kinds := make([]string, len(r.current.Main))
	for i, pair := range r.current.Main {
		kinds[i] = pair.Kind()
	}
	command := "mailstack cert renew"
	if s.Reuse {
		command += " --rollover"
	}
	return fmt.Sprintf("the certificate has another kind of key (%s) than is wanted (%s): with DANE, publish what `mailstack cert show --tlsa` prints, then `%s` changes it",
		strings.Join(kinds, " and "), strings.Join(s.kinds(), " and "), command)
}

func held(key crypto.Signer, sets []*Set) bool {
	for _, set := range sets {
		if set.holds(key.Public()) {
			return true
		}
	}
	return false
}
