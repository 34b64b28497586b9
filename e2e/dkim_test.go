package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// signingKey is a key as `dkim show --format json` tells it.
type signingKey struct {
	Domain, Selector, Type, State, Name, Value string
}

func (s *Stack) signingKeys(t *testing.T, domain string) (keys []signingKey) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.mustRun(t, "dkim", "show", domain, "--format", "json")), &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// verified are the selectors' types of the signatures of a message that hold, by
// another implementation than the one that signs, which takes keys for what the
// DNS would say.
func verified(t *testing.T, message string, keys []signingKey) (types []string, failures []error) {
	t.Helper()
	records := map[string]string{}
	for _, k := range keys {
		records[k.Name] = k.Value
	}
	checks, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			if records[name] == "" {
				return nil, fmt.Errorf("%s is asked for, which nobody publishes", name)
			}
			return []string{records[name]}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if c.Err != nil {
			failures = append(failures, c.Err)
			continue
		}
		for _, k := range keys {
			if k.Domain == c.Domain && strings.Contains(message, "s="+k.Selector+";") && !slices.Contains(types, k.Type) {
				types = append(types, k.Type)
			}
		}
	}
	slices.Sort(types)
	return types, failures
}

// Mail of people who signed in is signed in the name of their domain, from the
// moment on that the domain is added, with two keys that nobody sees but the
// signer; nobody else's mail is.
func TestSigning(t *testing.T) {
	t.Parallel()
	s := newStack(t, "")
	s.upGreen(t)
	domain := s.domain(t)
	keys := s.signingKeys(t, domain)
	if len(keys) != 2 || keys[0].State != "active" || keys[1].State != "active" || keys[0].Type == keys[1].Type {
		t.Fatalf("the keys are %+v", keys)
	}
	user := "signer@" + domain
	password := s.accountNamed(t, user)

	subject := "signed " + randomHex(4)
	if err := s.submit(t, user, password, user, []string{user}, message(user, user, subject, "Hello.")); err != nil {
		t.Fatal(err)
	}
	got := s.waitMail(t, user, password, "INBOX", subject)
	if types, failures := verified(t, got, keys); fmt.Sprint(types) != "[ed25519 rsa]" || len(failures) > 0 {
		t.Errorf("signatures that hold: %v, others: %v, of\n%s", types, failures, got)
	}
	if types, failures := verified(t, strings.Replace(got, "Hello.", "Hallo.", 1), keys); len(types) > 0 || len(failures) != 2 {
		t.Errorf("a changed message verifies: %v %v", types, failures)
	}

	// What comes from elsewhere is not ours, whatever its From: says.
	for _, from := range []string{"a@elsewhere.example", user} {
		subject = "not ours " + randomHex(4)
		if err := s.inbound(t, "a@elsewhere.example", []string{user}, message(from, user, subject, "Hello.")); err != nil {
			t.Fatal(err)
		}
		if got := s.waitMail(t, user, password, "INBOX", subject); strings.Contains(got, "DKIM-Signature:") {
			t.Errorf("mail from elsewhere in the name of %s is signed:\n%s", from, got)
		}
	}
	// Nor does anybody of ours write in the name of another one, in the domain or not.
	other := s.domain(t)
	for _, from := range []string{"x@" + other, "somebody@" + domain} {
		if err := s.submit(t, user, password, user, []string{user}, message(from, user, "another's", "Hello.")); smtpCode(err) != 550 {
			t.Errorf("mail in the name of %s: %v", from, err)
		}
	}

	s.testSieveIsSigned(t, user, password, keys)
	s.testKeysAreHidden(t, keys)
	if out := s.mustRun(t, "dns", "show", domain); !strings.Contains(out, keys[0].Name) {
		t.Errorf("dns show does not have the keys:\n%s", out)
	}

	s.mustRun(t, "domain", "remove", other)
	if list, err := filepath.Glob(filepath.Join(s.layout().RunDir("filter", "signing"), "*"+other+"*")); err != nil || len(list) > 0 {
		t.Errorf("the signer still has %v (%v)", list, err)
	}
	if r := s.run(t, "plan", "--exit-code"); r.code != 0 {
		t.Errorf("a second up would do something: %v", r)
	}
}

