package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"
)

// logins tries a password in every protocol and says in which it was taken.
func (s *Stack) logins(t *testing.T, user, password string) map[string]bool {
	t.Helper()
	taken := map[string]bool{}
	var lock sync.Mutex
	var wg sync.WaitGroup
	// At the same time: each refusal takes two seconds.
	for protocol, login := range map[string]func() (io.Closer, error){
		"imap": func() (io.Closer, error) { return s.imapLogin(t, user, password) },
		"pop3": func() (io.Closer, error) {
			d, err := s.pop3Login(t, user, password)
			return d.conn, err
		},
		"managesieve": func() (io.Closer, error) {
			d, err := s.sieveLogin(t, user, password)
			return d.conn, err
		},
		"submission": func() (io.Closer, error) { return s.smtpLogin(t, user, password) },
	} {
		wg.Go(func() {
			session, err := login()
			lock.Lock()
			taken[protocol] = err == nil
			lock.Unlock()
			if err == nil {
				session.Close()
			}
		})
	}
	wg.Wait()
	return taken
}

// expectLogins is logins with the one answer that each must give.
func (s *Stack) expectLogins(t *testing.T, user, password string, want bool) {
	t.Helper()
	for protocol, taken := range s.logins(t, user, password) {
		if taken != want {
			t.Errorf("%s: login of %s taken: %v, want %v", protocol, user, taken, want)
		}
	}
}

// sessions are open sessions of one account, one in each protocol.
type sessions struct {
	imap, idle *imapclient.Client
	pop3       *dialogue
	sieve      *dialogue
	submission *smtp.Client
	user       string
}

func (s *Stack) open(t *testing.T, user, password string) *sessions {
	t.Helper()
	o := &sessions{imap: s.imap(t, user, password), idle: s.imap(t, user, password), user: user}
	if _, err := o.idle.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.idle.Idle(); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.pop3, err = s.pop3Login(t, user, password); err != nil {
		t.Fatal(err)
	}
	if o.sieve, err = s.sieveLogin(t, user, password); err != nil {
		t.Fatal(err)
	}
	if o.submission, err = s.smtpLogin(t, user, password); err != nil {
		t.Fatal(err)
	}
	// All of them work.
	if _, err := o.imap.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	o.pop3.expect(t, "NOOP", "+OK")
	o.sieve.expect(t, "NOOP", "OK")
	if err := o.send(); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *sessions) send() error {
	return o.submission.SendMail(o.user, []string{o.user}, strings.NewReader(message(o.user, o.user, "session", "x")))
}

// expectEnded: the server has closed IMAP, POP3 and ManageSieve within a second,
// and takes no message more in the submission session.
func (o *sessions) expectEnded(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for name, c := range map[string]*imapclient.Client{"IMAP": o.imap, "IMAP IDLE": o.idle} {
		wg.Go(func() {
			select {
			case <-c.Closed():
			case <-time.After(time.Until(deadline)):
				t.Errorf("the %s session is still open", name)
			}
		})
	}
	for name, d := range map[string]*dialogue{"POP3": o.pop3, "ManageSieve": o.sieve} {
		wg.Go(func() {
			if err := d.conn.SetReadDeadline(deadline); err != nil {
				t.Error(err)
				return
			}
			for {
				line, err := d.try("")
				if err == nil {
					t.Logf("%s says %q", name, line)
					continue
				}
				if os.IsTimeout(err) {
					t.Errorf("the %s session is still open", name)
				}
				return
			}
		})
	}
	wg.Wait()
	if code := smtpCode(o.send()); code != 421 && code/100 != 5 {
		t.Errorf("the submission session's next message is answered with %d", code)
	}
}

// lmtpRecipient is what Dovecot answers to Postfix about a recipient.
func (s *Stack) lmtpRecipient(t *testing.T, user string) string {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.data(), "socket/dovecot/run/lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := newDialogue(conn).all("", "LHLO client.example", "MAIL FROM:<"+stranger+">", "RCPT TO:<"+user+">")
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestPasswordChange: the old password ends at once, although its logins are
// cached, with all sessions that it opened; the new one works at once.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, old := s.account(t)
	other, otherPassword := s.account(t)
	for range 2 { // into the cache
		s.expectLogins(t, user, old, true)
	}
	open, bystander := s.open(t, user, old), s.open(t, other, otherPassword)
	fresh := "pw-" + randomHex(8)
	if r := s.runInput(t, fresh+"\n", "account", "passwd", user, "--password-stdin"); r.code != 0 {
		t.Fatalf("account passwd: %v", r)
	}
	open.expectEnded(t)
	s.expectLogins(t, user, old, false)
	s.expectLogins(t, user, fresh, true)
	// Nobody else notices.
	if err := bystander.imap.Noop().Wait(); err != nil {
		t.Errorf("IMAP session of another account: %v", err)
	}
	bystander.pop3.expect(t, "NOOP", "+OK")
	bystander.sieve.expect(t, "NOOP", "OK")
	if err := bystander.send(); err != nil {
		t.Errorf("submission session of another account: %v", err)
	}
}

