package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

// bundle is what a PEM file holds.
type bundle struct {
	keys  []crypto.Signer
	certs []*x509.Certificate

	// starts has, for each key, how many certificates came before it, and
	// origins the last comment that fromLine wrote before it.
	starts  []int
	origins []string
}

// fromLine begins the comment that says where a pair came from. RFC 7468
// section 2 has text between blocks ignored.
const fromLine = "# from "

// parseBundle reads PEM. complaints are the ends of sentences that begin with
// the file's name; with any of them the bundle is not to be used.
func parseBundle(content []byte) (b bundle, complaints []string) {
	if len(bytes.TrimSpace(content)) == 0 {
		return b, []string{"is empty"}
	}
	blocks, origin, rest := 0, "", content
	for {
		between, _, found := bytes.Cut(rest, []byte("-----BEGIN "))
		if !found {
			break
		}
		for line := range strings.Lines(string(between)) {
			if from, is := strings.CutPrefix(line, fromLine); is {
				origin = strings.TrimSpace(from)
			}
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if complaint := b.add(block, origin); complaint != "" {
			complaints = append(complaints, complaint)
		}
	}
	// Decode passes over a damaged block as if it were text.
	begun := bytes.Count(content, []byte("-----BEGIN "))
	switch {
	case blocks < begun:
		complaints = append(complaints, fmt.Sprintf("is damaged or cut off (%d of its %d PEM blocks can be read)", blocks, begun))
	case blocks == 0:
		complaints = append(complaints, "is not in PEM form")
	}
	return b, complaints
}

// add takes one block into the bundle, or says why it cannot.
func (b *bundle) add(block *pem.Block, origin string) string {
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Sprintf("holds a certificate that cannot be read (%v)", err)
		}
		b.certs = append(b.certs, cert)
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return "holds a private key that is encrypted with a passphrase"
		}
		key, err := parseKey(block)
		if err != nil {
			return "holds a private key that cannot be read"
		}
		b.keys = append(b.keys, key)
		b.starts = append(b.starts, len(b.certs))
		b.origins = append(b.origins, origin)
	case "ENCRYPTED PRIVATE KEY":
		return "holds a private key that is encrypted with a passphrase"
	case "EC PARAMETERS": // openssl ecparam writes it before the key
	default:
		return fmt.Sprintf("holds a %q, which does not belong there", block.Type)
	}
	return ""
}

// parseKey reads a key. Its error says nothing of the key's content.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("key of type %T", key)
}

// matches says whether a key is the one a certificate was made for.
func matches(key crypto.Signer, cert *x509.Certificate) bool {
	return sameKey(key.Public(), cert.PublicKey)
}

func sameKey(a, b crypto.PublicKey) bool {
	public, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b)
}

// keyKind names the kind of a key as the configuration does.
func keyKind(public crypto.PublicKey) string {
	switch public.(type) {
	case *ecdsa.PublicKey:
		return "ecdsa"
	case *rsa.PublicKey:
		return "rsa"
	case ed25519.PublicKey:
		return "ed25519"
	}
	return fmt.Sprintf("%T", public)
}

// pin is the SHA-256 of a public key's DER form, lower-case hexadecimal: the
// data of a TLSA record "3 1 1" (RFC 6698 section 2.1).
func pin(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "" // not of a key that this package has made or read
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// encode is the file form of a key and its chain, key first.
func encode(key crypto.Signer, chain ...*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return append(out, encodeCertificates(chain...)...), nil
}

func encodeCertificates(certificates ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}
