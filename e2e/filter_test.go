package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// filterServices are what [filter] enabled adds to a stack.
var filterServices = []string{"filter", "valkey"}

// filterBytes is how much more memory a stack may take with the filter.
const filterBytes = 120e6

// Patterns that filters are tested with (https://rspamd.com/doc/other/gtube_patterns.html):
// of one everybody says that it is unsolicited mail.
const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// The filter joins a stack that was up before there was one, whose file says nothing
// of it; while it is away nothing is bounced; and it leaves again.
func TestFilter(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.upGreen(t)
	user, password := s.account(t)
	domain := s.domain(t)
	before := s.deliver(t, "a@elsewhere.example", user)
	s.waitMail(t, user, password, "INBOX", before)

	s.set(t, "filter.enabled", "")
	if r := s.run(t, "plan", "--exit-code"); r.code != 4 || !strings.Contains(r.stdout, s.container("filter")) {
		t.Errorf("plan says nothing of the filter: %v", r)
	}
	for _, n := range []int{2, 5, 8} { // killed at these of its operations
		if _, ended, b := s.killAfter(t, n, syscall.SIGKILL); ended {
			t.Fatalf("up was not killed: %s", b.stderr)
		}
	}
	s.upGreen(t)
	s.sameAsAnyOther(t)
	s.waitMail(t, user, password, "INBOX", before)
	for _, domain := range []string{domain, s.hostname()} {
		if out := s.mustRun(t, "dkim", "show", domain); !strings.Contains(out, "._domainkey."+domain) {
			t.Errorf("%s has no keys: %s", domain, out)
		}
	}
	s.testFilterMemory(t, user)
	s.testSieveWithoutFilter(t)
	s.testFilterAway(t, user, password)

	s.set(t, "filter.enabled", "false")
	s.upGreen(t)
	for _, service := range filterServices {
		if r := tryDocker(t, "inspect", s.container(service)); r.code == 0 {
			t.Errorf("%s is still there", service)
		}
	}
	s.waitMail(t, user, password, "INBOX", s.deliver(t, "a@elsewhere.example", user))
	s.testNoResults(t, "without a filter")
}

// checkNoPort: not even inside the container does a service listen on a port.
func (s *Stack) checkNoPort(t *testing.T, service string) {
	t.Helper()
	out, code := s.exec(t, service, "sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null; exit 0")
	if code != 0 || !strings.Contains(out, "local_address") {
		t.Fatalf("%s: %s", service, out)
	}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		// 0A is LISTEN, 07 an unconnected UDP socket; 0B00007F is 127.0.0.11, the
		// engine's own resolver.
		if len(fields) > 3 && (fields[3] == "0A" || fields[3] == "07") && !strings.HasPrefix(fields[1], "0B00007F") {
			t.Errorf("%s listens: %s", service, line)
		}
	}
}

// testFilterMemory: after some mail, and once what it needed for that is back.
func (s *Stack) testFilterMemory(t *testing.T, user string) {
	t.Helper()
	for range 20 {
		s.deliver(t, "a@elsewhere.example", user)
	}
	waitUntil(t, time.Minute, "little memory", func() (bool, string) {
		var sum int64
		var each []string
		for _, service := range filterServices {
			bytes := s.memory(t, service)
			sum += bytes
			each = append(each, fmt.Sprintf("%s %.1f MB", service, float64(bytes)/1e6))
		}
		if sum <= filterBytes {
			t.Logf("with the filter: %v more", each)
		}
		return sum <= filterBytes, fmt.Sprint(each)
	})
}

