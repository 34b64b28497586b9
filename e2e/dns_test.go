package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailstack/certs/acme/pebble"
)

// knotSigned has a zone signed, anew after each change.
const knotSigned = `dnssec-signing: on
zonefile-sync: -1
zonefile-load: difference-no-serial
journal-content: all`

// outward is a stack that listens on an address which could be a public one, as
// far as the stack can tell: the loopback interface has it for the test. Its
// domains, and their parents, are at a name server of the test's own.
type outward struct {
	*Stack
	zone, second string // its domains
	address      string
	roots        string // PEM file of who signed its certificate
	ns           *nameServer
}

func newOutward(t *testing.T) *outward {
	t.Helper()
	s := newStack(t, "")
	o := &outward{Stack: s, zone: s.name + ".test", second: s.name + "-two.test"}
	o.address = loopbackAddress(t)
	ca := pebble.Start(t, pebble.Options{})
	o.roots = filepath.Join(s.dir, "roots.pem")
	write(t, o.roots, string(ca.RootPEM(t)), 0o644)
	o.ns = startKnot(t, "",
		zoneFile{name: o.zone, options: knotSigned}, zoneFile{name: o.second, options: knotSigned},
		zoneFile{name: "100.51.198.in-addr.arpa"}, zoneFile{name: "test"}, zoneFile{name: "arpa"},
	)
	s.byACME(t, ca)
	for key, value := range map[string]string{
		"hostname": quote("mail." + o.zone), "postmaster": quote("me@" + o.zone),
		"listen.address":         fmt.Sprintf("[%q, %q]", "127.0.0.1", o.address),
		"tls.acme_dns_resolvers": fmt.Sprintf("[%q]", o.ns.ip),
	} {
		s.set(t, key, value)
	}
	if r := o.run(t, "up", "--no-probe"); r.code != 0 {
		t.Fatalf("up: %v", r)
	}
	o.mustRun(t, "domain", "add", o.second)
	return o
}

// loopbackAddress gives the loopback interface an address for documentation (RFC
// 5737), which the kernel takes away by itself if this test cannot.
func loopbackAddress(t *testing.T) string {
	t.Helper()
	address := fmt.Sprintf("198.51.100.%d", 1+mrand.IntN(254))
	ip := func(args ...string) {
		t.Helper()
		if r := program(t.Context(), nil, "ip", append([]string{"address"}, args...)...); r.code != 0 {
			t.Fatalf("ip address %v: %v", args, r)
		}
	}
	ip("add", address+"/32", "dev", "lo", "valid_lft", "1800", "preferred_lft", "1800")
	t.Cleanup(func() {
		if r := program(context.WithoutCancel(t.Context()), nil, "ip", "address", "del", address+"/32", "dev", "lo"); r.code != 0 {
			t.Errorf("%s stays: %v", address, r)
		}
	})
	return address
}

// run is run of a system that knows the authority of the certificate.
func (o *outward) run(t *testing.T, args ...string) result {
	t.Helper()
	if args[0] == "up" {
		upSlots <- struct{}{}
		defer func() { <-upSlots }()
	}
	return program(t.Context(), nil, "env", append([]string{"SSL_CERT_FILE=" + o.roots, os.Getenv(binaryVar), "--config", o.config()}, args...)...)
}

// zones are the lines of `dns show --format zone`, by zone.
func (o *outward) zones(t *testing.T) map[string][]string {
	t.Helper()
	r := o.run(t, "dns", "show", "--format", "zone")
	if r.code != 0 {
		t.Fatal(r)
	}
	return zoneLines(r.stdout)
}

// zoneLines takes apart what `dns show --format zone` prints.
func zoneLines(text string) map[string][]string {
	all := map[string][]string{}
	zone := ""
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "; zone "); ok {
			zone = strings.TrimSuffix(strings.TrimSpace(name), ".")
		}
		if strings.Contains(line, "\tIN\t") {
			all[zone] = append(all[zone], line)
		}
	}
	return all
}

