package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// forwarder is a stack whose mail goes on to a server elsewhere.
type forwarder struct {
	*neighbour
	net            *neighbours
	out            *outsider
	user, password string
	stranger       string // has a mailbox elsewhere
	friend         string // likewise: where mail is forwarded to
	alias          string // of user and friend
}

func newForwarder(t *testing.T) *forwarder {
	t.Helper()
	p := newNeighbours(t, 1, "")
	f := &forwarder{neighbour: p.all[0], net: p, out: p.outsider(t), stranger: "Strange.One@elsewhere.test", friend: "friend@outside.test"}
	p.ns.change(t, zoneFile{name: p.others, records: fmt.Sprintf(`mx A %s
elsewhere MX 10 mx
elsewhere TXT "v=spf1 ip4:%[1]s -all"
outside MX 10 mx
outside TXT "v=spf1 ip4:%[1]s -all"
`, p.ip(1))})
	f.user, f.alias = "user@"+f.domain, "both@"+f.domain
	f.password = f.accountNamed(t, f.user)
	f.mustRun(t, "alias", "add", f.alias, f.user, f.friend)
	return f
}

// from sends a message to port 25 as a server elsewhere does.
func (f *forwarder) from(t *testing.T, sender, to, subject string) error {
	t.Helper()
	c := f.net.connect(t, f.neighbour, "mx."+f.net.others)
	defer c.Close()
	return c.SendMail(sender, []string{to}, strings.NewReader(message(f.stranger, to, subject, "Hello.")))
}

// TestForward: what goes on to another host has a sender of ours, for whom bounces
// come home to who wrote; nothing else has.
func TestForward(t *testing.T) {
	t.Parallel()
	f := newForwarder(t)
	subject := "forwarded " + randomHex(4)
	if err := f.from(t, f.stranger, f.alias, subject); err != nil {
		t.Fatal(err)
	}
	got := f.out.wait(t, subject)
	srs := got.from
	if want := regexp.MustCompile(`^SRS0=[^=]{8}=[A-Z2-7]{2}=elsewhere\.test=Strange\.One@mail\.` + regexp.QuoteMeta(f.domain) + `$`); !want.MatchString(srs) {
		t.Fatalf("the sender is %s, not %v", srs, want)
	}
	if !strings.Contains(got.message, "From: <"+f.stranger+">") {
		t.Errorf("the header is another:\n%s", got.message)
	}
	if letter := f.waitMail(t, f.user, f.password, "INBOX", subject); !strings.Contains(letter, "Return-Path: <"+f.stranger+">") {
		t.Errorf("the mailbox here gets\n%s", letter)
	}
	if n := len(f.out.find(subject)); n != 1 {
		t.Errorf("%d copies", n)
	}
	f.testHome(t, srs)
	f.testForged(t, srs)
	f.testOwnSender(t)
	f.testNobody(t)
	f.testRefusedThere(t)
	f.testSecondForwarder(t)
	f.testRedirect(t)
	f.testAway(t, srs)
	f.testNewSecret(t, srs)
}

// testHome: a bounce for such a sender goes to the one it stands for, whatever
// others did to its letters.
func (f *forwarder) testHome(t *testing.T, srs string) {
	t.Helper()
	subject := "bounce " + randomHex(4)
	if err := f.from(t, "", srs, subject); err != nil {
		t.Fatal(err)
	}
	if got := f.out.wait(t, subject); got.from != "" || fmt.Sprint(got.to) != "["+f.stranger+"]" {
		t.Errorf("the bounce went from <%s> to %v", got.from, got.to)
	}
	subject = "in lower case " + randomHex(4)
	if err := f.from(t, "", strings.ToLower(srs), subject); err != nil {
		t.Fatal(err)
	}
	f.out.wait(t, subject)
}

// testForged: nobody but us makes such addresses, not even where a catch-all takes
// what is nobody's.
func (f *forwarder) testForged(t *testing.T, srs string) {
	t.Helper()
	f.mustRun(t, "domain", "add", "mail."+f.domain)
	f.mustRun(t, "alias", "add", "@mail."+f.domain, f.user)
	now := time.Now()
	if made := f.srsAddress(t, now, f.stranger); made != srs && f.srsAddress(t, now.Add(-24*time.Hour), f.stranger) != srs {
		t.Fatalf("this test makes %s, not %s", made, srs)
	}
	for what, address := range map[string]string{
		"another's":     strings.Replace(srs, "Strange", "Stranger", 1),
		"without hash":  "SRS0=" + srs[len("SRS0=12345678="):],
		"short":         srs[:len("SRS0=")] + srs[len("SRS0=1234"):],
		"of no meaning": "SRS0=x@mail." + f.domain,
		"expired":       f.srsAddress(t, now.Add(-23*24*time.Hour), f.stranger),
		"of tomorrow":   f.srsAddress(t, now.Add(48*time.Hour), f.stranger),
	} {
		if err := f.from(t, "", address, "forged"); smtpCode(err) != 550 {
			t.Errorf("%s, %s: %v", what, address, err)
		}
	}
	if err := f.from(t, "", f.srsAddress(t, now.Add(-20*24*time.Hour), f.stranger), "late "+randomHex(4)); err != nil {
		t.Errorf("a bounce after 20 days: %v", err)
	}
	if err := f.from(t, f.stranger, "anything@mail."+f.domain, "caught"); err != nil {
		t.Errorf("the catch-all: %v", err)
	}
}

