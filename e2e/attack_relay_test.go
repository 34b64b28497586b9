package e2e

import (
	"strings"
	"testing"
)

// relayForm is an address in a form with which relays have been fooled.
type relayForm struct{ name, to string }

// relayForms are made of an address that exists here.
func relayForms(address string) []relayForm {
	local, host, _ := strings.Cut(address, "@")
	return []relayForm{
		{"plain", "<victim@example.com>"},
		{"without brackets", "victim@example.com"},
		{"percent hack", "<victim%example.com@" + host + ">"},
		{"percent hack without domain", "<victim%example.com>"},
		{"percent hack of an account", "<" + local + "%example.com@" + host + ">"},
		{"percent hack at localhost", "<victim%example.com@localhost>"},
		{"percent hack at a literal", "<victim%example.com@[127.0.0.1]>"},
		{"quoted percent hack", `<"victim%example.com">`},
		{"quoted without domain", `<"victim@example.com">`},
		{"quoted here", `<"victim@example.com"@` + host + ">"},
		{"bang path", "<example.com!victim>"},
		{"bang path here", "<example.com!victim@" + host + ">"},
		{"bang path over us", "<" + host + "!example.com!victim>"},
		{"source route", "<@" + host + ":victim@example.com>"},
		{"source route of two", "<@example.org,@" + host + ":victim@example.com>"},
		{"two domains", "<victim@example.com@" + host + ">"},
		{"two domains reversed", "<victim@" + host + "@example.com>"},
		{"empty domain", "<victim@example.com@>"},
		{"loopback literal", "<victim@[127.0.0.1]>"},
		{"IPv6 literal", "<victim@[IPv6:::1]>"},
		{"bridge literal", "<victim@[172.17.0.1]>"},
		{"localhost", "<victim@localhost>"},
		{"port", "<victim@example.com:25>"},
		{"prefix", "<relay:victim@example.com>"},
		{"domain below ours", "<victim@sub." + host + ">"},
		{"domain above ours", "<victim@" + host + ".example.com>"},
		{"NUL", "<victim@example.com\x00@" + host + ">"},
		{"quoted pair", `<victim\@example.com@` + host + ">"},
		{"comment", "<victim@example.com(@" + host + ")>"},
	}
}

// TestAttackRelay: nobody who has not signed in sends mail to elsewhere, on no
// port, whomever he claims to be and however he writes the recipient. Any
// refusal will do, 4xx or 5xx: only a 2xx is an open relay.
func TestAttackRelay(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, password := s.account(t)
	senders := []string{"spam@relay.example.org", "", "spam@[127.0.0.1]", "spam", "spam@localhost", address}
	for _, way := range []struct {
		name, listener string
		tls            bool
	}{
		{"25", "smtp", false},
		{"25 with TLS", "smtp", true},
		{"587 without TLS", "submission", false},
		{"587", "submission", true},
		{"465", "submissions", false},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			for _, form := range relayForms(address) {
				t.Run(form.name, func(t *testing.T) {
					d := s.smtpLine(t, way.listener, way.tls)
					defer d.conn.Close()
					for _, from := range senders {
						d.smtp(t, "RSET")
						if answer := last(d.smtp(t, "MAIL FROM:<"+from+">")); !strings.HasPrefix(answer, "250") {
							continue
						}
						if answer := last(d.smtp(t, "RCPT TO:"+form.to)); strings.HasPrefix(answer, "2") {
							t.Errorf("from <%s> to %s is answered %q", from, form.to, answer)
						}
					}
				})
			}
		})
	}
	t.Run("what is not relayed is taken", func(t *testing.T) {
		d := s.smtpLine(t, "smtp", false)
		d.expect(t, "MAIL FROM:<"+stranger+">", "250")
		d.expect(t, "RCPT TO:<"+address+">", "250")
		d.expect(t, "RCPT TO:<nobody-"+address+">", "550")
		d = s.smtpLine(t, "submission", true)
		d.expect(t, plain(address, password), "235")
		d.expect(t, "MAIL FROM:<"+address+">", "250")
		d.expect(t, "RCPT TO:<victim@example.com>", "250")
	})
}

// smtpLine opens a dialogue that has said EHLO, after STARTTLS if that is asked
// for.
func (s *Stack) smtpLine(t *testing.T, listener string, startTLS bool) *dialogue {
	t.Helper()
	d := s.line(t, listener)
	d.smtp(t, "")
	d.smtp(t, "EHLO client.example")
	if startTLS {
		d.expect(t, "STARTTLS", "220")
		d.startTLS(t, s)
		d.smtp(t, "EHLO client.example")
	}
	return d
}

func last(lines []string) string { return lines[len(lines)-1] }