// publish serves lines in a zone.
func (o *outward) publish(t *testing.T, zone string, lines []string) {
	t.Helper()
	z := zoneFile{name: zone, records: strings.Join(lines, "")}
	o.ns.change(t, z)
}

// checked is what `dns check` says of a record.
type checked struct {
	Name, Type, Value, Status, Words string
	Required                         bool
	Seen                             []string
}

func (c checked) line() string { return c.Name + " " + c.Type + " " + c.Value }

// check is `dns check`: what is not green, and the exit status.
func (o *outward) check(t *testing.T, args ...string) (bad []checked, r result) {
	t.Helper()
	r = o.run(t, append([]string{"dns", "check", "--format", "json"}, args...)...)
	var report struct{ Records []checked }
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Records) == 0 {
		t.Fatalf("dns check: %v: %v", err, r)
	}
	for _, c := range report.Records {
		if c.Status != "ok" {
			bad = append(bad, c)
		}
	}
	return bad, r
}

// TestDNS: what `dns show` prints, loaded into a name server, makes `dns check`
// green; each record that is removed, changed or misspelt makes its own line red
// and no other; and `up`, `status` and the probe say the same.
func TestDNS(t *testing.T) {
	t.Parallel()
	o := newOutward(t)
	o.testNothingThere(t)
	// Nobody asks it: the certificate is there. But its name is known, for CAA.
	o.set(t, "tls.acme_directory", quote("https://acme-v02.api.letsencrypt.org/directory"))
	o.set(t, "tls.acme_ca_file", "")
	zones := o.zones(t)
	if len(zones[o.zone]) < 20 || len(zones[o.second]) < 13 || len(zones["100.51.198.in-addr.arpa"]) != 1 {
		t.Fatalf("records: %v", zones)
	}
	for zone, lines := range zones {
		o.publish(t, zone, lines)
	}
	for _, args := range [][]string{nil, {"--server", o.ns.ip}, {"--server", o.ns.ip + ":53", "--address", o.address}, {o.second}} {
		if bad, r := o.check(t, args...); len(bad) > 0 || r.code != 0 {
			t.Fatalf("dns check %v of what dns show prints: %+v, %v", args, bad, r)
		}
	}
	o.testGreen(t)
	for zone, lines := range zones {
		for i, line := range lines {
			o.testLine(t, zone, lines, i, line)
		}
		o.publish(t, zone, lines)
	}
	if bad, r := o.check(t); len(bad) > 0 || r.code != 0 {
		t.Errorf("all is there again: %+v, %v", bad, r)
	}
	o.testOneRed(t, zones)
	o.testNobodyAnswers(t)
}

// testLine publishes a zone without one of its records, with another one in its
// place, and with one that is misspelt: by turns, or with -long all three.
// (TestEachRecordCounts of package dns does all three, without a name server.)
func (o *outward) testLine(t *testing.T, zone string, lines []string, i int, line string) {
	t.Helper()
	fields := strings.SplitN(strings.TrimSpace(line), "\t", 5)
	want := fields[0] + " " + fields[3] + " " + fields[4]
	others := slices.Delete(slices.Clone(lines), i, i+1)
	for turn, mistake := range []struct{ what, instead string }{
		{"removed", ""}, {"changed", changedLine(t, line)}, {"misspelt", misspeltLine(line, zone)},
	} {
		what, instead := mistake.what, mistake.instead
		if instead == line {
			t.Fatalf("%s is not %s", line, what)
		}
		if turn != i%3 && !*long {
			continue
		}
		o.publish(t, zone, append(slices.Clone(others), instead))
		bad, r := o.check(t)
		if len(bad) != 1 || bad[0].line() != want {
			t.Errorf("%q is %s, to %q: %+v", strings.TrimSpace(line), what, instead, bad)
			continue
		}
		code := 0
		if bad[0].Status == "wrong" {
			code = 1
		}
		if r.code != code || bad[0].Required && code == 0 {
			t.Errorf("%q is %s: %+v, exit status %d", strings.TrimSpace(line), what, bad[0], r.code)
		}
	}
}

