package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/certs"
	"mailstack/certs/acme/pebble"
)

var example = certs.Names{Hostname: "mail.example.org", Aliases: []string{"imap.example.org", "mta-sts.example.org"}}

// config is one that gets certificates from a CA by http-01.
func config(t *testing.T, ca *pebble.CA) Config {
	t.Helper()
	return Config{
		Dir: filepath.Join(t.TempDir(), "acme"), Directory: ca.Directory, CAFile: ca.CAFile,
		HTTPAddress: pebble.Address(ca.HTTPPort), TLSAddress: pebble.Address(ca.TLSPort), Resolvers: []string{ca.DNS},
	}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// obtain gets one certificate, which has to succeed.
func obtain(t *testing.T, cfg Config, names certs.Names, key crypto.Signer) []*x509.Certificate {
	t.Helper()
	return obtainAt(t, New(cfg), names, key, time.Now())
}

func obtainAt(t *testing.T, source *Source, names certs.Names, key crypto.Signer, now time.Time) []*x509.Certificate {
	t.Helper()
	pairs, err := source.Obtain(t.Context(), names, keys(key), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(pairs) != 1 || pairs[0].Key != key {
		t.Fatalf("%d pairs, or another key", len(pairs))
	}
	return pairs[0].Chain
}

// refused expects an error, and text in it and in its hint.
func refused(t *testing.T, err error, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %q does not say %q", err, text)
	}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		if !strings.Contains(hinted.Hint(), hint) {
			t.Errorf("hint %q does not say %q", hinted.Hint(), hint)
		}
	} else if hint != "" {
		t.Errorf("no hint in %v", err)
	}
}

// verify holds a chain against the roots of the CA that runs now.
func verify(t *testing.T, ca *pebble.CA, chain []*x509.Certificate, names certs.Names) {
	t.Helper()
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, name := range names.List() {
		if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Roots(t), Intermediates: between}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if want := slices.Sorted(slices.Values(names.List())); !slices.Equal(slices.Sorted(slices.Values(chain[0].DNSNames)), want) {
		t.Errorf("names %v, want %v", chain[0].DNSNames, want)
	}
}

func TestHTTP01(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	verify(t, ca, obtain(t, cfg, example, newKey(t)), example)
	if ca.Orders() != 1 {
		t.Errorf("%d orders for all names, want 1", ca.Orders())
	}
	if _, err := net.Dial("tcp", cfg.HTTPAddress); err == nil {
		t.Error("the port for the challenge is still open")
	}
	private(t, cfg.Dir)
}

// private expects that nobody else can read what is kept.
func private(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !entry.IsDir() {
			files++
		}
		return nil
	})
	if err != nil || files != 2 {
		t.Errorf("%d files (%v), want account.key and record.json", files, err)
	}
}

func TestWebroot(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	cfg.Webroot = t.TempDir()
	serveFiles(t, ca, cfg.Webroot)
	verify(t, ca, obtain(t, cfg, example, newKey(t)), example)
	left, err := os.ReadDir(filepath.Join(cfg.Webroot, httpPath))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the web server's directory: %v %v", left, err)
	}
}

// serveFiles is a web server on the port where the CA looks.
func serveFiles(t *testing.T, ca *pebble.CA, dir string) {
	t.Helper()
	listener, err := net.Listen("tcp", pebble.Address(ca.HTTPPort))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
}

// TestWebrootStaysInside gives mailstack a web server's directory in which
// somebody has laid links to the outside.
func TestWebrootStaysInside(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	a := []answer{{name: "mail.example.org", token: "token", keyAuth: "token.thumb"}}
	if err := os.Symlink(outside, filepath.Join(root, ".well-known")); err != nil {
		t.Fatal(err)
	}
	err := webroot{dir: root}.present(t.Context(), a)
	if err == nil {
		t.Error("followed a link to the outside")
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestTLSALPN01(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	cfg.Challenge = TLSALPN01
	verify(t, ca, obtain(t, cfg, example, newKey(t)), example)
	if _, err := net.Dial("tcp", cfg.TLSAddress); err == nil {
		t.Error("the port for the challenge is still open")
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	listener, err := net.Listen("tcp", cfg.HTTPAddress)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	_, err = New(cfg).Obtain(t.Context(), example, keys(key), time.Now())
	refused(t, err, "listen on "+cfg.HTTPAddress+" for http-01: ", "Another program has the port")
	// Nothing was refused by the authority: the same order is gone on with at once.
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	verify(t, ca, obtain(t, cfg, example, key), example)
	if ca.Orders() != 1 {
		t.Errorf("%d orders, want 1", ca.Orders())
	}
}

func TestExternalAccount(t *testing.T) {
	t.Parallel()
	const hmac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	ca := pebble.Start(t, pebble.Options{EABKeys: map[string]string{"kid-1": hmac}})
	cfg := config(t, ca)
	try := func() error {
		_, err := New(cfg).Obtain(t.Context(), example, keys(newKey(t)), time.Now())
		return err
	}
	refused(t, try(), "externalAccountRequired: ", "tls.acme_eab_kid")

	cfg.EABKeyID, cfg.EABKeyFile = "kid-1", filepath.Join(t.TempDir(), "eab")
	refused(t, try(), cfg.EABKeyFile+" does not exist", "")
	write(t, cfg.EABKeyFile, "dG9vIHNob3J0\n")
	refused(t, try(), "invalid key size", "as the authority gave them")
	write(t, cfg.EABKeyFile, strings.ToUpper(hmac)+"\n")
	refused(t, try(), "unauthorized: ", "as the authority gave them")
	write(t, cfg.EABKeyFile, hmac+"\n")
	refused(t, try(), " is not asked before ", "`mailstack cert renew` asks it at once")
	verify(t, ca, obtainAt(t, New(cfg).ByHand(), example, newKey(t), time.Now().Add(askedPause)), example)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{Profiles: map[string]int{"tlsserver": 45 * 24 * 3600, "shortlived": 160 * 3600}})
	cfg := config(t, ca)
	cfg.Profile = "shortlived"
	chain := obtain(t, cfg, example, newKey(t))
	if life := chain[0].NotAfter.Sub(chain[0].NotBefore).Round(time.Hour); life != 160*time.Hour {
		t.Errorf("life %v, want 160 hours", life)
	}
	status := New(cfg).Status(example, chain[0], time.Now())
	if status.Stale != "" {
		t.Errorf("stale at once: %s", status.Stale)
	}
	cfg.Profile = "tlsserver"
	if status := New(cfg).Status(example, chain[0], time.Now()); !strings.Contains(status.Stale, `profile "tlsserver"`) {
		t.Errorf("another profile is wanted, and stale is %q", status.Stale)
	}
	cfg.Profile = "classic"
	_, err := New(cfg).Obtain(t.Context(), example, keys(newKey(t)), time.Now())
	refused(t, err, `invalidProfile: `, "tls.acme_profile can be shortlived, tlsserver")
}

func TestBadNonces(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{RejectNonces: 40})
	verify(t, ca, obtain(t, config(t, ca), example, newKey(t)), example)
}

// TestEarlierProofs: an authority may take a proof that it has seen before, for
// some names, for all or for none.
func TestEarlierProofs(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			ca := pebble.Start(t, pebble.Options{ReuseProofs: percent})
			cfg := config(t, ca)
			obtain(t, cfg, example, newKey(t))
			before := ca.Front.Requests(pebble.Challenge)
			more := certs.Names{Hostname: example.Hostname, Aliases: append(slices.Clone(example.Aliases), "pop3.example.org")}
			verify(t, ca, obtain(t, cfg, more, newKey(t)), more)
			looked := ca.Front.Requests(pebble.Challenge) - before
			if percent == 0 && looked != 4 || percent == 100 && looked != 1 {
				t.Errorf("%d challenges for one more name", looked)
			}
		})
	}
}

