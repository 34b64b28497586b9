package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// broken is one way to break a file of key and certificate, and what is said.
type broken struct {
	name   string
	damage func(t *testing.T, path string, content []byte)
	text   string
}

// rewrite breaks a file's content.
func rewrite(change func(content []byte) []byte) func(*testing.T, string, []byte) {
	return func(t *testing.T, path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, change(bytes.Clone(content)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// constant is a file of that content.
func constant(content string) func(*testing.T, string, []byte) {
	return rewrite(func([]byte) []byte { return []byte(content) })
}

// blocks splits a file of a key and a certificate.
func blocks(content []byte) (key, cert []byte) {
	at := bytes.Index(content, []byte("-----BEGIN CERTIFICATE"))
	return content[:at], content[at:]
}

// replaced puts another file, directory, link… in a file's place.
func replaced(put func(path string) error) func(*testing.T, string, []byte) {
	return func(t *testing.T, path string, _ []byte) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := put(path); err != nil {
			t.Fatal(err)
		}
	}
}

func otherKey(t *testing.T) []byte {
	t.Helper()
	content, err := encode(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func brokenFiles(t *testing.T) []broken {
	return []broken{
		{"empty", constant(""), "is empty"},
		{"blank", constant("\n \n"), "is empty"},
		{"text", constant("hello\n"), "is not in PEM form"},
		{"binary", rewrite(func(c []byte) []byte { block, _ := pem.Decode(c); return block.Bytes }), "is not in PEM form"},
		{"cut off", rewrite(func(c []byte) []byte { return c[:len(c)-40] }), "is damaged or cut off (1 of its 2 PEM blocks can be read)"},
		{"cut off early", rewrite(func(c []byte) []byte { return c[:60] }), "is damaged or cut off (0 of its 1 PEM blocks can be read)"},
		{"base64 of the key damaged", rewrite(func(c []byte) []byte { c[40] = '!'; return c }), "is damaged or cut off (1 of its 2 PEM blocks can be read)"},
		{"key not DER", rewrite(func(c []byte) []byte {
			at := bytes.Index(c, []byte("KEY-----\n")) + 10
			c[at], c[at+1] = 'A', 'A'
			return c
		}), "holds a private key that cannot be read"},
		{"certificate not DER", rewrite(func(c []byte) []byte {
			key, _ := blocks(c)
			return append(key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2, 3}})...)
		}), "holds a certificate that cannot be read"},
		{"no key", rewrite(func(c []byte) []byte { _, cert := blocks(c); return cert }), "holds no private key"},
		{"two keys", rewrite(func(c []byte) []byte { key, _ := blocks(c); return append(c, key...) }), "holds more than one private key"},
		{"another key", rewrite(func(c []byte) []byte { _, cert := blocks(c); return append(otherKey(t), cert...) }), "holds a private key that is not the one of"},
		{"encrypted key", rewrite(func(c []byte) []byte {
			_, cert := blocks(c)
			return append(cert, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})...)
		}), "encrypted with a passphrase"},
		{"encrypted the old way", rewrite(func(c []byte) []byte {
			_, cert := blocks(c)
			return append(cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}})...)
		}), "encrypted with a passphrase"},
		{"request", constant(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{1}}))), `holds a "CERTIFICATE REQUEST", which does not belong there`},
		{"too large", rewrite(func([]byte) []byte { return make([]byte, maxFileBytes+1) }), "is too large to be a certificate"},
		{"link", replaced(func(path string) error { return os.Symlink("/etc/passwd", path) }), "is a symbolic link, which is not followed"},
		{"directory", replaced(func(path string) error { return os.Mkdir(path, 0o700) }), "is not a plain file"},
		{"pipe", replaced(func(path string) error { return unix.Mkfifo(path, 0o600) }), "is not a plain file"},
		{"readable by others", func(t *testing.T, path string, _ []byte) { chmod(t, path, 0o644) }, "holds a private key and can be read by others (mode 0644)"},
		{"writable by others", func(t *testing.T, path string, _ []byte) { chmod(t, path, 0o620) }, "can be written by others (mode 0620)"},
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenAuthority: whatever is wrong with the CA is said with the file and
// what to do, and nothing is replaced.
func TestBrokenAuthority(t *testing.T) {
	cases := append(brokenFiles(t),
		broken{"certificate of a leaf", rewrite(func([]byte) []byte {
			ca, err := newAuthority(example, start)
			if err != nil {
				t.Fatal(err)
			}
			content, err := encode(testKey, signed(t, ca, x509.Certificate{}))
			if err != nil {
				t.Fatal(err)
			}
			return content
		}), "holds a certificate that is not a CA's"},
		broken{"missing", replaced(func(string) error { return nil }), "is missing, and"},
	)
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			dir, good := renewed(t, example)
			key := filepath.Join(dir, AuthorityKeyFile)
			content, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			test.damage(t, key, content)
			before := snapshot(t, dir)

			for _, force := range []bool{false, true} {
				state, err := renewIn(t.Context(), dir, example, start, force)
				if err == nil {
					t.Fatal("no error")
				}
				if sentence := err.Error(); !strings.HasPrefix(sentence, key+" ") || !strings.Contains(sentence, test.text) || strings.Contains(sentence, "\n") {
					t.Errorf("error %q, want %q", sentence, test.text)
				}
				var hinted interface{ Hint() string }
				if hinted, _ = err.(interface{ Hint() string }); hinted == nil || !strings.Contains(hinted.Hint(), "backup") {
					t.Errorf("no hint with %v", err)
				}
				if !state.Usable(start) || state.Leaf.Fingerprint != good.Leaf.Fingerprint {
					t.Error("the certificate that is still good is not told of")
				}
			}
			if after := snapshot(t, dir); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("files changed:\n%v\n%v", before, after)
			}
		})
	}
}