// TestDisabledAccount: no login and no sending, at once; its mail is still taken
// in and stored, and is there when it is enabled again.
func TestDisabledAccount(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	friend, friendPassword := s.account(t)
	s.sieve(t, user, password, `require ["copy", "fileinto"]; redirect :copy "`+friend+`"; fileinto "Trash";`)
	open := s.open(t, user, password)
	s.lmtpRecipient(t, user) // remembers that the script runs
	s.mustRun(t, "account", "set", user, "--disable")
	open.expectEnded(t)
	s.expectLogins(t, user, password, false)
	domain := s.domain(t)
	s.mustRun(t, "alias", "add", "@"+domain, user)
	direct, byAlias := s.deliver(t, stranger, user), s.deliver(t, stranger, "anything@"+domain)
	local, host, _ := strings.Cut(user, "@")
	inbox := filepath.Join(s.layout().Content("vmail"), host, local, "Maildir", "new")
	// By their subjects: open sent a letter too, which may come as late as these.
	waitUntil(t, 30*time.Second, "both letters are stored", func() (bool, string) {
		files, err := filepath.Glob(filepath.Join(inbox, "*"))
		stored := ""
		for _, file := range files {
			if content, err := os.ReadFile(file); err == nil {
				stored += string(content)
			}
		}
		return strings.Contains(stored, direct) && strings.Contains(stored, byAlias), fmt.Sprintf("%d letters (%v)", len(files), err)
	})
	s.mustRun(t, "account", "set", user, "--enable")
	s.expectLogins(t, user, password, true)
	s.waitMail(t, user, password, "INBOX", direct)
	s.waitMail(t, user, password, "INBOX", byAlias)
	// Its script sent nothing on: INBOX says that it did not even run.
	if n := s.count(t, friend, friendPassword, "INBOX"); n != 0 {
		t.Errorf("%d letters were redirected by a disabled account", n)
	}
}

// TestRemovedAccount: 550 from then on, its sessions end, and its mail is set
// aside: whoever gets the address next does not get it. What Postfix has queued
// finds no mailbox either, although LMTP remembers whom it was told of.
func TestRemovedAccount(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	subject := s.deliver(t, stranger, user)
	s.waitMail(t, user, password, "INBOX", subject)
	open := s.open(t, user, password)
	s.mustRun(t, "account", "remove", user, "--yes")
	if answer := s.lmtpRecipient(t, user); !strings.HasPrefix(answer, "550 5.1.1") {
		t.Errorf("LMTP takes mail for a removed account: %s", answer)
	}
	open.expectEnded(t)
	s.expectLogins(t, user, password, false)
	if err := s.inbound(t, stranger, []string{user}, message(stranger, user, "x", "x")); smtpCode(err) != 550 {
		t.Errorf("mail to a removed account: %v", err)
	}
	again := s.accountNamed(t, user)
	if answer := s.lmtpRecipient(t, user); !strings.HasPrefix(answer, "250") {
		t.Errorf("LMTP refuses mail for an account that is there again: %s", answer)
	}
	if n := s.count(t, user, again, subject); n != 0 {
		t.Errorf("the next owner of the address got %d letters of the last one", n)
	}
	found := false
	store := filepath.Join(s.data(), "vmail", "data")
	err := filepath.Walk(store, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || info.Size() > 1<<20 {
			return nil // mail comes and goes
		}
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), "Subject: "+subject) {
			found = true
		}
		return nil
	})
	if err != nil || !found {
		t.Errorf("the removed account's letter is nowhere in %s (%v)", store, err)
	}
}

// TestTriedBeforeItExisted: that an account was unknown a moment ago is nowhere
// remembered, neither for logins nor for mail.
func TestTriedBeforeItExisted(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user := "early" + randomHex(4) + "@" + s.hostname()
	for range 2 {
		s.expectLogins(t, user, "pw", false)
		if err := s.inbound(t, stranger, []string{user}, message(stranger, user, "x", "x")); smtpCode(err) != 550 {
			t.Errorf("mail to an account that is not there yet: %v", err)
		}
	}
	password := s.accountNamed(t, user)
	s.expectLogins(t, user, password, true)
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
}

// TestRenewedCertificate: the new one is served on every port within seconds,
// without dropping an open session. It runs alone: a login that is under way
// while Dovecot reloads does fail.
func TestRenewedCertificate(t *testing.T) {
	s := shared(t)
	user, password := s.account(t)
	open := s.imap(t, user, password)
	before := s.fingerprints(t)
	s.mustRun(t, "cert", "renew")
	waitUntil(t, 5*time.Second, "the new certificate on every port", func() (bool, string) {
		now := s.fingerprints(t)
		for key := range now {
			if now[key] == before[key] || now[key] != now["imaps"] {
				return false, key + " " + now[key]
			}
		}
		return true, ""
	})
	s.mustRun(t, "cert", "show", "--served")
	if _, err := open.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait(); err != nil {
		t.Errorf("an IMAP session did not survive: %v", err)
	}
}

// fingerprints are those of the certificates that the ports serve now.
func (s *Stack) fingerprints(t *testing.T) map[string]string {
	t.Helper()
	starttls := map[string]string{"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3", "managesieve": "sieve"}
	prints := map[string]string{}
	for _, key := range listeners {
		args := []string{"s_client", "-connect", s.addr(key), "-servername", s.hostname()}
		if protocol := starttls[key]; protocol != "" {
			args = append(args, "-starttls", protocol)
		}
		shown := mustTool(t, "", "openssl", args...)
		prints[key] = strings.TrimSpace(mustTool(t, shown.stdout, "openssl", "x509", "-noout", "-fingerprint", "-sha256").stdout)
	}
	if len(prints) != len(listeners) {
		t.Fatal(fmt.Sprint(prints))
	}
	return prints
}
