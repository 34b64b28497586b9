package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

// The profile is well-formed, names the payload that Apple's devices take for a
// root, and holds both CAs while one follows the other.
func TestProfile(t *testing.T) {
	s, first := proven(t, nil)
	both := mustSettle(t, s, first.Authority.NotAfter.Add(-authorityAhead+day), Anyway)
	authorities, err := AuthorityPEM(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Profile("demo", "mail.example.org", authorities)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Profile("demo", "mail.example.org", authorities); !bytes.Equal(text, again) {
		t.Error("not the same twice")
	}
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var prints []string
	for _, data := range regexp.MustCompile(`(?s)<data>(.*?)</data>`).FindAllSubmatch(text, -1) {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data[1])), ""))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		prints = append(prints, fingerprint(cert))
	}
	if len(prints) != 2 || prints[0] != both.Authority.Fingerprint || prints[1] != both.NextAuthority.Fingerprint {
		t.Errorf("CAs %v", prints)
	}
	if n := strings.Count(string(text), "com.apple.security.root"); n != 2 {
		t.Errorf("%d roots", n)
	}
	uuids := regexp.MustCompile(`<string>[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}</string>`).FindAllString(string(text), -1)
	if len(uuids) != 3 || uuids[0] == uuids[1] || uuids[1] == uuids[2] {
		t.Errorf("UUIDs %v", uuids)
	}
	if _, err := Profile("demo", "mail.example.org", []byte("x")); err == nil {
		t.Error("no CA makes a profile")
	}
}

// While one CA follows the other, the system trusts both; a file of the store
// can hold only one.
func TestTrustStoreTakesBoth(t *testing.T) {
	store := standIn(t)
	s, first := proven(t, nil)
	add := func() {
		t.Helper()
		authorities, err := AuthorityPEM(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Add(t.Context(), authorities); err != nil {
			t.Fatal(err)
		}
	}
	files := func() (prints []string) {
		t.Helper()
		for _, c := range certificates(t, store.Root+"/etc/ssl/certs/ca-certificates.crt") {
			prints = append(prints, fingerprint(c))
		}
		return prints
	}
	add()
	end := first.Authority.NotAfter
	both := mustSettle(t, s, end.Add(-authorityAhead+day), Anyway)
	add()
	if got := files(); len(got) != 2 {
		t.Errorf("trusted: %v", got)
	}
	mustSettle(t, s, end.Add(-authorityAhead+authorityOverlap+2*day), Anyway)
	add()
	if got := files(); len(got) != 1 || got[0] != both.NextAuthority.Fingerprint {
		t.Errorf("trusted: %v", got)
	}
	if _, err := store.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := files(); len(got) != 0 {
		t.Errorf("trusted: %v", got)
	}
}
