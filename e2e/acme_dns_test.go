package e2e

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mailstack/certs"
	"mailstack/certs/acme"
	"mailstack/certs/acme/pebble"
	"mailstack/e2e/monitors"
)

// nameServerImage is Knot DNS, as Debian has it. (BIND listens only on addresses
// that an interface has, of which loopback has one.)
const nameServerImage = `ARG BASE
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends knot \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
`

// tsigSecret is the key that may change records of the zone, and nothing else.
const tsigSecret = "bm90IHNlY3JldDogaXQgaXMgZm9yIG9uZSB0ZXN0IG9uIGxvb3BiYWNr"

const knotConfig = `
server:
    listen: %[1]s@53
    rundir: /tmp
database:
    storage: /tmp
log:
  - target: stderr
    any: info
key:
  - id: acme
    algorithm: hmac-sha256
    secret: %[2]s
acl:
  - id: challenges
    key: acme
    action: update
    update-type: TXT
zone:
  - domain: acme.test
    storage: /zone
    file: db.acme.test
    acl: challenges
`

const knotZone = `$TTL 60
@    SOA ns me 1 3600 600 86400 60
@    NS  ns
ns   A   %[1]s
@    A   127.0.0.1
mail A   127.0.0.1
`

// startKnot starts a name server for acme.test on port 53 of a loopback address
// of its own, which it returns.
func startKnot(t *testing.T) (ip string) {
	t.Helper()
	shared(t) // makes the base image
	ip = freeLoopback(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // it writes its journal there
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "knot.conf"), fmt.Sprintf(knotConfig, ip, tsigSecret), 0o644)
	write(t, filepath.Join(dir, "db.acme.test"), fmt.Sprintf(knotZone, ip), 0o666)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	image, err := monitors.BuildImage(ctx, "mailstack-test/nameserver", []byte(nameServerImage))
	if err != nil {
		t.Fatal(err)
	}
	c, err := monitors.Start(ctx, monitors.Options{
		Name: namePrefix(os.Getenv(runVar)) + "knot-" + randomHex(2), Image: image, User: "root",
		Mounts: []string{dir + ":/zone"}, Flags: []string{"--cap-add", "NET_BIND_SERVICE"},
		Command: []string{"/usr/sbin/knotd", "-c", "/zone/knot.conf"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Knot:\n%s", c.Log(context.Background()))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	waitUntil(t, time.Minute, "Knot's answer", func() (bool, string) {
		records, err := soa(ip)
		return err == nil && records == 1, fmt.Sprint(records, " ", err, "\n", c.Log(t.Context()))
	})
	return ip
}

func freeLoopback(t *testing.T) string {
	t.Helper()
	for range 100 {
		ip := fmt.Sprintf("127.77.%d.%d", mrand.IntN(256), 1+mrand.IntN(254))
		if bindable(ip, 53) {
			return ip
		}
	}
	t.Fatal("port 53 is taken on all of 127.77.0.0/16: does a name server listen on every address?")
	return ""
}

func soa(ip string) (int, error) {
	client := &dns.Client{Timeout: time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("acme.test.", dns.TypeSOA), net.JoinHostPort(ip, "53"))
	if err != nil {
		return 0, err
	}
	return len(reply.Answer), nil
}

// challenges are the values of the record by which names are proven.
func challenges(t *testing.T, ip string) []dns.RR {
	t.Helper()
	client := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("_acme-challenge.acme.test.", dns.TypeTXT), net.JoinHostPort(ip, "53"))
	if err != nil {
		t.Fatal(err)
	}
	return reply.Answer
}

// TestRFC2136 proves names, a wildcard among them, by records that Knot takes in
// signed updates and its zone's servers serve.
func TestRFC2136(t *testing.T) {
	t.Parallel()
	ip := startKnot(t)
	ca := pebble.Start(t, pebble.Options{DNS: net.JoinHostPort(ip, "53")})
	names := certs.Names{Hostname: "mail.acme.test", Aliases: []string{"acme.test", "*.acme.test"}}
	settings := filepath.Join(t.TempDir(), "dns.env")
	cfg := acme.Config{
		Dir: filepath.Join(t.TempDir(), "acme"), Directory: ca.Directory, CAFile: ca.CAFile,
		Challenge: acme.DNS01, DNSProvider: "rfc2136", DNSEnvFile: settings, Resolvers: []string{ca.DNS},
	}
	obtain := func(secret string) ([]certs.Pair, error) {
		t.Helper()
		write(t, settings, strings.Join([]string{
			"RFC2136_NAMESERVER=" + ip, "RFC2136_TSIG_KEY=acme", "RFC2136_TSIG_SECRET=" + secret, "RFC2136_POLLING_INTERVAL=1", "",
		}, "\n"), 0o600)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return acme.New(cfg).Obtain(t.Context(), names, []crypto.Signer{key}, time.Now())
	}

	_, err := obtain("YW5vdGhlciBrZXk=")
	if err == nil || !strings.Contains(err.Error(), "set the record _acme-challenge.") || !strings.Contains(err.Error(), "update zone acme.test. at "+ip+":53: ") {
		t.Errorf("with another key: %v", err)
	}
	if strings.Contains(fmt.Sprint(err), "YW5vdGhlciBrZXk=") {
		t.Errorf("the key is told: %v", err)
	}

	pairs, err := obtain(tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, c := range pairs[0].Chain[1:] {
		between.AddCert(c)
	}
	for _, name := range []string{"mail.acme.test", "acme.test", "anything.acme.test"} {
		if _, err := pairs[0].Chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Roots(t), Intermediates: between}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := challenges(t, ip); len(left) > 0 {
		t.Errorf("records left in the zone: %v", left)
	}
}