// TestTwoKeys: an ECDSA certificate and its RSA twin are two orders.
func TestTwoKeys(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{ReuseProofs: 100})
	keys := []crypto.Signer{newKey(t), newKey(t)}
	pairs, err := New(config(t, ca)).Obtain(t.Context(), example, keys, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, pair := range pairs {
		verify(t, ca, pair.Chain, example)
		if !pair.Chain[0].PublicKey.(*ecdsa.PublicKey).Equal(keys[i].Public()) {
			t.Errorf("pair %d is for another key", i)
		}
	}
}

// TestNewRoots: an authority that has lost everything, its roots included, is
// one more authority to us.
func TestNewRoots(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	first := obtain(t, cfg, example, newKey(t))
	ca.Stop()
	ca.Run(t)
	second := obtain(t, cfg, example, newKey(t))
	verify(t, ca, second, example)
	if _, err := first[0].Verify(x509.VerifyOptions{Roots: ca.Roots(t)}); err == nil {
		t.Error("the old certificate is valid for the new root: nothing was tested")
	}
}

// TestSameKeyAgain: what has been issued for a key and its names is not asked
// for again, unless a person wants it.
func TestSameKeyAgain(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg, key := config(t, ca), newKey(t)
	first := obtain(t, cfg, example, key)
	requests := ca.Front.Requests("")
	again := obtain(t, cfg, example, key)
	if !again[0].Equal(first[0]) || ca.Front.Requests("") != requests {
		t.Error("asked again for what is there")
	}
	if wanted := obtainAt(t, New(cfg).ByHand(), example, key, time.Now()); wanted[0].Equal(first[0]) {
		t.Error("a person asked for a new one and got the old one")
	}
	other := certs.Names{Hostname: example.Hostname}
	verify(t, ca, obtain(t, cfg, other, key), other)
	if n := ca.Front.Requests(pebble.NewAccount); n != 1 {
		t.Errorf("%d accounts for all of them, want 1", n)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg := config(t, ca)
	ca.Stop()
	key := newKey(t)
	_, err := New(cfg).Obtain(t.Context(), example, keys(key), time.Now())
	refused(t, err, "get a certificate for mail.example.org, imap.example.org, mta-sts.example.org from "+pebble.Host+": ", "")
	ca.Run(t)
	verify(t, ca, obtain(t, cfg, example, key), example) // at once: nothing was refused

	cfg.Dir, cfg.CAFile = t.TempDir()+"/acme", ""
	_, err = New(cfg).Obtain(t.Context(), example, keys(key), time.Now())
	refused(t, err, "certificate signed by unknown authority", "tls.acme_ca_file")
}

// TestCutOff ends a run as a signal would: nothing counts as failed.
func TestCutOff(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	cfg, key := config(t, ca), newKey(t)
	ctx, cancel := context.WithCancel(t.Context())
	ca.Front.Intercept(func(w http.ResponseWriter, r *http.Request, _ string, forward http.HandlerFunc) {
		forward(w, r)
		if strings.HasPrefix(r.URL.Path, pebble.Finalize) {
			cancel()
		}
	})
	if _, err := New(cfg).Obtain(ctx, example, keys(key), time.Now()); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	ca.Front.Intercept(nil)
	verify(t, ca, obtain(t, cfg, example, key), example)
	if ca.Orders() != 1 || ca.Issued() != 1 {
		t.Errorf("%d orders, %d certificates, want 1 of each", ca.Orders(), ca.Issued())
	}
}
