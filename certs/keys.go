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
	var keys []crypto.Signer
	var content []byte
	same := len(old) == len(s.kinds())
	for i, kind := range s.kinds() {
		var key crypto.Signer
		if i < len(old) && keyKind(old[i].Public()) == kind && !held(old[i], sets) {
			key = old[i]
		} else {
			var err error
			if key, err = newKey(kind); err != nil {
				return nil, err
			}
			same = false
		}
		form, err := encode(key)
		if err != nil {
			return nil, err
		}
		keys, content = append(keys, key), append(content, form...)
	}
	if same {
		return keys, nil
	}
	return keys, d.write(NextKeyFile, content, 0o600)
}

func held(key crypto.Signer, sets []*Set) bool {
	for _, set := range sets {
		if set.holds(key.Public()) {
			return true
		}
	}
	return false
}
