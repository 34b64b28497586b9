package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAttackEnumeration: RCPT tells whether an address exists, since mail to
// nobody has to be refused there. Nothing else does: not whether an account is
// disabled, and no login.
func TestAttackEnumeration(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, _ := s.account(t)
	off, _ := s.account(t)
	s.mustRun(t, "account", "set", off, "--disable")
	_, host, _ := strings.Cut(user, "@")
	names := map[string]string{
		"account": user, "disabled": off, "the probe": "mailstack-probe@" + host, "alias": "abuse@" + host,
		"nobody": "nobody-" + randomHex(4) + "@" + host, "nobody's domain": "x@" + randomHex(4) + ".example", "no address": randomHex(4),
	}
	for _, verb := range []string{"VRFY", "EXPN"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			same(t, names, func(name string) string {
				return strings.ReplaceAll(last(s.smtpLine(t, "smtp", false).smtp(t, verb+" "+name)), name, "NAME")
			})
		})
	}
	t.Run("RCPT", func(t *testing.T) {
		t.Parallel()
		rcpt := func(name string) string {
			d := s.smtpLine(t, "smtp", false)
			d.expect(t, "MAIL FROM:<"+stranger+">", "250")
			return strings.ReplaceAll(last(d.smtp(t, "RCPT TO:<"+name+">")), name, "NAME")
		}
		same(t, map[string]string{"account": user, "disabled": off}, rcpt)
		same(t, map[string]string{"the probe": names["the probe"], "nobody": names["nobody"]}, rcpt)
	})
	for protocol, login := range s.loginTries() {
		t.Run(protocol+" login", func(t *testing.T) {
			t.Parallel()
			s.caPEM(t) // asks for it in this goroutine
			same(t, names, func(name string) string {
				return strings.ReplaceAll(login(t, name, "wrong-"+randomHex(8)), name, "NAME")
			})
		})
	}
	for protocol, login := range s.loginTries() {
		t.Run("time of a "+protocol+" login", func(t *testing.T) {
			t.Parallel()
			s.testLoginTimes(t, login)
		})
	}
}

// same asks about all names at once and wants one answer.
func same(t *testing.T, names map[string]string, ask func(name string) string) {
	t.Helper()
	kinds := slices.Sorted(maps.Keys(names))
	answers := make([]string, len(kinds))
	together(len(kinds), func(i int) { answers[i] = ask(names[kinds[i]]) })
	for _, answer := range answers {
		if answer != answers[0] {
			t.Errorf("the answers to %q differ: %q", kinds, answers)
			return
		}
	}
}

// loginTries are tries to log in, in TLS, that give the answer. To a name of more
// than 1,000 octets or so it is that the server hangs up.
func (s *Stack) loginTries() map[string]func(t *testing.T, user, password string) string {
	ask := func(d *dialogue, line string) string {
		for {
			answer, err := d.try(line)
			if err != nil {
				return "hung up"
			}
			if !strings.HasPrefix(answer, "* ") {
				return answer
			}
			line = ""
		}
	}
	return map[string]func(t *testing.T, user, password string) string{
		"imap": func(t *testing.T, user, password string) string {
			d := s.line(t, "imaps")
			d.say(t, "")
			return ask(d, "a LOGIN "+imapQuote(user)+" "+imapQuote(password))
		},
		"pop3": func(t *testing.T, user, password string) string {
			d := s.line(t, "pop3s")
			d.say(t, "")
			return ask(d, "USER "+user) + " / " + ask(d, "PASS "+password)
		},
		"managesieve": func(t *testing.T, user, password string) string {
			_, err := s.sieveLogin(t, user, password)
			return fmt.Sprint(err)
		},
		"smtp": func(t *testing.T, user, password string) string {
			return ask(s.smtpLine(t, "submissions", false), plain(user, password))
		},
		"smtp in two steps": func(t *testing.T, user, password string) string {
			d := s.smtpLine(t, "submissions", false)
			d.expect(t, "AUTH LOGIN", "334")
			if _, err := d.conn.Write([]byte(base64.StdEncoding.EncodeToString([]byte(user)) + "\r\n")); err != nil {
				return "hung up"
			}
			return ask(d, "") + " / " + ask(d, base64.StdEncoding.EncodeToString([]byte(password)))
		},
	}
}

func imapQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// loginRounds times each kind of name is tried. The time of an answer varies by
// itself by half a second, since the server looks twice a second which refusals
// have waited long enough; the shortest is compared, which other tests on the
// same processors disturb least, and may differ by that and half as much again. What a hash costs is less than that: images counts
// them (TestLoginCosts).
const (
	loginRounds = 6
	loginSpread = 750 * time.Millisecond
)

func (s *Stack) testLoginTimes(t *testing.T, login func(t *testing.T, user, password string) string) {
	s.caPEM(t) // asks for it in this goroutine
	// Accounts of its own, which guesses by other protocols do not hold back.
	user, _ := s.account(t)
	off, _ := s.account(t)
	s.mustRun(t, "account", "set", off, "--disable")
	_, host, _ := strings.Cut(user, "@")
	kinds := []string{"account", "disabled", "nobody", "nobody's domain"}
	shortest := make([]time.Duration, len(kinds))
	for round := range loginRounds {
		together(len(kinds), func(kind int) {
			name := []string{user, off, "nobody-" + randomHex(4) + "@" + host, "x@" + randomHex(4) + ".example"}[kind]
			began := time.Now()
			login(t, name, "wrong-"+randomHex(8))
			if took := time.Since(began); round == 0 || took < shortest[kind] {
				shortest[kind] = took
			}
		})
	}
	t.Logf("a wrong password for %q takes %v", kinds, shortest)
	if slices.Max(shortest)-slices.Min(shortest) > loginSpread {
		t.Errorf("who can be told from whom by the time of a refusal: %q take %v", kinds, shortest)
	}
}