// TestBrokenLeaf: a broken leaf is said to be one, and made anew.
func TestBrokenLeaf(t *testing.T) {
	for _, test := range brokenFiles(t) {
		t.Run(test.name, func(t *testing.T) {
			dir, good := renewed(t, example)
			content, err := os.ReadFile(good.File)
			if err != nil {
				t.Fatal(err)
			}
			test.damage(t, good.File, content)
			if test.name == "two keys" { // it may hold two, with a certificate each
				test.text = "holds a private key without its certificate"
			}

			state := inspect(t, dir, example, start)
			due, cause := state.Due()
			if !due || !strings.HasPrefix(cause, good.File+" ") || !strings.Contains(cause, test.text) {
				t.Errorf("Due = %v, %q; want %q", due, cause, test.text)
			}
			if len(state.Problems) != 1 || state.Problems[0].Advice != leafAdvice || state.Usable(start) {
				t.Errorf("problems %v, usable %v", state.Problems, state.Usable(start))
			}
			if test.name == "directory" { // may hold something: not ours to remove
				if _, err := renewIn(t.Context(), dir, example, start, false); err == nil {
					t.Error("a directory was replaced")
				}
				return
			}
			if mended := renew(t, dir, example, start, false); len(mended.Problems) > 0 || mended.Leaf == nil {
				t.Errorf("not mended: %v", mended.Problems)
			}
		})
	}
	t.Run("issued by another CA", func(t *testing.T) {
		dir, _ := renewed(t, example)
		other, _ := renewed(t, example)
		for _, name := range []string{AuthorityFile, AuthorityKeyFile} {
			if err := os.Rename(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, cause := inspect(t, dir, example, start).Due(); cause != "the certificate was not issued by the CA that is there now" {
			t.Errorf("cause %q", cause)
		}
	})
	t.Run("CA gone", func(t *testing.T) {
		dir, _ := renewed(t, example)
		for _, name := range []string{AuthorityFile, AuthorityKeyFile} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, cause := inspect(t, dir, example, start).Due(); cause != "there is no CA any more" {
			t.Errorf("cause %q", cause)
		}
	})
}

func TestBrokenDirectory(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(dir string) error
		text   string
	}{
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "is not a directory"},
		{"a link", func(dir string) error { return os.Symlink(os.TempDir(), dir) }, "is not a directory"},
		{"writable by others", func(dir string) error { return os.Mkdir(dir, 0o700) }, "can be written by others (mode 0777)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			if err := test.damage(dir); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(test.text, "0777") {
				chmod(t, dir, 0o777)
			}
			state := inspect(t, dir, example, start)
			if len(state.Problems) != 1 || !strings.Contains(state.Problems.Error(), test.text) {
				t.Errorf("problems %v", state.Problems)
			}
			if _, err := renewIn(t.Context(), dir, example, start, true); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Renew: %v, want %q", err, test.text)
			}
		})
	}
	t.Run("readable by others", func(t *testing.T) {
		dir, _ := renewed(t, example)
		chmod(t, dir, 0o755)
		renew(t, dir, example, start, false)
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	})
}

// TestAuthorityInTwoFiles: a CA that somebody brought as key and certificate.
func TestAuthorityInTwoFiles(t *testing.T) {
	dir, first := renewed(t, example)
	content, err := os.ReadFile(filepath.Join(dir, AuthorityKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := blocks(content)
	if err := os.WriteFile(filepath.Join(dir, AuthorityKeyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if state := renew(t, dir, example, start, true); state.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Error("the CA was replaced")
	}
}
