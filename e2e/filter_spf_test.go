package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/miekg/dns"
)

// Where the engine hides who a client is behind the gateway of its network, as for
// every client over loopback, SPF says nothing for or against a message. A client
// that is seen is held to what its domain publishes.
func TestHiddenAddress(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, "")
	s.upGreen(t)
	s.useResolver(t, "filter", map[string]string{
		"strict.example.":                `v=spf1 -all`,
		"_dmarc.strict.example.":         "v=DMARC1; p=reject",
		"_dmarc.sub.strict.example.":     "v=DMARC1; p=reject; adkim=s",
		"key._domainkey.strict.example.": "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
	})
	user, password := s.account(t)
	sender := "someone@strict.example"

	plain := message(sender, user, "plain", "Hello.")
	if got := s.judged(t, plain, "198.51.100.7", sender, user); !strings.Contains(got, "R_SPF_FAIL") || !strings.Contains(got, "DMARC_POLICY_REJECT") {
		t.Fatalf("from an address that is seen the message is judged\n%s", got)
	}
	for _, ip := range []string{"172.18.0.1", "192.168.7.1", "10.0.0.1", "fd00::1", "127.0.0.1"} {
		got := s.judged(t, plain, ip, sender, user)
		if !strings.Contains(got, "Symbol: R_SPF_NEUTRAL (0.00)") || strings.Contains(got, "SPF_FAIL") || strings.Contains(got, "DMARC") || strings.Contains(got, "_SPF (") {
			t.Errorf("from %s the message is judged\n%s", ip, got)
		}
	}

	results := func(subject, m string) string {
		t.Helper()
		if err := s.inbound(t, sender, []string{user}, m); err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(s.waitMail(t, user, password, "INBOX", subject), "\r\n\r\n")
		return strings.ReplaceAll(header, "\r\n\t", " ")
	}
	if got := results("plain", plain); !strings.Contains(got, " spf=neutral ") || strings.Contains(got, "dmarc=") || strings.Contains(got, "X-Spam") {
		t.Errorf("the header is\n%s", got)
	}
	// A signature needs no address.
	signed := func(m string) string {
		t.Helper()
		var b bytes.Buffer
		err := dkim.Sign(&b, strings.NewReader(m), &dkim.SignOptions{
			Domain: "strict.example", Selector: "key", Signer: private, HeaderKeys: []string{"From", "To", "Subject"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := results("signed", signed(message(sender, user, "signed", "Hello."))); !strings.Contains(got, "dkim=pass") || !strings.Contains(got, "dmarc=pass") || !strings.Contains(got, " spf=neutral ") {
		t.Errorf("the header is\n%s", got)
	}
	// One that does not count says nothing of SPF, which might have.
	other := "someone@sub.strict.example"
	if got := results("apart", signed(message(other, user, "apart", "Hello."))); !strings.Contains(got, "dkim=pass") || strings.Contains(got, "dmarc=") {
		t.Errorf("the header is\n%s", got)
	}
}

// useResolver makes a service's container again with a name server on the gateway of
// its network that knows these TXT records and nothing else.
func (s *Stack) useResolver(t *testing.T, service string, records map[string]string) {
	t.Helper()
	gateway := docker(t, "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", s.container(service))
	conn, err := net.ListenPacket("udp", net.JoinHostPort(gateway, "53"))
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg).SetReply(q)
		text, known := records[strings.ToLower(q.Question[0].Name)]
		switch {
		case !known:
			reply.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeTXT:
			rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN TXT %q", q.Question[0].Name, text))
			if err != nil {
				reply.Rcode = dns.RcodeServerFailure
				break
			}
			reply.Answer = append(reply.Answer, rr)
		}
		_ = w.WriteMsg(reply) // who asks tries again
	})}
	go func() { _ = server.ActivateAndServe() }() // until Shutdown
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	s.recreate(t, service, func(config map[string]any) {
		config["HostConfig"].(map[string]any)["Dns"] = []string{gateway}
	})
	s.ready(t, service)
}
