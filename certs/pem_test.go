package certs

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// TestKeyForms: every form in which tools write a key that a server can use.
func TestKeyForms(t *testing.T) {
	der := func(content []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	ec := testKey.(*ecdsa.PrivateKey)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		pem  []pem.Block
		want crypto.Signer // nil: refused
	}{
		{"PKCS#8 EC", []pem.Block{{Type: "PRIVATE KEY", Bytes: der(x509.MarshalPKCS8PrivateKey(ec))}}, ec},
		{"PKCS#8 RSA", []pem.Block{{Type: "PRIVATE KEY", Bytes: der(x509.MarshalPKCS8PrivateKey(rsaKey))}}, rsaKey},
		{"PKCS#8 Ed25519", []pem.Block{{Type: "PRIVATE KEY", Bytes: der(x509.MarshalPKCS8PrivateKey(edKey))}}, edKey},
		{"PKCS#1", []pem.Block{{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}}, rsaKey},
		{"SEC 1", []pem.Block{{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}, {Type: "EC PRIVATE KEY", Bytes: der(x509.MarshalECPrivateKey(ec))}}, ec},
		{"not for signing", []pem.Block{{Type: "PRIVATE KEY", Bytes: der(x509.MarshalPKCS8PrivateKey(exchange))}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			content := []byte("Bag Attributes: none\n")
			for _, block := range test.pem {
				content = append(content, pem.EncodeToMemory(&block)...)
			}
			for _, form := range [][]byte{content, []byte(strings.TrimSpace(string(content))), []byte(strings.ReplaceAll(string(content), "\n", "\r\n"))} {
				b, complaints := parseBundle(form)
				if test.want == nil {
					if len(complaints) != 1 {
						t.Errorf("complaints: %v", complaints)
					}
					continue
				}
				if len(complaints) > 0 || len(b.keys) != 1 || !b.keys[0].(interface{ Equal(crypto.PrivateKey) bool }).Equal(test.want) {
					t.Errorf("not read: %v", complaints)
				}
			}
		})
	}
}

func TestAsProblem(t *testing.T) {
	for _, test := range []struct {
		err          error
		text, advice string
	}{
		{&fs.PathError{Op: "open", Path: "/f", Err: syscall.EACCES}, "/f cannot be read without more rights", "Run the command as root."},
		{&fs.PathError{Op: "open", Path: "/f", Err: syscall.EIO}, "/f cannot be read: input/output error", "general"},
		{fmt.Errorf("read: %w", Problem{File: "/g", Text: "is odd"}), "/g is odd", "general"},
		{Problem{"/g", "is odd", "own"}, "/g is odd", "own"},
		{errors.New("strange"), "/f cannot be read: strange", "general"},
	} {
		got := asProblem("/f", test.err, "general")
		if got.Error() != test.text || got.Hint() != test.advice {
			t.Errorf("%v: %q, %q", test.err, got.Error(), got.Hint())
		}
	}
	both := Problems{{"/a", "is odd", "mend"}, {"/b", "is odd", "mend"}, {"/c", "is odd", "other"}}
	if got := both.Hint(); got != "mend\nother" {
		t.Errorf("Hint = %q", got)
	}
}
