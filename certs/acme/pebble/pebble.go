// Package pebble runs Pebble, the ACME authority that Let's Encrypt has for
// tests (https://github.com/letsencrypt/pebble), on loopback, for tests of ours. It
// is a real authority: it looks at real challenges over the network and issues
// certificates, with new roots each time it starts.
//
// In front of it is a [Front] through which every request goes, where a test can
// count, refuse or cut off.
package pebble

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout bounds the start: the first one builds the program.
const startTimeout = 2 * time.Minute

// Options say what the authority is like.
type Options struct {
	HTTPPort, TLSPort int               // where it looks for answers; 0: a free port
	DNS               string            // host:port of its resolver; empty: one that knows every name as Host, see [CA.Records]
	EABKeys           map[string]string // accounts must be bound to one of these: key id to base64url key
	Profiles          map[string]int    // name to validity in seconds; none: one of 90 days
	Blocked           []string          // names that get no certificate
	RejectNonces      int               // percent of good nonces that are refused
	ReuseProofs       int               // percent of names whose earlier proof is taken
	RetryAfter        int               // seconds that it says in answers about orders and proofs
}

// CA is a running authority.
type CA struct {
	Directory string   // URL, of its Front
	CAFile    string   // PEM file that vouches for it
	Records   *Records // nil with Options.DNS
	Front     *Front

	HTTPPort, TLSPort int
	DNS               string

	options    Options
	dir        string
	listen     string // host:port of Pebble itself
	management string
	client     *http.Client
	log        *Output
	stop       func()
}

// Start starts an authority, which ends with the test.
func Start(t testing.TB, options Options) *CA {
	t.Helper()
	c := &CA{options: options, dir: t.TempDir(), HTTPPort: options.HTTPPort, TLSPort: options.TLSPort, DNS: options.DNS}
	if c.HTTPPort == 0 {
		c.HTTPPort = FreePort(t)
	}
	if c.TLSPort == 0 {
		c.TLSPort = FreePort(t)
	}
	if c.DNS == "" {
		c.Records = startRecords(t)
		c.DNS = c.Records.Address
	}
	c.listen, c.management = Address(FreePort(t)), Address(FreePort(t))
	certFile, keyFile, tlsConfig := makeServerCertificate(t, c.dir)
	c.CAFile = certFile
	c.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: tlsConfig}}
	c.Front = startFront(t, c.listen, certFile, keyFile, tlsConfig)
	c.Directory = c.Front.URL + "/dir"
	c.configure(t, certFile, keyFile)
	c.Run(t)
	t.Cleanup(func() {
		c.Stop()
		if t.Failed() {
			t.Logf("Pebble's last words:\n%s", c.log.tail(40))
		}
	})
	return c
}

func (c *CA) configure(t testing.TB, certFile, keyFile string) {
	t.Helper()
	profiles := map[string]any{}
	for name, seconds := range c.options.Profiles {
		profiles[name] = map[string]any{"description": name, "validityPeriod": seconds}
	}
	if len(profiles) == 0 {
		profiles["default"] = map[string]any{"description": "for tests", "validityPeriod": 90 * 24 * 3600}
	}
	content, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":                  c.listen,
		"managementListenAddress":        c.management,
		"certificate":                    certFile,
		"privateKey":                     keyFile,
		"httpPort":                       c.HTTPPort,
		"tlsPort":                        c.TLSPort,
		"externalAccountBindingRequired": len(c.options.EABKeys) > 0,
		"externalAccountMACKeys":         c.options.EABKeys,
		"domainBlocklist":                c.options.Blocked,
		"keyAlgorithm":                   "ecdsa",
		"profiles":                       profiles,
		"retryAfter":                     map[string]int{"authz": c.options.RetryAfter, "order": c.options.RetryAfter},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "pebble.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run starts the authority again after Stop: at the same address, with new roots
// and without memory.
func (c *CA) Run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	binary, err := program(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.log = &Output{}
	cmd := exec.Command(binary, "-config", filepath.Join(c.dir, "pebble.json"), "-dnsserver", c.DNS)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1",
		fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", c.options.RejectNonces),
		fmt.Sprintf("PEBBLE_AUTHZREUSE=%d", c.options.ReuseProofs))
	cmd.Stdout, cmd.Stderr = c.log, c.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	var once sync.Once
	c.stop = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			<-ended
		})
	}
	for {
		if c.answers(ctx) {
			return
		}
		select {
		case <-ended:
			t.Fatalf("Pebble ended:\n%s", c.log.tail(40))
		case <-ctx.Done():
			t.Fatalf("Pebble does not answer at %s: %v\n%s", c.listen, ctx.Err(), c.log.tail(40))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *CA) answers(ctx context.Context) bool {
	for _, url := range []string{"https://" + c.listen + "/dir", "https://" + c.management + "/roots/0"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := c.client.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
	}
	return true
}

// Stop ends the authority. Its front then refuses connections.
func (c *CA) Stop() { c.stop() }

// Roots are the roots of what it issues, since it was started last.
func (c *CA) Roots(t testing.TB) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.RootPEM(t)) {
		t.Fatal("Pebble's root is not PEM")
	}
	return pool
}

// RootPEM is the root of what it issues.
func (c *CA) RootPEM(t testing.TB) []byte {
	t.Helper()
	resp, err := c.client.Get("https://" + c.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Advise sets what it answers when asked when to renew a certificate: the body
// of an answer of RFC 9773, or anything.
func (c *CA) Advise(t testing.TB, leaf *x509.Certificate, answer string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})), "ARIResponse": answer,
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.client.Post("https://"+c.management+"/set-renewal-info/", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("set renewal info: %s", resp.Status)
	}
}

// Orders is how many orders it has got since it was started last.
func (c *CA) Orders() int { return strings.Count(c.log.String(), "Added order ") }

// Issued is how many certificates it has issued since it was started last.
func (c *CA) Issued() int { return strings.Count(c.log.String(), "Issued certificate serial ") }

// program builds Pebble, in the version of go.mod, into the build cache, and
// returns its path.
func program(ctx context.Context) (string, error) {
	building.Lock()
	defer building.Unlock()
	if built == "" {
		output, err := exec.CommandContext(ctx, "go", "tool", "-n", "github.com/letsencrypt/pebble/v2/cmd/pebble").Output()
		if err != nil {
			return "", fmt.Errorf("build Pebble: %w", err)
		}
		built = strings.TrimSpace(string(output))
	}
	return built, nil
}

var (
	building sync.Mutex
	built    string
)

// Output keeps what a process prints, to be read meanwhile.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (l *Output) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was printed until now.
func (l *Output) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *Output) tail(n int) string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
