package e2e

import (
	"strings"
	"testing"
)

// TestAttackSpoofing: who has signed in uses his own addresses and no others,
// however he writes them.
func TestAttackSpoofing(t *testing.T) {
	t.Parallel()
	s := shared(t)
	me, password := s.account(t)
	other, _ := s.account(t)
	off, offPassword := s.account(t)
	local, host, _ := strings.Cut(me, "@")
	otherLocal, _, _ := strings.Cut(other, "@")
	domain := s.domain(t)
	for alias, target := range map[string]string{
		"mine@": me, "theirs@": other, "off@": off, "tagged@": strings.Replace(me, "@", "+tag@", 1), "away@": "friend@example.com",
	} {
		s.mustRun(t, "alias", "add", alias+domain, target)
	}
	s.mustRun(t, "account", "set", off, "--disable")
	const refused, taken = "5", "250"
	for _, spoof := range []struct{ name, from, want string }{
		{"oneself", "<" + me + ">", taken},
		{"oneself in capitals", "<" + strings.ToUpper(me) + ">", taken},
		{"one's tag", "<" + local + "+x@" + host + ">", taken},
		{"one's empty tag", "<" + local + "+@" + host + ">", taken},
		{"one's alias", "<mine@" + domain + ">", taken},
		{"a tag of one's alias", "<mine+x@" + domain + ">", taken},
		{"an alias of one's tag", "<tagged@" + domain + ">", taken},
		{"null sender", "<>", refused},
		{"another", "<" + other + ">", refused},
		{"another in capitals", "<" + strings.ToUpper(other) + ">", refused},
		{"another, quoted", `<"` + otherLocal + `"@` + host + ">", refused},
		{"another, with a dot behind", "<" + other + ".>", refused},
		{"another's tag", "<" + otherLocal + "+x@" + host + ">", refused},
		{"another's empty tag", "<" + otherLocal + "+@" + host + ">", refused},
		{"another tagged with oneself", "<" + otherLocal + "+" + local + "@" + host + ">", refused},
		{"source route to another", "<@" + host + ":" + other + ">", refused},
		{"percent hack", "<" + otherLocal + "%" + host + "@" + host + ">", refused},
		{"oneself as a path", "<" + host + "!" + local + ">", refused},
		{"another's alias", "<theirs@" + domain + ">", refused},
		{"alias of elsewhere", "<away@" + domain + ">", refused},
		{"alias of a disabled account", "<off@" + domain + ">", refused},
		{"disabled account", "<" + off + ">", refused},
		{"nobody", "<nobody-" + randomHex(4) + "@" + host + ">", refused},
		{"no local part", "<@" + host + ">", refused},
		{"only a plus", "<+@" + host + ">", refused},
		{"only a tag", "<+" + local + "@" + host + ">", refused},
		{"postmaster", "<postmaster@" + host + ">", refused},
		{"postmaster without domain", "<postmaster>", refused},
		{"without domain", "<" + local + ">", refused},
		{"the probe", "<mailstack-probe@" + host + ">", refused},
		{"elsewhere", "<me@example.com>", refused},
		{"subdomain", "<" + local + "@sub." + host + ">", refused},
		{"literal", "<" + local + "@[127.0.0.1]>", refused},
		{"generation", "<" + local + "#1@" + host + ">", refused},
		{"SQL", "<x'OR'1'='1@" + host + ">", refused},
		{"SQL in the domain", "<" + local + "@" + host + "'OR'1>", refused},
		{"SQL wildcard", "<%@" + host + ">", refused},
		{"Postfix's own variable", "<%u@" + host + ">", refused},
		{"two senders", "<" + me + "> <" + other + ">", refused},
		{"sender in a parameter", "<" + me + "> AUTH=<" + other + "> FROM=<" + other + ">", refused},
	} {
		t.Run(spoof.name, func(t *testing.T) {
			t.Parallel()
			d := s.smtpLine(t, "submissions", false)
			d.expect(t, plain(me, password), "235")
			answer := last(d.smtp(t, "MAIL FROM:"+spoof.from))
			if strings.HasPrefix(answer, "250") {
				answer = last(d.smtp(t, "RCPT TO:<"+me+">"))
			}
			if !strings.HasPrefix(answer, spoof.want) {
				t.Errorf("MAIL FROM:%s is answered %q, want %s", spoof.from, answer, spoof.want)
			}
		})
	}
	t.Run("disabled account signs in", func(t *testing.T) {
		t.Parallel()
		d := s.smtpLine(t, "submissions", false)
		d.expect(t, plain(off, offPassword), "535")
	})
	t.Run("on port 25", func(t *testing.T) {
		t.Parallel()
		for _, from := range []string{me, strings.ToUpper(me), local + "+x@" + host, "nobody@" + domain, `"x y"@` + host, host + "!" + local, me + ".", `"a@b"@` + host, "@x.example:" + me} {
			d := s.smtpLine(t, "smtp", false)
			d.expect(t, "MAIL FROM:<"+from+">", "250")
			if answer := d.say(t, "RCPT TO:<"+other+">"); !strings.HasPrefix(answer, "5") {
				t.Errorf("mail from <%s> without a login is answered %q", from, answer)
			}
		}
	})
}

// TestAttackSubaddress: a tag is a tag of somebody, whatever it holds; it names
// no file and nobody else.
func TestAttackSubaddress(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	local, host, _ := strings.Cut(user, "@")
	domain := s.domain(t)
	for _, a := range []struct{ name, to, want string }{
		{"tag", local + "+x@" + host, "250"},
		{"empty tag", local + "+@" + host, "250"},
		{"several", local + "++x+y+@" + host, "250"},
		{"path", local + "+../../../etc/passwd@" + host, "250"},
		{"absolute path", local + "+/etc/passwd@" + host, "250"},
		{"variable", local + "+{home}$user@" + host, "250"},
		{"percent", local + "+%u@" + host, "554"}, // a route (RFC 1123, section 5.2.16)
		{"SQL", local + "+'OR'1'='1@" + host, "250"},
		{"SQL, quoted", `"` + local + `+'; DROP TABLE alias; --"@` + host, "250"},
		{"quoted", `"` + local + `+a b\"c"@` + host, "250"},
		{"long", local + "+" + strings.Repeat("x", 200) + "@" + host, "250"},
		{"of nobody", "nobody-" + randomHex(4) + "+" + local + "@" + host, "550"},
		{"only a plus", "+@" + host, "550"},
		{"only a tag", "+" + local + "@" + host, "550"},
		{"only a tag, quoted", `"+` + local + `"@` + host, "550"},
		{"of a domain without a catch-all", "+x@" + domain, "550"},
		{"of no local part", "@" + domain, "5"},
	} {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			d := s.smtpLine(t, "smtp", false)
			d.expect(t, "MAIL FROM:<"+stranger+">", "250")
			if answer := d.say(t, "RCPT TO:<"+a.to+">"); !strings.HasPrefix(answer, a.want) {
				t.Fatalf("RCPT TO:<%s> is answered %q, want %s", a.to, answer, a.want)
			}
			if a.want != "250" {
				return
			}
			subject := "tag " + randomHex(6)
			d.expect(t, "DATA", "354")
			d.expect(t, message(stranger, user, subject, "x")+".", "250")
			s.waitMail(t, user, password, "INBOX", subject)
		})
	}
}