// changedLine is a record with another value that somebody could have set.
func changedLine(t *testing.T, line string) string {
	t.Helper()
	for _, change := range []struct{ pattern, with string }{
		{`(\tA\t\S+)\.\d+\n`, "${1}.255\n"},
		{`"v=spf1 (mx|a) -all"`, `"v=spf1 -all"`},
		{`"v=DMARC1; p=(none|quarantine)`, `"v=DMARC1; p=nothing`},
		{`("v=DKIM1; k=[a-z0-9]+; p=)[A-Za-z0-9+/]{4}`, "${1}AAAA"},
		{`("v=TLSRPTv1; rua=)mailto:`, "${1}telephone:"},
		{`("v=STSv1; id=)`, "${1}0"},
		{`"letsencrypt.org"`, `"letsdecrypt.org"`},
		{`(\tTLSA\t3 1 1 )([0-9a-f]{4})`, "${1}0000"},
		{`(\t(MX|SRV|PTR|CNAME)\t.*?)\S+\n`, "${1}other.test.\n"},
	} {
		if pattern := regexp.MustCompile(change.pattern); pattern.MatchString(line) {
			return pattern.ReplaceAllString(line, change.with)
		}
	}
	t.Fatalf("nothing to change in %q", line)
	return ""
}

// misspeltLine is a record with a mistake in its text or, without one, its name.
func misspeltLine(line, zone string) string {
	if strings.Contains(line, "\tTXT\t") {
		return strings.Replace(line, "v=", "v ", 1)
	}
	if strings.HasPrefix(line, zone+".") {
		return "x." + line
	}
	return "x" + line
}

