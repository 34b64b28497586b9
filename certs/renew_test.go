package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	start   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	example = Names{Hostname: "mail.example.org", Aliases: []string{"imap.example.org", "smtp.example.net"}}
)

const day = 24 * time.Hour

// renewed makes a directory with a CA and a certificate, as a first run does.
func renewed(t *testing.T, names Names) (string, State) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	return dir, renew(t, dir, names, start, false)
}

func renew(t *testing.T, dir string, names Names, now time.Time, force bool) State {
	t.Helper()
	state, err := renewIn(t.Context(), dir, names, now, force)
	if err != nil {
		t.Fatalf("Renew: %v", err)
	}
	return state
}

func inspect(t *testing.T, dir string, names Names, now time.Time) State {
	t.Helper()
	state, err := local(dir, names).Inspect(now)
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	return state
}

// certificates reads all certificates of a file, as a client's library would.
func certificates(t *testing.T, file string) []*x509.Certificate {
	t.Helper()
	rest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, cert)
	}
}

func TestFirstRenewMakesAuthorityAndLeaf(t *testing.T) {
	dir, state := renewed(t, example)

	if state.Renewed != "there is no certificate yet" {
		t.Errorf("Renewed = %q", state.Renewed)
	}
	for name, mode := range map[string]fs.FileMode{".": 0o700, ServerFile: 0o600, NextKeyFile: 0o600, AuthorityKeyFile: 0o600, AuthorityFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), mode)
		}
	}
	leaf := certificates(t, state.File)[0]
	ca := certificates(t, filepath.Join(dir, AuthorityFile))[0]
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, name := range []string{"mail.example.org", "imap.example.org", "smtp.example.net"} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: start}); err != nil {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	if got := leaf.NotAfter.Sub(leaf.NotBefore) + time.Second; got != 90*day {
		t.Errorf("the leaf lives %v", got)
	}
	if !leaf.NotBefore.Equal(start.Add(-time.Hour)) {
		t.Errorf("the leaf begins %v", leaf.NotBefore)
	}
	if !ca.IsCA || !ca.MaxPathLenZero || ca.MaxPathLen != 0 || !ca.PermittedDNSDomainsCritical {
		t.Errorf("the CA is %+v", ca)
	}
	if got := ca.NotAfter; !got.Equal(start.AddDate(10, 0, 0)) {
		t.Errorf("the CA ends %v", got)
	}
	for _, cert := range []*x509.Certificate{leaf, ca} {
		if bits := cert.SerialNumber.BitLen(); bits > 128 || bits < 96 {
			t.Errorf("a serial number of %d bits", bits)
		}
		if cert.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("a key of kind %v", cert.PublicKeyAlgorithm)
		}
	}
	content, _ := os.ReadFile(state.File)
	if !bytes.HasPrefix(content, []byte("# from self-signed\n-----BEGIN PRIVATE KEY-----")) {
		t.Error("the key does not come before its chain")
	}
	if due, cause := state.Due(); due || len(state.Problems) > 0 || !state.Usable(start) {
		t.Errorf("fresh and yet due %v (%s), problems %v", due, cause, state.Problems)
	}
}

// TestConstraints signs what the CA must not sign, with the CA's own key, and
// has Go's verifier refuse it.
func TestConstraints(t *testing.T) {
	ca, err := newAuthority(example, start)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	verify := func(names x509.Certificate) error {
		leaf := signed(t, ca, names)
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start})
		return err
	}
	for _, good := range []string{"mail.example.org", "deep.mail.example.org", "smtp.example.net", "*.imap.example.org"} {
		if err := verify(x509.Certificate{DNSNames: []string{good}}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for name, bad := range outside(t) {
		if err := verify(bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	code := signed(t, ca, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if _, err := code.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: start, KeyUsages: code.ExtKeyUsage}); err == nil {
		t.Error("a certificate for signing code was accepted")
	}
	sub := signed(t, ca, x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, DNSNames: []string{"mail.example.org"}})
	below := signed(t, &authority{cert: sub, key: testKey}, x509.Certificate{DNSNames: []string{"mail.example.org"}})
	between := x509.NewCertPool()
	between.AddCert(sub)
	if _, err := below.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: start}); err == nil {
		t.Error("a CA below the CA was accepted")
	}
}

