package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mailstack/certs"
	"mailstack/certs/acme"
	"mailstack/certs/acme/pebble"
)

// tsigSecret is the key that may change records of the zone, and nothing else.
const tsigSecret = "bm90IHNlY3JldDogaXQgaXMgZm9yIG9uZSB0ZXN0IG9uIGxvb3BiYWNr"

// acmeKnot lets that key change records in a zone that is stored with it.
const acmeKnot = `
key:
  - id: acme
    algorithm: hmac-sha256
    secret: ` + tsigSecret + `
acl:
  - id: challenges
    key: acme
    action: update
    update-type: TXT
`

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
	ns := startKnot(t, acmeKnot, zoneFile{name: "acme.test", options: "acl: challenges", records: "@ A 127.0.0.1\nmail A 127.0.0.1\n"})
	ip := ns.ip
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
