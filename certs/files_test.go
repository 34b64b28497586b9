package certs

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/certs/certstest"
)

// Whatever form somebody's tool writes is taken.
func TestFilesInEveryForm(t *testing.T) {
	p := certstest.New(t, start)
	for _, kind := range []string{"ecdsa", "rsa"} {
		key := certstest.Key(t, kind)
		leaf := p.Leaf(t, key, nil, example.list()...)
		l, m, r := encodeCertificates(leaf), encodeCertificates(p.Middle), encodeCertificates(p.Root)
		for form, k := range certstest.Forms(t, key) {
			for name, parts := range map[string][][]byte{
				"key first":     {k, l, m, r},
				"key last":      {l, m, r, k},
				"any order":     {r, k, m, l},
				"no newline":    {k, l, m, bytes.TrimSpace(r)},
				"with comments": {[]byte("Bag Attributes\n  friendlyName: x\n"), k, []byte("subject=x\n"), l, m, []byte("\n\n"), r},
				"Windows":       {bytes.ReplaceAll(slices.Concat(k, l, m, r), []byte("\n"), []byte("\r\n"))},
				"doubled":       {k, l, l, m, m, r},
			} {
				t.Run(kind+" "+form+" "+name, func(t *testing.T) {
					file := certstest.Put(t, filepath.Join(t.TempDir(), "cert.pem"), 0o600, parts...)
					pairs, problems := ReadFiles(file, "", &example, start)
					if len(problems) > 0 || len(pairs) != 1 || !pairs[0].Chain[0].Equal(leaf) || len(pairs[0].Chain) != 3 || !pairs[0].Chain[1].Equal(p.Middle) {
						t.Fatalf("%d pairs, %v", len(pairs), problems)
					}
				})
			}
		}
	}
	t.Run("two files, as certbot's", func(t *testing.T) {
		dir, key := t.TempDir(), certstest.Key(t, "ecdsa")
		k := certstest.Forms(t, key)["PKCS#8"]
		archive := certstest.Put(t, filepath.Join(dir, "privkey1.pem"), 0o600, k)
		if err := os.Symlink(archive, filepath.Join(dir, keyName)); err != nil {
			t.Fatal(err)
		}
		certstest.Put(t, filepath.Join(dir, chainName), 0o644, encodeCertificates(p.Leaf(t, key, nil, example.list()...), p.Middle, p.Root))
		for _, ask := range [][2]string{{dir, ""}, {filepath.Join(dir, chainName), filepath.Join(dir, keyName)}} {
			if pairs, problems := ReadFiles(ask[0], ask[1], &example, start); len(pairs) != 1 {
				t.Errorf("%v: %v", ask, problems)
			}
		}
	})
	t.Run("two kinds of key", func(t *testing.T) {
		e, r := certstest.Key(t, "ecdsa"), certstest.Key(t, "rsa")
		file := certstest.Put(t, filepath.Join(t.TempDir(), "cert.pem"), 0o600, certstest.Forms(t, r)["PKCS#1"], certstest.Forms(t, e)["SEC 1"],
			encodeCertificates(p.Leaf(t, r, nil, example.list()...), p.Leaf(t, e, nil, example.list()...), p.Middle, p.Root))
		pairs, problems := ReadFiles(file, "", &example, start)
		if len(pairs) != 2 || pairs[0].Kind() != "ecdsa" || pairs[1].Kind() != "rsa" {
			t.Errorf("%d pairs, %v", len(pairs), problems)
		}
	})
	t.Run("Ed25519 beside RSA", func(t *testing.T) {
		e, r := certstest.Key(t, "ed25519"), certstest.Key(t, "rsa")
		file := certstest.Put(t, filepath.Join(t.TempDir(), "cert.pem"), 0o600,
			certstest.Forms(t, r)["PKCS#1"], certstest.Forms(t, e)["PKCS#8"],
			p.Chain(p.Leaf(t, r, nil, example.list()...)), certstest.Certificates(p.Leaf(t, e, nil, example.list()...)))
		pairs, problems := ReadFiles(file, "", &example, start)
		if len(pairs) != 2 || pairs[0].Kind() != "ed25519" || pairs[1].Kind() != "rsa" {
			t.Errorf("%d pairs, %v", len(pairs), problems)
		}
	})
	t.Run("self-signed", func(t *testing.T) {
		key := certstest.Key(t, "ecdsa")
		cert := p.SelfSigned(t, key, example.list()...)
		file := certstest.Put(t, filepath.Join(t.TempDir(), "cert.pem"), 0o600, certstest.Forms(t, key)["PKCS#8"], encodeCertificates(cert))
		if pairs, problems := ReadFiles(file, "", &example, start); len(pairs) != 1 {
			t.Error(problems)
		}
	})
	t.Run("a wildcard", func(t *testing.T) {
		key := certstest.Key(t, "ecdsa")
		leaf := p.Leaf(t, key, func(c *x509.Certificate) { c.DNSNames = []string{"*.example.org"} })
		file := certstest.Put(t, filepath.Join(t.TempDir(), "cert.pem"), 0o600, certstest.Forms(t, key)["PKCS#8"], encodeCertificates(leaf, p.Middle, p.Root))
		status := Files(file, "").Status(example, nil, start)
		if len(status.Brought) != 1 || len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0], "does not cover smtp.example.net: programs that connect by that name will complain") {
			t.Errorf("%v, warnings %q", status.Problems, status.Warnings)
		}
	})
}