// testNothingThere: a zone without any of it is what people begin with.
func (o *outward) testNothingThere(t *testing.T) {
	t.Helper()
	bad, r := o.check(t)
	if r.code != 1 || len(bad) < 30 {
		t.Errorf("%d records are missing, exit status %d", len(bad), r.code)
	}
	for _, c := range bad {
		if want := map[bool]string{true: "wrong", false: "warning"}[c.Required]; c.Status != want || len(c.Seen) != 0 {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	// The start is not at fault for what is to be set by hand. Nothing is sent: a
	// smarthost would be.
	o.set(t, "relay.host", quote("smtp.example.invalid"))
	defer o.set(t, "relay.host", "")
	r = o.run(t, "up")
	if r.code != 0 {
		t.Fatalf("up: %v", r)
	}
	for _, want := range []string{
		"✗ A of mail." + o.zone + ": none\n    expected: " + o.address + "\n", "✗ MX of " + o.second + ": none\n    expected: 10 mail." + o.zone + ".\n",
		" recommended records are not there", "local: proven; internet: not ready, because of the ",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("up does not say %q: %v", want, r)
		}
	}
}

// dnsProbe are the states of the probe's checks of the DNS, and their reasons.
func (o *outward) dnsProbe(t *testing.T) map[string]finding {
	t.Helper()
	r := o.run(t, "probe", "--only", "dns", "--format", "json")
	var report struct {
		Checks []struct{ Name, Status, Reason, Hint string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Checks) == 0 {
		t.Fatalf("probe: %v: %v", err, r)
	}
	all := map[string]finding{}
	for _, c := range report.Checks {
		all[c.Name] = finding{c.Status, c.Reason, c.Hint}
	}
	return all
}

type dnsStatus struct {
	Status   string
	Problems []string
	DNS      *struct{ OK, Warning, Wrong, Unknown int }
}

func (o *outward) dnsStatus(t *testing.T) dnsStatus {
	t.Helper()
	r := o.run(t, "status", "--format", "json")
	if r.code != 0 {
		t.Fatal(r)
	}
	status := decode[dnsStatus](t, r.stdout)
	if status.DNS == nil {
		t.Fatalf("status says nothing of the DNS: %v", r)
	}
	return status
}

// testGreen: nothing in the DNS alarms anybody.
func (o *outward) testGreen(t *testing.T) {
	t.Helper()
	for name, f := range o.dnsProbe(t) {
		if f.status != "ok" {
			t.Errorf("probe: %s is %s", name, f)
		}
	}
	if s := o.dnsStatus(t); s.DNS.OK < 30 || s.DNS.Warning+s.DNS.Wrong+s.DNS.Unknown > 0 {
		t.Errorf("status: %+v", s.DNS)
	}
	text := o.run(t, "dns", "check").stdout
	all := strings.Count("\n"+text, "\n✓ ")
	if !strings.HasSuffix(text, fmt.Sprintf("\n%d of %d records are as they should be\n", all, all)) {
		t.Errorf("dns check:\n%s", text)
	}
}

// testOneRed: where mail goes to another host, all say so, and one check of the
// probe does.
func (o *outward) testOneRed(t *testing.T, zones map[string][]string) {
	t.Helper()
	lines := slices.Clone(zones[o.second])
	at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "\tMX\t") })
	lines[at] = changedLine(t, lines[at])
	o.publish(t, o.second, lines)
	defer o.publish(t, o.second, zones[o.second])
	for name, f := range o.dnsProbe(t) {
		red := name == "dns.mx"
		if red != (f.status == "critical") || red && (!strings.Contains(f.reason, "MX of "+o.second+": 10 other.test.") || !strings.Contains(f.hint, "mailstack dns check")) {
			t.Errorf("probe: %s is %s", name, f)
		}
	}
	s := o.dnsStatus(t)
	if s.Status != "critical" || s.DNS.Wrong != 1 || !slices.ContainsFunc(s.Problems, func(p string) bool { return strings.HasPrefix(p, "DNS: MX of "+o.second) }) {
		t.Errorf("status: %+v", s)
	}
	r := o.run(t, "dns", "check")
	want := "✗ MX of " + o.second + ": 10 other.test. (it does not lead to this host)\n    expected: 10 mail." + o.zone + ".\n    required: "
	if r.code != 1 || !strings.Contains(r.stdout, want) {
		t.Errorf("dns check does not say %q: %v", want, r)
	}
}

// testNobodyAnswers: silence is no missing record, and ends in time.
func (o *outward) testNobodyAnswers(t *testing.T) {
	t.Helper()
	docker(t, "pause", o.ns.container.Name)
	defer docker(t, "unpause", o.ns.container.Name)
	r := o.run(t, "dns", "check", "--timeout", "3s")
	if r.code != 1 || r.took > 8*time.Second || !strings.Contains(r.stdout, " not answered\n") || strings.Contains(r.stdout, "✗") {
		t.Errorf("dns check without a name server: %v", r)
	}
	for name, f := range o.dnsProbe(t) {
		if f.status != "warning" && f.status != "ok" || name == "dns.mx" && f.status != "warning" {
			t.Errorf("probe without a name server: %s is %s", name, f)
		}
	}
}

// TestDNSQuiet: a stack on loopback is not looked for in the DNS.
func TestDNSQuiet(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := s.run(t, "dns", "check")
	if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "not asked: this stack listens on loopback only") {
		t.Errorf("dns check: %v", r)
	}
	status := decode[dnsStatus](t, s.mustRun(t, "status", "--format", "json"))
	if status.DNS != nil {
		t.Errorf("status: %+v", status.DNS)
	}
	if r := s.run(t, "probe", "--format", "json"); strings.Contains(r.stdout, `"dns`) {
		t.Errorf("probe: %v", r)
	}
}