// srsAddress is what the stack makes for a sender at some time, by another
// implementation.
func (f *forwarder) srsAddress(t *testing.T, when time.Time, sender string) string {
	t.Helper()
	data, err := os.ReadFile(f.layout().SecretFile("srs"))
	if err != nil {
		t.Fatal(err)
	}
	var secret struct{ Secret string }
	if err := json.Unmarshal(data, &secret); err != nil {
		t.Fatal(err)
	}
	const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	day := when.Unix() / 86400
	stamp := string([]byte{base32[day>>5&31], base32[day&31]})
	user, host, _ := strings.Cut(sender, "@")
	mac := hmac.New(sha1.New, []byte(secret.Secret))
	mac.Write([]byte(strings.ToLower(stamp + host + user)))
	hash := base64.StdEncoding.EncodeToString(mac.Sum(nil))[:8]
	return fmt.Sprintf("SRS0=%s=%s=%s=%s@mail.%s", hash, stamp, host, user, f.domain)
}

// testOwnSender: who writes from here to an alias that leads elsewhere stays the
// sender.
func (f *forwarder) testOwnSender(t *testing.T) {
	t.Helper()
	for _, to := range []string{f.alias, f.friend} {
		subject := "own " + randomHex(4)
		if err := f.submit(t, f.user, f.password, f.user, []string{to}, message(f.user, to, subject, "Hello.")); err != nil {
			t.Fatal(err)
		}
		if got := f.out.wait(t, subject); got.from != f.user {
			t.Errorf("mail from here to %s has the sender %s", to, got.from)
		}
	}
}

// testNobody: a bounce that is forwarded has no sender either.
func (f *forwarder) testNobody(t *testing.T) {
	t.Helper()
	subject := "nobody's " + randomHex(4)
	if err := f.from(t, "", f.alias, subject); err != nil {
		t.Fatal(err)
	}
	if got := f.out.wait(t, subject); got.from != "" {
		t.Errorf("a bounce has the sender %s", got.from)
	}
}

// testRefusedThere: who wrote is told when the forwarded mail is refused.
func (f *forwarder) testRefusedThere(t *testing.T) {
	t.Helper()
	gone := "gone@outside.test"
	f.out.refuse(gone)
	f.mustRun(t, "alias", "add", "gone@"+f.domain, gone)
	subject := "in vain " + randomHex(4)
	if err := f.from(t, f.stranger, "gone@"+f.domain, subject); err != nil {
		t.Fatal(err)
	}
	if got := f.out.wait(t, subject); got.from != "" || fmt.Sprint(got.to) != "["+f.stranger+"]" || !strings.Contains(got.message, "no such user") {
		t.Errorf("the bounce is from <%s> to %v:\n%s", got.from, got.to, got.message)
	}
}

// testSecondForwarder: the address of another forwarder is wrapped once, however
// often it comes by.
func (f *forwarder) testSecondForwarder(t *testing.T) {
	t.Helper()
	other := "SRS0=AbCd=XY=first.test=writer@elsewhere.test"
	subject := "twice " + randomHex(4)
	if err := f.from(t, other, f.alias, subject); err != nil {
		t.Fatal(err)
	}
	srs := f.out.wait(t, subject).from
	if !regexp.MustCompile(`^SRS1=[^=]{8}=elsewhere\.test==AbCd=XY=first\.test=writer@mail\.`).MatchString(srs) {
		t.Fatalf("the sender is %s", srs)
	}
	subject = "bounce of it " + randomHex(4)
	if err := f.from(t, "", srs, subject); err != nil {
		t.Fatal(err)
	}
	if got := f.out.wait(t, subject); fmt.Sprint(got.to) != "["+other+"]" {
		t.Errorf("the bounce went to %v", got.to)
	}
}

