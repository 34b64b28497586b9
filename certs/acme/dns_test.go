package acme

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mailstack/certs"
	"mailstack/certs/acme/pebble"
)

// Those of these tests that look names up are not parallel: the library has one
// client for all of a process.

// wildcard has two names that are proven by records of one name.
var wildcard = certs.Names{Hostname: "example.org", Aliases: []string{"*.example.org", "mail.example.org"}}

// dnsConfig is a config for dns-01 with a provider and its settings.
func dnsConfig(t *testing.T, ca *pebble.CA, provider string, settings ...string) Config {
	t.Helper()
	cfg := config(t, ca)
	cfg.Challenge, cfg.DNSProvider = DNS01, provider
	cfg.DNSEnvFile = filepath.Join(t.TempDir(), "dns.env")
	write(t, cfg.DNSEnvFile, strings.Join(settings, "\n")+"\n")
	return cfg
}

func TestDNS01(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	cfg := dnsConfig(t, ca, "httpreq", "# who sets records", "HTTPREQ_ENDPOINT="+ca.Records.Serve(t), "HTTPREQ_POLLING_INTERVAL=1")
	verify(t, ca, obtain(t, cfg, wildcard, newKey(t)), wildcard)
	if left := ca.Records.TXT("_acme-challenge.example.org."); len(left) > 0 {
		t.Errorf("records left: %q", left)
	}
	if os.Getenv("HTTPREQ_ENDPOINT") != "" {
		t.Error("the provider's settings are in the environment of whatever is started next")
	}
}

// TestDelegatedRecord follows a CNAME from the record's name to where records
// can be set.
func TestDelegatedRecord(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	ca.Records.CNAME("_acme-challenge.mail.example.org.", "mail.acme.example.net.")
	cfg := dnsConfig(t, ca, "httpreq", "HTTPREQ_ENDPOINT="+ca.Records.Serve(t), "HTTPREQ_POLLING_INTERVAL=1")
	names := certs.Names{Hostname: "mail.example.org"}
	verify(t, ca, obtain(t, cfg, names, newKey(t)), names)
}

// dnsProgram makes the test program, started again as the program of the
// provider exec, set records: by the service at that URL.
const dnsProgram = "MAILSTACK_TEST_DNS_PROGRAM"

func setRecord(url string, args []string) int {
	if len(args) != 3 {
		fmt.Println("usage: present|cleanup FQDN VALUE")
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	body := strings.NewReader(fmt.Sprintf(`{"fqdn":%q,"value":%q}`, args[1], args[2]))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/"+args[0], body)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println("the service is away:", err)
		return 1
	}
	resp.Body.Close()
	return 0
}

// TestDNSProgram has a program set the records, which holds one value of a name
// at a time.
func TestDNSProgram(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	cfg := dnsConfig(t, ca, "exec", "EXEC_PATH="+os.Args[0], "EXEC_SEQUENCE_INTERVAL=1", "EXEC_POLLING_INTERVAL=1",
		"export "+dnsProgram+"='"+ca.Records.Serve(t)+"'")
	verify(t, ca, obtain(t, cfg, wildcard, newKey(t)), wildcard)

	broken := dnsConfig(t, ca, "exec", "EXEC_PATH="+os.Args[0], dnsProgram+"=http://127.0.0.1:1")
	_, err := New(broken).Obtain(t.Context(), wildcard, keys(newKey(t)), time.Now())
	refused(t, err, "exit status 1: the service is away", `settings of the provider "exec"`)
	if !strings.Contains(err.Error(), "set the record _acme-challenge.") {
		t.Errorf("error %q does not name the record", err)
	}
}