// testSieveIsSigned: what an account's script makes is its domain's mail, and what it
// redirects is not, whoever that is from.
func (s *Stack) testSieveIsSigned(t *testing.T, user, password string, keys []signingKey) {
	t.Helper()
	domain := keys[0].Domain
	ann := "ann@" + domain
	annPassword := s.accountNamed(t, ann)
	signed := func(what, letter string) {
		t.Helper()
		if types, failures := verified(t, letter, keys); fmt.Sprint(types) != "[ed25519 rsa]" || len(failures) > 0 {
			t.Errorf("%s: signatures that hold: %v, others: %v, of\n%s", what, types, failures, letter)
		}
	}
	ask := func(from string) {
		t.Helper()
		if err := s.submit(t, user, password, user, []string{ann}, message(from, ann, "ask", "x")); err != nil {
			t.Fatal(err)
		}
	}
	s.sieve(t, ann, annPassword, `require "vacation"; vacation :subject "vacation" "I am at the sea.";`)
	ask(user)
	signed("vacation", s.waitMail(t, user, password, "INBOX", "vacation"))
	s.sieve(t, ann, annPassword, `require "reject"; reject "Not on a Sunday.";`)
	ask(user)
	signed("rejection", s.waitMail(t, user, password, "INBOX", "Reject"))
	s.sieve(t, ann, annPassword, `require "enotify"; notify :message "notice" "mailto:`+user+`";`)
	ask(user)
	signed("notification", s.waitMail(t, user, password, "INBOX", "notice"))

	s.sieve(t, ann, annPassword, `redirect "`+user+`";`)
	for _, from := range []string{stranger, ann, user, "postmaster@" + domain} {
		subject := "redirected " + randomHex(4)
		forged := "X-Sieve: x\r\nAuto-Submitted: auto-replied\r\n" + message(from, ann, subject, "x")
		for _, sender := range []string{stranger, ""} {
			if err := s.inbound(t, sender, []string{ann}, forged); err != nil {
				t.Fatal(err)
			}
			letter := s.waitMail(t, user, password, "INBOX", subject)
			if strings.Contains(letter, "DKIM-Signature:") || !strings.Contains(letter, "X-Sieve-Redirected-From: "+ann) {
				t.Errorf("redirected mail from <%s> in the name of %s is signed, or not redirected:\n%s", sender, from, letter)
			}
			subject = "redirected " + randomHex(4)
			forged = message(from, ann, subject, "x")
		}
	}
}

// testKeysAreHidden: no other container has a private key, and nothing prints one.
func (s *Stack) testKeysAreHidden(t *testing.T, keys []signingKey) {
	t.Helper()
	for _, service := range services {
		if service == "filter" {
			continue
		}
		out, code := s.exec(t, service, "sh", "-c", "find / -xdev -name '*"+keys[0].Selector+"*' 2>/dev/null; ls -d /run/mailstack/signing 2>/dev/null; exit 0")
		if code != 0 || strings.TrimSpace(out) != "" {
			t.Errorf("%s sees %s", service, out)
		}
	}
	if out, _ := s.exec(t, "filter", "ls", "/run/mailstack/signing"); !strings.Contains(out, keys[0].Selector) {
		t.Errorf("the signer sees %s", out)
	}
	for _, args := range [][]string{{"dkim", "show", "--format", "json"}, {"plan"}, {"status", "--format", "json"}, {"logs"}} {
		if r := s.run(t, args...); strings.Contains(r.stdout+r.stderr, "PRIVATE KEY") {
			t.Errorf("mailstack %v prints a private key", args)
		}
	}
}