// Broken files are refused, each with a sentence of its own, and what is served
// stays.
func TestBrokenFiles(t *testing.T) {
	p := certstest.New(t, start)
	key := certstest.Key(t, "ecdsa")
	seen := map[string]bool{}
	for _, test := range p.Broken(t, example.Hostname) {
		t.Run(test.Name, func(t *testing.T) {
			dir := t.TempDir()
			cert, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
			certstest.Put(t, cert, 0o644, encodeCertificates(p.Leaf(t, key, nil, example.list()...), p.Middle, p.Root))
			certstest.Put(t, keyFile, 0o600, certstest.Forms(t, key)["PKCS#8"])
			s := Store{Dir: filepath.Join(dir, "ca"), Source: Files(cert, keyFile), Names: example}
			first := mustSettle(t, s, start, IfDue)

			remove(t, cert, keyFile)
			test.Write(t, cert, keyFile)
			want := strings.NewReplacer("$cert", cert, "$key", keyFile).Replace(test.Text)
			for _, ask := range []Ask{IfDue, Anyway} {
				state, err := s.Renew(t.Context(), start, ask)
				if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %v, want %s", err, want)
				}
				if refused := state.Refused(); refused == nil || refused.Error() != err.Error() {
					t.Errorf("Refused = %v", refused)
				}
				if state.Leaf == nil || state.Leaf.Fingerprint != first.Leaf.Fingerprint || state.Pending != nil || newestLeaf(t, s) != first.Leaf.Fingerprint {
					t.Error("what is served did not stay")
				}
				if due, cause := state.Due(); due {
					t.Errorf("due, and nothing can be done: %s", cause)
				}
			}
			seen[test.Text] = true
		})
	}
	if len(seen) < 20 {
		t.Errorf("%d sentences", len(seen))
	}
}