// TestRecordNotServed: a record that is never seen is not shown to the
// authority, which would count the failure.
func TestRecordNotServed(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	lost := http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadTimeout: time.Minute}
	listener, err := net.Listen("tcp", net.JoinHostPort(pebble.Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = lost.Serve(listener) }()
	t.Cleanup(func() { _ = lost.Close() })
	cfg := dnsConfig(t, ca, "httpreq", "HTTPREQ_ENDPOINT=http://"+listener.Addr().String(), "HTTPREQ_POLLING_INTERVAL=1", "HTTPREQ_PROPAGATION_TIMEOUT=1")
	_, err = New(cfg).Obtain(t.Context(), example, keys(newKey(t)), time.Now())
	refused(t, err, "not served within 1s; last seen: "+ca.DNS+" answers []", "all name servers")
	if n := ca.Front.Requests(pebble.Challenge); n > 0 {
		t.Errorf("the authority was asked %d times to look", n)
	}
}

func TestProvidersAreConstructed(t *testing.T) {
	t.Parallel()
	// None of the settings is there, and each provider says so in its own words.
	for _, name := range Providers() {
		s := New(Config{Challenge: DNS01, DNSProvider: name})
		problems := s.Status(example, nil, time.Now()).Problems
		if len(problems) != 1 || !strings.Contains(problems[0].Text, "does not configure the DNS provider: ") ||
			!strings.Contains(problems[0].Advice, "https://go-acme.github.io/lego/dns/"+name+"/") {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// nameServer is an authoritative server of example.org with a TXT record for
// every name.
func nameServer(t *testing.T, address, value string, nameservers map[string]string) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		header := func(rrtype uint16) dns.RR_Header {
			return dns.RR_Header{Name: q.Question[0].Name, Rrtype: rrtype, Class: dns.ClassINET}
		}
		name := q.Question[0].Name
		switch q.Question[0].Qtype {
		case dns.TypeSOA:
			if name == "example.org." {
				m.Answer = append(m.Answer, &dns.SOA{Hdr: header(dns.TypeSOA), Ns: "ns1.example.org.", Mbox: "me.example.org."})
			}
		case dns.TypeNS:
			for ns := range nameservers {
				m.Answer = append(m.Answer, &dns.NS{Hdr: header(dns.TypeNS), Ns: ns})
			}
		case dns.TypeA:
			if a := nameservers[name]; a != "" {
				m.Answer = append(m.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.ParseIP(a)})
			}
		case dns.TypeTXT:
			if value != "" {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{value}})
			}
		}
		_ = w.WriteMsg(m)
	})
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: packets, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }()
	<-started // one that has not started cannot be shut down, and would keep its port
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
}

// near is another address of this process's own.
func near(n int) string { return strings.TrimSuffix(pebble.Host, "1") + fmt.Sprint(n) }

// TestLookup: the authoritative servers decide, whatever a resolver remembers.
func TestLookup(t *testing.T) {
	t.Parallel()
	port := fmt.Sprint(pebble.FreePort(t))
	at := func(ip string) string { return net.JoinHostPort(ip, port) }
	nameServer(t, at(near(2)), "new", nil)
	nameServer(t, at(near(3)), "old", nil)
	for _, test := range []struct {
		name        string
		resolver    string // what it answers
		nameservers map[string]string
		there       bool
		seen        string
	}{
		{"all have it, the resolver not yet", "old", map[string]string{"ns1.example.org.": near(2)}, true, ""},
		{"one lags behind", "new", map[string]string{"ns1.example.org.": near(2), "ns2.example.org.": near(3)}, false, "ns2.example.org. (" + at(near(3)) + `) answers ["old"]`},
		{"one does not answer", "old", map[string]string{"ns1.example.org.": near(2), "ns2.example.org.": near(4)}, true, ""},
		{"none answers: the resolver counts", "new", map[string]string{"ns1.example.org.": near(4)}, true, ""},
		{"none answers, nor does the resolver have it", "", map[string]string{"ns1.example.org.": near(4)}, false, "resolver answers []"},
		{"no name servers are known: the resolver counts", "new", nil, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A port of its own: a child that another test is just starting can hold
			// the last one's for a moment longer.
			resolver := pebble.Address(pebble.FreePort(t))
			nameServer(t, resolver, test.resolver, test.nameservers)
			there, seen := newLookup([]string{resolver}, port).serves(t.Context(), "_acme-challenge.mail.example.org.", "new")
			want := strings.Replace(test.seen, "resolver", resolver, 1)
			if there != test.there || seen != want {
				t.Errorf("%v, %q; want %v, %q", there, seen, test.there, want)
			}
		})
	}
}

func TestSettingsFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "dns.env")
	s := New(Config{Challenge: DNS01, DNSProvider: "httpreq", DNSEnvFile: file})
	for _, test := range []struct {
		content, problem string
		mode             os.FileMode
	}{
		{"HTTPREQ_ENDPOINT=http://127.0.0.1:1\n", "", 0o600},
		{"\n# a comment\n export HTTPREQ_ENDPOINT = \"http://127.0.0.1:1\" \n", "", 0o400},
		{"HTTPREQ_ENDPOINT=http://127.0.0.1:1\n", "holds a secret and can be read by others (mode 0644)", 0o644},
		{"HTTPREQ_ENDPOINT=x\nHTTPREQ_PASSWORD s3cret\n", "has no KEY=VALUE in line 2", 0o600},
		{"HTTPREQ_USERNAME=me\n", "does not configure the DNS provider: httpreq: some credentials information are missing: HTTPREQ_ENDPOINT", 0o600},
	} {
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		write(t, file, test.content)
		if err := os.Chmod(file, test.mode); err != nil {
			t.Fatal(err)
		}
		problems := s.Status(example, nil, time.Now()).Problems
		if test.problem == "" && len(problems) > 0 ||
			test.problem != "" && (len(problems) != 1 || problems[0].File != file || problems[0].Text != test.problem) {
			t.Errorf("%q: %v", test.content, problems)
		}
		if len(problems) > 0 && strings.Contains(fmt.Sprint(problems), "s3cret") {
			t.Errorf("a secret is told: %v", problems)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing, empty := filepath.Join(dir, "missing"), filepath.Join(dir, "empty")
	write(t, empty, "")
	for _, test := range []struct {
		cfg  Config
		want []string
	}{
		{Config{}, nil},
		{Config{CAFile: missing}, []string{missing + " cannot be read: no such file or directory"}},
		{Config{CAFile: empty, EABKeyID: "kid", EABKeyFile: missing}, []string{empty + " holds no certificate in PEM form", missing + " does not exist"}},
		{Config{Challenge: DNS01, DNSProvider: "route53"}, []string{`tls.acme_dns_provider is "route53", which is not known`}},
		{Config{Challenge: DNS01, DNSProvider: "exec", DNSEnvFile: missing}, []string{missing + " does not exist"}},
	} {
		var got []string
		for _, p := range New(test.cfg).Status(example, nil, time.Now()).Problems {
			got = append(got, p.Error())
			if p.Advice == "" {
				t.Errorf("%v: no advice", p)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.cfg, got, test.want)
		}
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ settings, want string }{
		{"RFC2136_TSIG_KEY=k\nRFC2136_TSIG_SECRET=s\n", "some credentials information are missing: RFC2136_NAMESERVER"},
		{"RFC2136_NAMESERVER=127.0.0.1\nRFC2136_TSIG_KEY=k\n", "RFC2136_TSIG_KEY and RFC2136_TSIG_SECRET are of use only together"},
		{"RFC2136_NAMESERVER=127.0.0.1\nRFC2136_TSIG_ALGORITHM=hmac-md5\n", `RFC2136_TSIG_ALGORITHM is "hmac-md5."`},
	} {
		file := filepath.Join(t.TempDir(), "dns.env")
		write(t, file, test.settings)
		problems := New(Config{Challenge: DNS01, DNSProvider: "rfc2136", DNSEnvFile: file}).Status(example, nil, time.Now()).Problems
		if len(problems) != 1 || !strings.Contains(problems[0].Text, test.want) {
			t.Errorf("%q: %v", test.settings, problems)
		}
	}
}
