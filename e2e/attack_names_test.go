package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hostileNames mean something to a path, a query, a variable or a shell.
func hostileNames(host string) []hostileName {
	return []hostileName{
		{"path", "../../etc"},
		{"path at home", "../../etc@" + host},
		{"path in the domain", "x@../../etc"},
		{"path behind the domain", "x@" + host + "/../.."},
		{"absolute path", "/etc/passwd"},
		{"absolute path at home", "/etc/passwd@" + host},
		{"home", "~root"},
		{"home at home", "~/x@" + host},
		{"dot", ".@" + host},
		{"dots", "..@" + host},
		{"percent", "%"},
		{"percent at home", "%@" + host},
		{"like", "_%@" + host},
		{"variable of Postfix", "%u%d%s@" + host},
		{"variable of Dovecot", "%{home}@" + host},
		{"variable in the domain", "x@%{home}"},
		{"environment", "${HOME}@" + host},
		{"command", "$(id)@" + host},
		{"back quotes", "`id`@" + host},
		{"pipe", "|id@" + host},
		{"quote", "'"},
		{"quote at home", "'@" + host},
		{"double quote", `"@` + host},
		{"backslash", `\@` + host},
		{"backslash and quote", `\'@` + host},
		{"SQL or", "' OR '1'='1"},
		{"SQL or at home", "x'OR'1'='1@" + host},
		{"SQL or in the domain", "x@" + host + "'OR'1'='1"},
		{"SQL comment", "x'--@" + host},
		{"SQL drop", "x';DROP/**/TABLE/**/account;--@" + host},
		{"SQL union", "x'UNION/**/SELECT/**/1,2,3,4,5#@" + host},
		{"SQL backslash", `x\'OR(1=1)#@` + host},
		{"SQL in GBK", "x\xbf'OR(1=1)#@" + host},
		{"SQL sleep", "x'||SLEEP(9)||'@" + host},
		{"not UTF-8", "\xff\xfe@" + host},
		{"UTF-8", "名前@" + host},
		{"wide quote", "＇OR＇@" + host},
		{"long", strings.Repeat("x", 2000) + "@" + host},
		{"long domain", "x@" + strings.Repeat("x.", 500) + host},
		{"tab", "x\t@" + host},
		{"space", "x y@" + host},
		{"two @", "x@y@" + host},
		{"empty", ""},
		{"only @", "@"},
		{"domain", "@" + host},
		{"generation", "me#1@" + host},
		{"generation behind", "me@" + host + "#1"},
		{"star", "*@" + host},
		{"braces", "{}}{@" + host},
	}
}

// TestAttackNames: no name is a path, a query or a variable. Each is nobody's
// name, for good: a temporary answer would say that a lookup did not survive it.
func TestAttackNames(t *testing.T) {
	t.Parallel()
	s := shared(t)
	_, host, _ := strings.Cut(s.postmaster(), "@")
	names := hostileNames(host)
	before := s.storeAndAccounts(t)
	for protocol, login := range s.loginTries() {
		t.Run("login/"+protocol, func(t *testing.T) {
			s.caPEM(t) // asks for it in this goroutine
			// Many at once, since each is refused two seconds later, and not as many
			// as a port has processes.
			const atOnce = 16
			answers := make([]string, len(names))
			for first := 0; first < len(names); first += atOnce {
				together(min(atOnce, len(names)-first), func(i int) {
					answers[first+i] = login(t, names[first+i].value, "x' OR '1'='1")
				})
			}
			for i, n := range names {
				t.Run(n.name, func(t *testing.T) {
					// The filter is asked before a login by SMTP, and may be busy with what
					// other tests send. What the name does, it does again.
					for range 2 {
						if !permanentRefusal(answers[i]) {
							answers[i] = login(t, n.value, "x' OR '1'='1")
						}
					}
					if !permanentRefusal(answers[i]) {
						t.Errorf("a login of %q is answered %q", n.value, answers[i])
					}
				})
			}
		})
	}
	t.Run("smtp", func(t *testing.T) { s.testEnvelopeNames(t, names) })
	t.Run("login as another", func(t *testing.T) { s.testLoginAsAnother(t) })
	if after := s.storeAndAccounts(t); strings.Contains(after, "etc") || !strings.Contains(after, s.postmaster()) {
		t.Errorf("what is there has changed from\n%s\nto\n%s", before, after)
	}
}

// hostileName is one, with what the test of it is called.
type hostileName struct{ name, value string }

