package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// bundle is what a PEM file holds.
type bundle struct {
	key   crypto.Signer // nil: none
	certs []*x509.Certificate
}

// parseBundle reads PEM. Text between blocks is passed over (RFC 7468 section 2
// has it ignored). complaints are the ends of sentences that begin with the
// file's name; with any of them the bundle is not to be used.
func parseBundle(content []byte) (b bundle, complaints []string) {
	if len(bytes.TrimSpace(content)) == 0 {
		return b, []string{"is empty"}
	}
	blocks := 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		blocks++
		if complaint := b.add(block); complaint != "" {
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
func (b *bundle) add(block *pem.Block) string {
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
		if b.key != nil {
			return "holds more than one private key"
		}
		key, err := parseKey(block)
		if err != nil {
			return "holds a private key that cannot be read"
		}
		b.key = key
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
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// encode is the file form of a key and its chain, key first.
func encode(key crypto.Signer, chain ...*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, cert := range chain {
		out = append(out, encodeCertificate(cert)...)
	}
	return out, nil
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}