func TestDue(t *testing.T) {
	dir, _ := renewed(t, example)
	notBefore := start.Add(-time.Hour)
	tests := []struct {
		name  string
		now   time.Time
		names Names
		cause string // part of it; "" for not due
	}{
		{"fresh", start, example, ""},
		{"a third of 90 days and a bit left", notBefore.Add(60*day - time.Minute), example, ""},
		{"a bit less than a third left", notBefore.Add(60*day + time.Minute), example, "less than a third of its life is left (29 days)"},
		{"over", notBefore.Add(91 * day), example, "ended on 2026-05-30"},
		{"clock behind", start.Add(-2 * time.Hour), example, "after this host's clock"},
		{"order and case", start, Names{"MAIL.example.org", []string{"smtp.example.net.", "imap.example.org", "mail.example.org"}}, ""},
		{"alias removed", start, Names{"mail.example.org", []string{"imap.example.org"}}, "smtp.example.net removed"},
		{"alias below", start, Names{"mail.example.org", []string{"imap.example.org", "smtp.example.net", "a.mail.example.org"}}, "its names changed: a.mail.example.org added"},
		{"alias outside", start, Names{"mail.example.org", []string{"imap.example.org", "smtp.example.net", "example.org"}}, "example.org added; the CA is constrained to"},
		{"CA about to end", start.AddDate(10, 0, -30), example, "ended on"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			state := inspect(t, dir, test.names, test.now)
			due, cause := state.Due()
			if due != (test.cause != "") || !strings.Contains(cause, test.cause) {
				t.Errorf("Due = %v, %q; want %q", due, cause, test.cause)
			}
		})
	}
}

func TestShareAndDays(t *testing.T) {
	_, state := renewed(t, example)
	end := state.Leaf.NotAfter
	for _, test := range []struct {
		now   time.Time
		days  int
		share float64
	}{
		{end.Add(-45 * day), 45, 0.5},
		{end.Add(-time.Hour), 0, 0},
		{end.Add(time.Hour), -1, 0},
		{start.Add(-50 * day), 139, 1},
	} {
		if got := state.Days(test.now); got != test.days {
			t.Errorf("Days at %v = %d, want %d", test.now, got, test.days)
		}
		if got := state.Share(test.now); got < test.share-0.001 || got > test.share+0.001 {
			t.Errorf("Share at %v = %v, want %v", test.now, got, test.share)
		}
	}
	if none := (State{}); none.Days(start) != 0 || none.Share(start) != 0 || none.Usable(start) {
		t.Error("a State without a certificate has life left")
	}
}

func TestRenewLeavesAloneWhatIsNotDue(t *testing.T) {
	dir, first := renewed(t, example)
	before := snapshot(t, dir)
	second := renew(t, dir, example, start.Add(day), false)
	if second.Renewed != "" || second.Leaf.Fingerprint != first.Leaf.Fingerprint {
		t.Errorf("renewed: %q", second.Renewed)
	}
	if after := snapshot(t, dir); !slices.Equal(before, after) {
		t.Errorf("files changed:\n%v\n%v", before, after)
	}
	forced := renew(t, dir, example, start.Add(day), true)
	if forced.Renewed != "asked for" || forced.Leaf.Fingerprint == first.Leaf.Fingerprint {
		t.Errorf("not renewed by force: %q", forced.Renewed)
	}
	if forced.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Error("force made a new CA")
	}
}

// snapshot lists files with size, mode, inode order and time of change.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, info.Mode().String()+" "+entry.Name()+" "+info.ModTime().String())
	}
	return lines
}

