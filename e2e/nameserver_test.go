package e2e

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mailstack/e2e/monitors"
)

// nameServerImage is Knot DNS, as Debian has it, which is authoritative only, and
// Unbound, which asks it for others; and dkimpy, which asks that for keys. (BIND
// listens only on addresses that an interface has, of which loopback has one.)
const nameServerImage = `ARG BASE
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends knot unbound python3-dkim python3-dnspython python3-nacl \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
`

const knotServer = `
server:
    listen: %s@53
    rundir: /tmp
control:
    listen: /tmp/knot.sock
database:
    storage: /tmp
log:
  - target: stderr
    any: info
`

// zoneFile is a zone that Knot serves.
type zoneFile struct {
	name    string // without a dot at the end; "." is the root
	options string // lines of the zone's section in knot.conf
	records string // besides SOA, NS and the name server's own
}

// nameServer is a Knot on port 53 of a loopback address of its own.
type nameServer struct {
	ip        string
	dir       string
	image     string
	container *monitors.Container
	serial    int
}

// startKnot starts a name server with some further configuration and zones.
func startKnot(t *testing.T, config string, zones ...zoneFile) *nameServer {
	t.Helper()
	shared(t) // makes the base image
	n := &nameServer{ip: freeLoopback(t), dir: t.TempDir(), serial: 1}
	if err := os.Chmod(n.dir, 0o777); err != nil { // it writes its journal there
		t.Fatal(err)
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, knotServer+"%szone:\n", n.ip, config)
	for _, z := range zones {
		fmt.Fprintf(&conf, "  - domain: %s\n    storage: /zone\n    file: %q\n", z.name, "db."+z.name)
		for line := range strings.Lines(z.options) {
			fmt.Fprintf(&conf, "    %s\n", strings.TrimSpace(line))
		}
		n.write(t, z)
	}
	write(t, filepath.Join(n.dir, "knot.conf"), conf.String(), 0o644)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var err error
	n.image, err = monitors.BuildImage(ctx, "mailstack-test/nameserver", []byte(nameServerImage))
	if err != nil {
		t.Fatal(err)
	}
	n.container, err = monitors.Start(ctx, monitors.Options{
		Name: namePrefix(os.Getenv(runVar)) + "knot-" + randomHex(2), Image: n.image, User: "root",
		Mounts: []string{n.dir + ":/zone"}, Flags: []string{"--cap-add", "NET_BIND_SERVICE"},
		Command: []string{"/usr/sbin/knotd", "-c", "/zone/knot.conf"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Knot:\n%s", n.container.Log(context.Background()))
		}
		if err := n.container.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, z := range zones {
		n.await(t, z.name)
	}
	return n
}

const unboundServer = `
server:
    interface: %s
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    do-daemonize: no
    chroot: ""
    username: ""
    directory: "/tmp"
    pidfile: ""
    use-syslog: no
    logfile: ""
    val-log-level: 2
    do-not-query-localhost: no
    # What is published is seen at once.
    cache-max-ttl: 0
    cache-max-negative-ttl: 0
    infra-host-ttl: 1
    trust-anchor-file: "/conf/anchors"
`

// resolver starts Unbound on port 53 of an address: it asks this name server about some
// zones, and knows nothing else. Of the signed ones it trusts the keys that they have
// now.
func (n *nameServer) resolver(t *testing.T, address string, signed, others []string) *monitors.Container {
	t.Helper()
	var conf, anchors strings.Builder
	fmt.Fprintf(&conf, unboundServer, address)
	zones := slices.Concat(signed, others)
	if !slices.Contains(zones, ".") {
		conf.WriteString("    local-zone: \".\" static\n")
	}
	for _, zone := range zones {
		fmt.Fprintf(&conf, "    local-zone: %q transparent\n", dns.Fqdn(zone))
	}
	conf.WriteString("remote-control:\n    control-enable: no\n")
	for _, zone := range zones {
		fmt.Fprintf(&conf, "stub-zone:\n    name: %q\n    stub-addr: %s\n", dns.Fqdn(zone), n.ip)
	}
	for _, zone := range signed {
		anchors.WriteString(n.keys(t, zone))
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unbound.conf"), conf.String(), 0o644)
	write(t, filepath.Join(dir, "anchors"), anchors.String(), 0o644)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resolver, err := monitors.Start(ctx, monitors.Options{
		Name: namePrefix(os.Getenv(runVar)) + "unbound-" + randomHex(2), Image: n.image, User: "root",
		Mounts: []string{dir + ":/conf:ro"}, Flags: []string{"--cap-add", "NET_BIND_SERVICE"},
		Command: []string{"/usr/sbin/unbound", "-d", "-c", "/conf/unbound.conf"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Unbound:\n%s", resolver.Log(context.Background()))
		}
		if err := resolver.Stop(); err != nil {
			t.Error(err)
		}
	})
	client := &dns.Client{Timeout: time.Second}
	for _, zone := range signed {
		waitUntil(t, time.Minute, "a validated answer about "+zone, func() (bool, string) {
			question := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
			question.SetEdns0(1232, true)
			reply, _, err := client.Exchange(question, net.JoinHostPort(address, "53"))
			return err == nil && len(reply.Answer) > 0 && reply.AuthenticatedData, fmt.Sprint(reply, " ", err, "\n", resolver.Log(t.Context()))
		})
	}
	return resolver
}

// keys are the DNSKEY records of a signed zone.
func (n *nameServer) keys(t *testing.T, zone string) string {
	t.Helper()
	var b strings.Builder
	client := &dns.Client{Net: "tcp", Timeout: time.Second}
	waitUntil(t, time.Minute, "the keys of "+zone, func() (bool, string) {
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeDNSKEY), net.JoinHostPort(n.ip, "53"))
		if err != nil {
			return false, err.Error()
		}
		for _, rr := range reply.Answer {
			b.WriteString(rr.String() + "\n")
		}
		return b.Len() > 0, reply.String()
	})
	return b.String()
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

// write writes the file of a zone. The name server is below it, which no zone
// here has another name for.
func (n *nameServer) write(t *testing.T, z zoneFile) {
	t.Helper()
	content := fmt.Sprintf("$ORIGIN %s\n$TTL 60\n@ SOA ns me %d 3600 600 86400 60\n@ NS ns\nns A %s\n%s", dns.Fqdn(z.name), n.serial, n.ip, z.records)
	write(t, filepath.Join(n.dir, "db."+z.name), content, 0o666)
}

// change serves other records in a zone.
func (n *nameServer) change(t *testing.T, z zoneFile) {
	t.Helper()
	n.serial++
	n.write(t, z)
	// -b waits until the zone is served, and signed.
	docker(t, "exec", n.container.Name, "knotc", "-s", "/tmp/knot.sock", "-b", "zone-reload", z.name)
}

// await waits until a zone is served.
func (n *nameServer) await(t *testing.T, zone string) {
	t.Helper()
	client := &dns.Client{Timeout: time.Second}
	waitUntil(t, time.Minute, "Knot's answer about "+zone, func() (bool, string) {
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA), net.JoinHostPort(n.ip, "53"))
		return err == nil && len(reply.Answer) > 0, fmt.Sprint(reply, " ", err, "\n", n.container.Log(t.Context()))
	})
}