// testRedirect: what a Sieve script sends on, too.
func (f *forwarder) testRedirect(t *testing.T) {
	t.Helper()
	f.sieve(t, f.user, f.password, `require "copy"; redirect :copy "`+f.friend+`";`)
	defer f.sieve(t, f.user, f.password, "keep;")
	subject := "redirected " + randomHex(4)
	if err := f.from(t, f.stranger, f.user, subject); err != nil {
		t.Fatal(err)
	}
	if got := f.out.wait(t, subject); !strings.HasPrefix(got.from, "SRS0=") || !strings.HasSuffix(got.from, "=elsewhere.test=Strange.One@mail."+f.domain) {
		t.Errorf("redirected mail has the sender %s", got.from)
	}
}

// testAway: while nothing makes such addresses, mail that needs one waits, and
// other mail goes on.
func (f *forwarder) testAway(t *testing.T, srs string) {
	t.Helper()
	sockets := []string{"srs", "srs-policy"}
	move := func(from, to string) {
		t.Helper()
		for _, name := range sockets {
			socket := "/var/spool/postfix/private/" + name
			if out, code := f.exec(t, "postfix", "mv", socket+from, socket+to); code != 0 {
				t.Fatal(out)
			}
		}
	}
	move("", ".away")
	for _, pid := range f.processes(t, "postfix") {
		if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.Contains(command, []byte("mailstack-srs")) {
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	waits := "waits " + randomHex(4)
	if err := f.from(t, f.stranger, f.alias, waits); err != nil {
		t.Fatal(err)
	}
	f.waitMail(t, f.user, f.password, "INBOX", waits)
	if err := f.from(t, "", srs, "bounce"); smtpCode(err) != 451 || !strings.Contains(err.Error(), "Whose address this is cannot be looked up") {
		t.Errorf("a bounce while nobody knows whose it is: %v", err)
	}
	goesOn := "goes on " + randomHex(4)
	if err := f.from(t, f.stranger, f.user, goesOn); err != nil {
		t.Errorf("mail for a mailbox meanwhile: %v", err)
	}
	f.waitMail(t, f.user, f.password, "INBOX", goesOn)
	waitUntil(t, 30*time.Second, "the message to be put off", func() (bool, string) {
		out, _ := f.exec(t, "postfix", "postqueue", "-p")
		return strings.Contains(out, "(host 127.0.0.1[127.0.0.1] said: 451"), out
	})
	if n := len(f.out.find(waits)); n != 0 {
		t.Errorf("%d letters went out", n)
	}
	move(".away", "")
	if out, code := f.exec(t, "postfix", "postqueue", "-f"); code != 0 {
		t.Fatal(out)
	}
	if got := f.out.wait(t, waits); !strings.HasPrefix(got.from, "SRS0=") {
		t.Errorf("what waited has the sender %s", got.from)
	}
}

// testNewSecret: after a change of the secret what the old one made still stands for its
// sender, so there is no second change soon; and where somebody else has got it, nothing
// that was made before does.
func (f *forwarder) testNewSecret(t *testing.T, old string) {
	t.Helper()
	f.mustRun(t, "srs", "rotate")
	f.net.join(t, f.neighbour)
	srs := f.madeNow(t, old)
	f.testHome(t, srs)
	f.testHome(t, old)
	if r := f.run(t, "srs", "rotate"); r.code != 1 || !strings.Contains(r.stderr, "is good until ") {
		t.Errorf("a second change: %v", r)
	}
	if p := f.run(t, "plan", "--exit-code"); p.code != 0 {
		t.Errorf("something is left to do: %v", p)
	}
	f.mustRun(t, "srs", "rotate", "--leaked")
	f.net.join(t, f.neighbour)
	f.testHome(t, f.madeNow(t, srs))
	for _, address := range []string{old, srs} {
		if err := f.from(t, "", address, "with a leaked secret"); smtpCode(err) != 550 {
			t.Errorf("a bounce to %s, made with a leaked secret: %v", address, err)
		}
	}
}

// madeNow is the sender that forwarded mail has, which is another one than before.
func (f *forwarder) madeNow(t *testing.T, before string) string {
	t.Helper()
	subject := "with the new secret " + randomHex(4)
	if err := f.from(t, f.stranger, f.alias, subject); err != nil {
		t.Fatal(err)
	}
	srs := f.out.wait(t, subject).from
	if now := time.Now(); srs == before || srs != f.srsAddress(t, now, f.stranger) && srs != f.srsAddress(t, now.Add(-time.Minute), f.stranger) {
		t.Errorf("the sender is %s, which is not made with the new secret", srs)
	}
	return srs
}