// testFilterAway: no mail is lost or bounced while the filter is not there, and it
// flows again within 5 seconds of its return. Without its memory it goes on.
func (s *Stack) testFilterAway(t *testing.T, user, password string) {
	t.Helper()
	docker(t, "stop", s.container("valkey"))
	s.waitMail(t, user, password, "INBOX", s.deliver(t, "a@elsewhere.example", user))
	docker(t, "stop", s.container("filter"))
	plain := message("a@elsewhere.example", user, "away", "Hello.")
	began := time.Now()
	if err := s.inbound(t, "a@elsewhere.example", []string{user}, plain); smtpCode(err)/100 != 4 {
		t.Errorf("mail from elsewhere while the filter is away: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if err := s.submit(t, user, password, user, []string{user}, message(user, user, "away", "Hello.")); smtpCode(err)/100 != 4 {
		t.Errorf("mail from an account while the filter is away: %v", err)
	}
	docker(t, "start", s.container("valkey"), s.container("filter"))
	back := s.ready(t, "filter")
	waitUntil(t, 5*time.Second-time.Since(back), "mail after the filter's return", func() (bool, string) {
		err := s.inbound(t, "a@elsewhere.example", []string{user}, plain)
		return err == nil, fmt.Sprint(err)
	})

	s.set(t, "filter.when_down", quote("accept"))
	s.upGreen(t)
	docker(t, "stop", s.container("filter"))
	s.waitMail(t, user, password, "INBOX", s.deliver(t, "a@elsewhere.example", user))
	if out, code := s.exec(t, "postfix", "mailstack-queue"); code != 0 || out != "" {
		t.Errorf("the queue holds %s", out)
	}
	docker(t, "start", s.container("filter"))
	s.ready(t, "filter")
}

// testSieveWithoutFilter: what a script sends goes by the filter too. Mail that was
// taken before the filter went waits with its copy, and a notice goes out for the next
// message: nothing is bounced.
func (s *Stack) testSieveWithoutFilter(t *testing.T) {
	t.Helper()
	copied, copiedPassword := s.account(t)
	away, awayPassword := s.account(t)
	friend, friendPassword := s.account(t)
	sender, senderPassword := s.account(t)
	notice := "away " + randomHex(4)
	s.sieve(t, copied, copiedPassword, `require "copy"; redirect :copy "`+friend+`";`)
	s.sieve(t, away, awayPassword, `require "vacation"; vacation :subject "`+notice+`" "I am at the sea.";`)

	// On its way: taken while the mail store is not there.
	c, err := s.smtpLogin(t, sender, senderPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	docker(t, "stop", s.container("dovecot"))
	subject := "on its way " + randomHex(4)
	for _, to := range []string{copied, away} {
		if err := c.SendMail(sender, []string{to}, strings.NewReader(message(sender, to, subject, "Hello."))); err != nil {
			t.Fatal(err)
		}
	}
	docker(t, "stop", s.container("filter"))
	docker(t, "start", s.container("dovecot"))
	s.ready(t, "dovecot")
	s.waitMail(t, away, awayPassword, "INBOX", subject)
	queue := func() string {
		out, code := s.exec(t, "postfix", "mailstack-queue")
		if code != 0 {
			t.Fatal(out)
		}
		return out
	}
	waitUntil(t, time.Minute, "mail that waits for the filter", func() (bool, string) {
		out := queue()
		return strings.Count(out, `"queue_id"`) == 1 && strings.Contains(out, "/socket/dovecot/lmtp] said: 4"), out
	})
	if n := s.count(t, friend, friendPassword, subject); n != 0 {
		t.Errorf("a copy went past the filter")
	}

	docker(t, "start", s.container("filter"))
	back := s.ready(t, "filter")
	waitUntil(t, time.Until(back.Add(deferredUntil)), "an empty queue after the filter's return", func() (bool, string) {
		out := queue()
		return out == "", out
	})
	s.waitMail(t, friend, friendPassword, "INBOX", subject)
	for _, box := range [][2]string{{friend, friendPassword}, {copied, copiedPassword}, {away, awayPassword}} {
		if n := s.count(t, box[0], box[1], subject); n != 1 {
			t.Errorf("%s has it %d times", box[0], n)
		}
	}
	if err := s.submit(t, sender, senderPassword, sender, []string{away}, message(sender, away, "again", "x")); err != nil {
		t.Fatal(err)
	}
	s.waitMail(t, sender, senderPassword, "INBOX", notice)
	if n := s.count(t, sender, senderPassword, "Undelivered"); n != 0 {
		t.Errorf("%d messages were bounced", n)
	}
}
