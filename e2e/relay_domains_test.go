package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mailstack/certs/certstest"
)

// serveDNS answers on port 53 of an address with these records and no others.
func serveDNS(t *testing.T, address string, records ...string) {
	t.Helper()
	known := map[dns.Question][]dns.RR{}
	names := map[string]bool{}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		h := rr.Header()
		q := dns.Question{Name: h.Name, Qtype: h.Rrtype, Qclass: dns.ClassINET}
		known[q] = append(known[q], rr)
		names[h.Name] = true
	}
	conn, err := net.ListenPacket("udp", net.JoinHostPort(address, "53"))
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		reply.RecursionAvailable = true
		asked := q.Question[0]
		asked.Name = strings.ToLower(asked.Name)
		if reply.Answer = known[asked]; !names[asked.Name] {
			reply.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(reply) // who asked asks again
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // until Shutdown
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
}

// resolveBy gives the containers a resolver.
func (s *Stack) resolveBy(t *testing.T, address string) {
	t.Helper()
	s.set(t, "network.resolvers", fmt.Sprintf("[%q]", address))
	s.up(t, "--no-probe")
}

func (s *Stack) gateway(t *testing.T) string {
	t.Helper()
	return docker(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", s.container("postfix"))
}

// waitRefused waits until a server has refused something.
func (h *smarthost) waitRefused(t *testing.T, what string) {
	t.Helper()
	waitUntil(t, 30*time.Second, what, func() (bool, string) {
		h.lock.Lock()
		defer h.lock.Unlock()
		return len(h.refused) > 0, fmt.Sprint(h.refused)
	})
}

// TestSmarthostsOfDomains: mail goes by the smarthost of its sender's domain, with
// the password of that domain, or straight where the domain has none. A smarthost
// that refuses the login, has a certificate that is another's or is not in the DNS
// gets nothing: its mail waits, is named by status and probe, and keeps no other domain's waiting,
// which goes to the same smarthost even.
func TestSmarthostsOfDomains(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	gateway := s.gateway(t)
	pki := certstest.New(t, time.Now())
	ca := certstest.Put(t, filepath.Join(t.TempDir(), "ca.pem"), 0o644, certstest.Certificates(pki.Root))
	certificate := func(name string) tls.Certificate {
		key := certstest.Key(t, "ecdsa")
		leaf := pki.Leaf(t, key, nil, name)
		return tls.Certificate{Certificate: [][]byte{leaf.Raw, pki.Middle.Raw}, PrivateKey: key}
	}
	good, wrong := certificate("smtp.provider.example"), certificate("other.provider.example")
	var swapped atomic.Bool
	all := &smarthost{user: "everybody", password: "pw-" + randomHex(8), certificate: func(string) tls.Certificate { return good }}
	one := &smarthost{user: "one", password: "pw-" + randomHex(8), certificate: func(string) tls.Certificate {
		if swapped.Load() {
			return wrong
		}
		return good
	}}
	straight := &smarthost{open: true}

	domains := map[string]string{}
	for _, name := range []string{"all", "one", "two", "straight", "nowhere"} {
		domains[name] = s.domain(t)
	}
	// A name that the first two share: only their ports and logins differ.
	passwords := t.TempDir()
	relay := func(domain string, h *smarthost, port int) string {
		table := "relay"
		if domain != "" {
			table = fmt.Sprintf("relay.domain.%q", domain)
		}
		file := certstest.Put(t, filepath.Join(passwords, h.user), 0o600, []byte(h.password+"\n"))
		return fmt.Sprintf("[%s]\nhost = \"smtp.provider.example\"\nport = %d\nuser = %q\npassword_file = %q\nca_file = %q\n\n", table, port, h.user, file, ca)
	}
	onePort := one.start(t, gateway)
	two := &smarthost{user: "two", password: "pw-" + randomHex(8)} // a login at the same smarthost that is not taken
	s.extra = relay("", all, all.start(t, gateway)) + relay(domains["one"], one, onePort) + relay(domains["two"], two, onePort) +
		fmt.Sprintf("[relay.domain.%q]\nhost = \"\"\n", domains["straight"]) +
		fmt.Sprintf("[relay.domain.%q]\nhost = \"nowhere.provider.example\"\n", domains["nowhere"])
	s.write(t)
	plan := s.run(t, "plan")
	s.up(t, "--no-probe")
	straight.startOn(t, net.JoinHostPort(gateway, "25"))
	serveDNS(t, gateway, "smtp.provider.example. A "+gateway, "faraway.example. MX 10 mx.faraway.example.", "mx.faraway.example. A "+gateway)
	s.resolveBy(t, gateway)

	people, secrets := map[string]string{}, map[string]string{}
	for name, domain := range domains {
		people[name] = "ann@" + domain
		secrets[name] = s.accountNamed(t, people[name])
	}
	send := func(name string) (subject string) {
		t.Helper()
		subject = name + " " + randomHex(4)
		from := people[name]
		if err := s.submit(t, from, secrets[name], from, []string{"friend@faraway.example"}, message(from, "friend@faraway.example", subject, "x")); err != nil {
			t.Fatal(err)
		}
		return subject
	}
	expect := func(h *smarthost, name, subject string) {
		t.Helper()
		waitUntil(t, 30*time.Second, subject, func() (bool, string) {
			_, ok := h.find(subject)
			return ok, h.String()
		})
		if got, _ := h.find(subject); got.from != people[name] || got.user != h.user || !got.tls {
			t.Errorf("%s came as %+v", subject, got)
		}
	}
	send("nowhere")
	waiting := send("two") // refused first, so that it could stand in the others' way
	one.waitRefused(t, "the login of the domain whose password is wrong")
	for name, h := range map[string]*smarthost{"all": all, "one": one, "straight": straight} {
		expect(h, name, send(name))
	}

	const problem = "messages wait for the smarthost smtp.provider.example: "
	told := func(words string) {
		t.Helper()
		waitUntil(t, 30*time.Second, "status and probe say "+words, func() (bool, string) {
			status, probe := s.run(t, "status").stdout, fmt.Sprint(s.probe(t, "--only", "queue").red())
			return strings.Contains(status, problem) && strings.Contains(status, words) && strings.Contains(probe, problem) && strings.Contains(probe, words), status + probe
		})
	}
	told("535")
	if r := s.run(t, "status"); !strings.Contains(r.stdout, "messages wait for the smarthost nowhere.provider.example: Host or domain name not found") {
		t.Errorf("mail for a smarthost that is not in the DNS does not wait: %v", r)
	}
	// The provider takes the login now, and its certificate is that of another.
	one.lock.Lock()
	one.user, one.password = two.user, two.password
	one.lock.Unlock()
	swapped.Store(true)
	s.flush(t)
	told("not verified")
	if got, ok := one.find(waiting); ok {
		t.Errorf("a server without the smarthost's certificate got %+v", got)
	}
	swapped.Store(false)
	s.flush(t)
	expect(one, "two", waiting)

	for _, text := range []string{plan.stdout + plan.stderr, docker(t, "inspect", s.container("postfix")), docker(t, "logs", s.container("postfix"))} {
		for _, h := range []*smarthost{all, one, two} {
			if strings.Contains(text, h.password) {
				t.Errorf("a smarthost's password is in\n%s", text)
			}
		}
	}
}

// flush has Postfix try all that waits.
func (s *Stack) flush(t *testing.T) {
	t.Helper()
	if out, code := s.exec(t, "postfix", "postqueue", "-f"); code != 0 {
		t.Fatalf("postqueue -f: %s", out)
	}
}