func (s *Stack) testEnvelopeNames(t *testing.T, names []hostileName) {
	for _, n := range names {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			d := s.smtpLine(t, "smtp", false)
			from := "<" + n.value + ">"
			if answer := d.say(t, "MAIL FROM:"+from); strings.HasPrefix(answer, "250") {
				if answer = d.say(t, "RCPT TO:<"+s.postmaster()+">"); strings.HasPrefix(answer, "4") {
					t.Errorf("MAIL FROM:%s is answered %q", from, answer)
				}
			} else if strings.HasPrefix(answer, "4") {
				t.Errorf("MAIL FROM:%s is answered %q", from, answer)
			}
			d = s.smtpLine(t, "smtp", false)
			d.expect(t, "MAIL FROM:<"+stranger+">", "250")
			local, domain, _ := strings.Cut(n.value, "@")
			for _, to := range []string{"<" + n.value + ">", "<" + smtpQuote(local) + "@" + domain + ">"} {
				if answer := d.say(t, "RCPT TO:"+to); !strings.HasPrefix(answer, "5") {
					t.Errorf("RCPT TO:%s is answered %q", to, answer)
				}
			}
		})
	}
}

func (s *Stack) testLoginAsAnother(t *testing.T) {
	me, password := s.account(t)
	// RFC 4616: whom to act as, who one is, the password.
	token := base64.StdEncoding.EncodeToString([]byte(s.postmaster() + "\x00" + me + "\x00" + password))
	d := s.smtpLine(t, "submissions", false)
	if answer := d.say(t, "AUTH PLAIN "+token); strings.HasPrefix(answer, "235") {
		d.say(t, "MAIL FROM:<"+s.postmaster()+">")
		if answer = d.say(t, "RCPT TO:<"+me+">"); strings.HasPrefix(answer, "2") {
			t.Errorf("acts as another: %q", answer)
		}
	}
	for _, master := range []string{me + "*" + s.postmaster(), s.postmaster() + "*" + me} {
		if answer := s.loginTries()["imap"](t, master, password); !permanentRefusal(answer) {
			t.Errorf("a login of %s is answered %q", master, answer)
		}
	}
}

func smtpQuote(local string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// permanentRefusal says whether an answer to a login is no for good.
func permanentRefusal(answer string) bool {
	for _, temporary := range []string{"UNAVAILABLE", "SYS/TEMP", "TRYLATER", "454", "421"} {
		if strings.Contains(answer, temporary) {
			return false
		}
	}
	for _, no := range []string{"NO ", "BAD ", "-ERR", "535 ", "501 ", "500 ", "BYE ", "hung up", "EOF"} {
		if strings.Contains(answer, no) {
			return true
		}
	}
	return false
}

// storeAndAccounts are the domains that have a directory in the mail store, and
// the accounts.
func (s *Stack) storeAndAccounts(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.data(), "vmail", "data"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return fmt.Sprint(names) + "\n" + s.mustRun(t, "account", "list")
}

// TestAttackCommandLine: the same names, given to mailstack itself.
func TestAttackCommandLine(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	target, _ := s.account(t)
	for _, n := range hostileNames(domain) {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{
				{"account", "add", "--password-stdin", "--", n.value},
				{"account", "show", "--", n.value},
				{"account", "passwd", "--password-stdin", "--", n.value},
				{"account", "set", "--disable", "--", n.value},
				{"account", "remove", "--yes", "--", n.value},
				{"alias", "add", "--", n.value, target},
				{"alias", "remove", "--", n.value},
				{"alias", "add", "--", "ok-" + randomHex(4) + "@" + domain, n.value},
				{"domain", "add", "--", n.value},
				{"domain", "remove", "--", n.value},
			} {
				r := s.runInput(t, "a-password-of-length\n", args...)
				sql := strings.Contains(r.stderr, "SQL") || strings.Contains(r.stderr, "Error 1")
				// An alias may be called whatever RFC 5321 lets an address be called.
				taken := r.code == 0 && !(args[0] == "alias" && (n.name == "domain" || atom.MatchString(n.value)))
				if taken || sql || r.code < 0 || r.code > 2 {
					t.Errorf("%q: %v", args, r)
				}
			}
			if r := s.run(t, "account", "show", target); r.code != 0 {
				t.Errorf("another account has changed: %v", r)
			}
		})
	}
}

// atom is a local part that needs no quotes (RFC 5321, section 4.1.2).
var atom = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]+$")