func TestFilesAreTakenWhenTheyChange(t *testing.T) {
	p, dir := certstest.New(t, start), t.TempDir()
	file := filepath.Join(dir, "cert.pem")
	write := func() string {
		key := certstest.Key(t, "ecdsa")
		leaf := p.Leaf(t, key, nil, example.list()...)
		certstest.Put(t, file, 0o600, encodeCertificates(leaf, p.Middle, p.Root), certstest.Forms(t, key)["SEC 1"])
		return fingerprint(leaf)
	}
	s := local(filepath.Join(dir, "ca"), example)
	own := mustSettle(t, s, start, IfDue)

	s.Source = Files(file, "")
	first := write()
	state := mustSettle(t, s, start, IfDue)
	if state.Leaf.Fingerprint != first || state.Renewed != `it is of the mode "self-signed", and "files" is wanted` || state.Mode != "files" {
		t.Errorf("mode %q, renewed %q", state.Mode, state.Renewed)
	}
	if again := mustSettle(t, s, start, Anyway); again.Renewed != "" {
		t.Errorf("taken twice: %q", again.Renewed)
	}
	second := write()
	if state = mustSettle(t, s, start, IfDue); state.Leaf.Fingerprint != second || state.Renewed != "there is another one in the file" {
		t.Errorf("renewed %q", state.Renewed)
	}
	if late, _ := s.Inspect(start.Add(80 * day)); len(late.Warnings) != 1 || !strings.Contains(late.Warnings[0], "put a new one into "+file) {
		t.Errorf("warnings %q", late.Warnings)
	}

	// Back to the CA that devices trust already.
	s.Source = LocalCA(s.Dir)
	state = mustSettle(t, s, start, IfDue)
	if state.Authority.Fingerprint != own.Authority.Fingerprint || state.Mode != selfSigned || state.Renewed == "" {
		t.Errorf("back: mode %q, renewed %q", state.Mode, state.Renewed)
	}
}

func TestExtra(t *testing.T) {
	p, dir := certstest.New(t, start), t.TempDir()
	write := func(file string, names ...string) string {
		key := certstest.Key(t, "ecdsa")
		leaf := p.Leaf(t, key, func(c *x509.Certificate) { c.DNSNames = names })
		certstest.Put(t, file, 0o600, encodeCertificates(leaf, p.Middle, p.Root), certstest.Forms(t, key)["SEC 1"])
		return fingerprint(leaf)
	}
	a, b := filepath.Join(dir, "a.pem"), filepath.Join(dir, "b.pem")
	s := local(filepath.Join(dir, "ca"), example)
	s.Extra = []string{a, b}
	first := write(a, "mail.example.com", "MAIL.example.org", "*.example.com")
	write(b, "mail.example.com", "mail.example.net")
	state := mustSettle(t, s, start, IfDue)
	if len(state.Extra) != 2 || !slices.Equal(state.Extra[0].Names, []string{"mail.example.com", "*.example.com"}) || !slices.Equal(state.Extra[1].Names, []string{"mail.example.net"}) {
		t.Fatalf("extra %+v", state.Extra)
	}
	leaf := state.Leaf.Fingerprint

	// A refused one keeps its place, the other one changes, the main one stays.
	certstest.Put(t, a, 0o600, []byte("broken"))
	second := write(b, "mail.example.net")
	state = mustSettle(t, s, start, IfDue)
	if state.Extra[0].Certificate.Fingerprint != first || state.Extra[1].Certificate.Fingerprint != second || state.Leaf.Fingerprint != leaf {
		t.Errorf("extra %+v", state.Extra)
	}
	if state.Renewed != "the certificates for further names changed: "+b+" changed" {
		t.Errorf("renewed %q", state.Renewed)
	}
	if refused := state.Refused(); refused == nil || refused.Error() != a+" is not in PEM form" {
		t.Errorf("refused %v", refused)
	}

	s.Extra = s.Extra[1:]
	state = mustSettle(t, s, start, IfDue)
	if len(state.Extra) != 1 || state.Refused() != nil || state.Renewed != "the certificates for further names changed: "+a+" removed" {
		t.Errorf("extra %+v, renewed %q", state.Extra, state.Renewed)
	}

	// One whose names are all taken is of no use.
	write(b, "mail.example.org")
	if state = mustSettle(t, s, start, IfDue); len(state.Extra) != 0 || len(state.Warnings) != 1 {
		t.Errorf("extra %+v, warnings %q", state.Extra, state.Warnings)
	}
}
