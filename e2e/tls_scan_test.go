package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailstack/config"
	"mailstack/stack"
)

// scannerFile makes an image of Debian's scanners: the host may have older ones.
const scannerFile = `ARG BASE
FROM ${BASE}
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends testssl.sh sslscan \
 && rm -rf /var/lib/apt/lists/*
`

var scannerOnce sync.Once

// scan runs a scanner against this machine's loopback. Flags of docker run(1) may
// come before its name.
func scan(t *testing.T, within time.Duration, args ...string) result {
	t.Helper()
	var flags []string
	for len(args) > 2 && args[0] == "-v" {
		flags, args = append(flags, args[:2]...), args[2:]
	}
	base := ""
	for _, ref := range []string{config.Default().Images.Base, stack.LocalBase} {
		if r := tryDocker(t, "image", "inspect", "--format", "{{.Id}}", ref); r.code == 0 {
			base = ref + "@" + r.stdout
			break
		}
	}
	image := fmt.Sprintf("mailstack-test/scanners:%x", sha256.Sum256([]byte(base+scannerFile)))[:50]
	scannerOnce.Do(func() {
		if tryDocker(t, "image", "inspect", "--format", "{{.Id}}", image).code == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		ref, _, _ := strings.Cut(base, "@")
		r := program(ctx, []byte(scannerFile), "docker", "build", "-t", image, "--build-arg", "BASE="+ref, "-")
		if r.code != 0 {
			t.Fatalf("make image of scanners: %v", r)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	name := namePrefix(os.Getenv(runVar)) + "scan-" + randomHex(3)
	run := append([]string{
		"run", "--rm", "--name", name, "--label", "mailstack.stack=" + name,
		"--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
	}, flags...)
	return program(ctx, nil, "docker", append(append(run, image), args...)...)
}

// sslscan is what the program of that name finds.
type sslscan struct {
	Test struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled int    `xml:"enabled,attr"`
		} `xml:"protocol"`
		Renegotiation struct {
			Supported int `xml:"supported,attr"`
		} `xml:"renegotiation"`
		Compression struct {
			Supported int `xml:"supported,attr"`
		} `xml:"compression"`
		Heartbleed []struct {
			Vulnerable int `xml:"vulnerable,attr"`
		} `xml:"heartbleed"`
		Ciphers []struct {
			Version  string `xml:"sslversion,attr"`
			Cipher   string `xml:"cipher,attr"`
			Strength string `xml:"strength,attr"`
		} `xml:"cipher"`
		Groups []struct {
			Version string `xml:"sslversion,attr"`
			Name    string `xml:"name,attr"`
		} `xml:"group"`
	} `xml:"ssltest"`
}

// TestSSLScan: sslscan finds the same on every port that it can speak to, and
// nothing weak.
func TestSSLScan(t *testing.T) {
	t.Parallel()
	s := shared(t)
	var seen string
	for _, key := range listeners {
		if key == "managesieve" { // which it cannot speak; TestHandshakes does
			continue
		}
		args := []string{"sslscan", "--no-colour", "--xml=-", "--sni-name=" + s.hostname()}
		if protocol := map[string]string{"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3"}[key]; protocol != "" {
			args = append(args, "--starttls-"+protocol)
		}
		var found sslscan
		r := scan(t, 2*time.Minute, append(args, s.addr(key))...)
		if err := xml.Unmarshal([]byte(r.stdout), &found); err != nil || r.code != 0 {
			t.Fatalf("%s: %v in %v", key, err, r)
		}
		said := found.judge(t, key)
		if seen == "" {
			seen = said
			t.Logf("every port: %s", said)
		}
		if said != seen {
			t.Errorf("%s differs from the others: %s", key, said)
		}
	}
}

// judge says what was found, and what of it must not be.
func (f sslscan) judge(t *testing.T, key string) string {
	t.Helper()
	var said []string
	for _, p := range f.Test.Protocols {
		if name := p.Type + p.Version; (p.Enabled == 1) != (name == "tls1.2" || name == "tls1.3") {
			t.Errorf("%s: %s is %d", key, name, p.Enabled)
		}
	}
	for _, c := range f.Test.Ciphers {
		said = append(said, c.Version+" "+c.Cipher)
		if c.Version == "TLSv1.2" && !slices.Contains(intermediate, c.Cipher) || c.Strength != "strong" && c.Strength != "acceptable" {
			t.Errorf("%s: %s, %s", key, c.Cipher, c.Strength)
		}
	}
	for _, g := range f.Test.Groups {
		said = append(said, g.Version+" "+g.Name)
	}
	for _, h := range f.Test.Heartbleed {
		if h.Vulnerable != 0 {
			t.Errorf("%s: heartbleed", key)
		}
	}
	if f.Test.Renegotiation.Supported != 0 || f.Test.Compression.Supported != 0 || len(f.Test.Protocols) < 6 || len(f.Test.Ciphers) < 6 {
		t.Errorf("%s: %+v", key, f)
	}
	slices.Sort(said)
	return strings.Join(said, ", ")
}

// TestTestSSL: testssl.sh finds no weakness on a port of each daemon. Its grade
// is printed.
func TestTestSSL(t *testing.T) {
	t.Parallel()
	s := shared(t)
	bad := regexp.MustCompile(`(?m)^.*(NOT ok|VULNERABLE|DEPRECATED).*$`)
	ca := s.caFile(t)
	for key, how := range map[string][]string{"imaps": nil, "smtp": {"--starttls", "smtp"}} {
		args := append([]string{"-v", ca + ":/ca.pem:ro", "testssl", "--quiet", "--color", "0", "--ip", "127.0.0.1", "--add-ca", "/ca.pem"}, how...)
		r := scan(t, 40*time.Minute, append(args, fmt.Sprintf("%s:%d", s.hostname(), s.port(key)))...)
		out := r.stdout
		if r.code >= 200 { // below, it is the number of what it finds worth a word
			t.Fatalf("%s: %v", key, r)
		}
		for _, line := range bad.FindAllString(out, -1) {
			if !strings.Contains(line, "neither CRL nor OCSP") { // a private authority has none
				t.Errorf("%s: %s", key, strings.TrimSpace(line))
			}
		}
		if !strings.Contains(out, "TLS 1.3    offered (OK)") || !strings.Contains(out, "TLS 1.1    not offered") {
			t.Errorf("%s: %s", key, out)
		}
		t.Logf("%s: %s", key, strings.TrimSpace(regexp.MustCompile(`(?m)^ *Overall Grade.*$`).FindString(out)))
	}
}