func TestWildcard(t *testing.T) {
	names := Names{Hostname: "mail.example.org", Aliases: []string{"*.example.org", "*.mail.example.org"}}
	dir, state := renewed(t, names)
	leaf := certificates(t, state.File)[0]
	ca := certificates(t, filepath.Join(dir, AuthorityFile))[0]
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for name, good := range map[string]bool{
		"mail.example.org": true, "any.example.org": true, "any.mail.example.org": true, "example.org": false, "a.b.example.org": false,
	} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: start}); (err == nil) != good {
			t.Errorf("verify for %s: %v", name, err)
		}
	}
	if !slices.Equal(ca.PermittedDNSDomains, []string{"mail.example.org", "example.org"}) {
		t.Errorf("the CA is constrained to %q", ca.PermittedDNSDomains)
	}
	if due, cause := inspect(t, dir, names, start).Due(); due {
		t.Error(cause)
	}
	for _, bad := range []Names{{Hostname: "*.example.org"}, {Hostname: "mail.example.org", Aliases: []string{"*"}}, {Hostname: "mail.example.org", Aliases: []string{"a.*.org"}}} {
		if _, err := local(dir, bad).Inspect(start); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestNewNames(t *testing.T) {
	dir, first := renewed(t, example)

	inside := example
	inside.Aliases = append(slices.Clone(inside.Aliases), "webmail.mail.example.org")
	second := renew(t, dir, inside, start, false)
	if second.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Error("a name within the constraints cost the CA")
	}

	outside := Names{Hostname: "mx.example.com"}
	third := renew(t, dir, outside, start, false)
	if third.Authority.Fingerprint == first.Authority.Fingerprint {
		t.Error("the CA was not made again")
	}
	if third.Authority.Subject == first.Authority.Subject {
		t.Error("two CAs have the same subject")
	}
	if !strings.Contains(third.Renewed, "cannot sign for mx.example.com; it must be made again, and devices must be told to trust the new one") {
		t.Errorf("cause: %s", third.Renewed)
	}

	kept := filepath.Join(dir, "ca-"+first.Authority.Fingerprint[:16]+".key")
	if err := os.Rename(kept, filepath.Join(dir, AuthorityKeyFile)); err != nil {
		t.Fatalf("the CA before was not kept: %v", err)
	}
	back := renew(t, dir, example, start, false)
	if back.Authority.Fingerprint != first.Authority.Fingerprint {
		t.Error("the CA that was put back is not used")
	}
	if got := fingerprint(certificates(t, filepath.Join(dir, AuthorityFile))[0]); got != first.Authority.Fingerprint {
		t.Error("ca.pem did not follow ca.key")
	}
}

func TestAuthorityNearItsEndIsMadeAgain(t *testing.T) {
	dir, first := renewed(t, example)
	late := start.AddDate(10, 0, -60)
	state := renew(t, dir, example, late, false)
	if state.Authority.Fingerprint == first.Authority.Fingerprint {
		t.Error("a leaf outlives its CA")
	}
}

func TestNamesThatCannotBe(t *testing.T) {
	names := Names{Hostname: "", Aliases: []string{
		"192.0.2.1", "2001:db8::1", "-a.example.org", "a..b", "müller.example.org", "a.*.example.org", "a b",
		strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 127) + "org",
	}}
	_, err := renewIn(t.Context(), filepath.Join(t.TempDir(), "ca"), names, start, false)
	if err == nil {
		t.Fatal("no error")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 1+len(names.Aliases) {
		t.Errorf("%d problems, want %d:\n%v", len(lines), 1+len(names.Aliases), err)
	}
}

func TestLongHostname(t *testing.T) {
	label := strings.Repeat("a", 60)
	dir, state := renewed(t, Names{Hostname: label + "." + label + ".example.org"})
	leaf := certificates(t, state.File)[0]
	if leaf.Subject.CommonName != "" {
		t.Errorf("common name %q has more than 64 characters", leaf.Subject.CommonName)
	}
	if cn := certificates(t, filepath.Join(dir, AuthorityFile))[0].Subject.CommonName; len(cn) > 64 {
		t.Errorf("the CA's common name has %d characters", len(cn))
	}
}

func TestRenewIsBoundedAndAlone(t *testing.T) {
	dir, _ := renewed(t, example)
	d, err := openDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.lock(); err != nil {
		t.Fatal(err)
	}
	_, err = renewIn(t.Context(), dir, example, start, true)
	var problem Problem
	if !errors.As(err, &problem) || !strings.Contains(problem.Text, "another run") {
		t.Errorf("a second run: %v", err)
	}
	d.close()

	before := snapshot(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := renewIn(ctx, dir, example, start, true); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run: %v", err)
	}
	if after := snapshot(t, dir); !slices.Equal(before, after) {
		t.Errorf("a cancelled run changed files:\n%v\n%v", before, after)
	}
}
