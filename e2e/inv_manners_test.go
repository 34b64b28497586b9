package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Invariant 8: what a client calls itself and whether its names exist decides
// nothing, and nobody pays for what others behind the same address did.
func TestNoAnswerDependsOnHELOOrDNS(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	t.Run("names", func(t *testing.T) { s.testNames(t, user) })
	t.Run("neighbours", func(t *testing.T) { s.testNeighbours(t, user, password) })
}

// testNames: the names under .example and .invalid exist nowhere (RFC 6761).
func (s *Stack) testNames(t *testing.T, user string) {
	heloes := map[string]string{
		"not a FQDN":          "laptop",
		"an address literal":  "[192.0.2.1]",
		"an IPv6 literal":     "[IPv6:2001:db8::1]",
		"a bare address":      "192.0.2.1",
		"a missing domain":    "no-such-host-" + randomHex(4) + ".invalid",
		"our own name":        s.hostname(),
		"the container's own": "localhost",
		"nonsense":            "_!?=..-",
	}
	senders := []string{
		"", "a@no-such-domain-" + randomHex(4) + ".example", "a@" + randomHex(4) + ".invalid", "a@single", "a@[192.0.2.1]", "a@localhost",
	}
	for what, name := range heloes {
		for _, verb := range []string{"HELO", "EHLO"} {
			d := s.line(t, "smtp")
			d.smtp(t, "")
			if answer := d.smtp(t, verb+" "+name); !strings.HasPrefix(answer[0], "250") {
				t.Errorf("%s %s (%s): %q", verb, name, what, answer)
				continue
			}
			for _, sender := range senders {
				for _, line := range []string{"MAIL FROM:<" + sender + ">", "RCPT TO:<" + user + ">"} {
					if answer := d.say(t, line); !strings.HasPrefix(answer, "250") {
						t.Errorf("after %s %s (%s) from <%s>: %q", verb, name, what, sender, answer)
					}
				}
				d.expect(t, "RSET", "250")
			}
			d.expect(t, "QUIT", "221")
		}
	}
}

// errorsEach is how many mistakes a client makes on IMAP and on port 25.
const errorsEach = 30

// testNeighbours compares visits before and after a client of the same address
// (the gateway's, for the containers) made its mistakes. The penalty that
// Dovecot can have for an address is forgotten at the first good login, so those
// after the mistakes are made at the same time. Their connections stay open.
func (s *Stack) testNeighbours(t *testing.T, user, password string) {
	victim, _ := s.account(t)
	s.caPEM(t) // asks for it in this goroutine
	_, before, err := s.visits(t, user, password)
	if err != nil {
		t.Fatalf("before: %v", err)
	}
	s.mistakes(t, victim)
	after, _, err := s.visits(t, user, password)
	if err != nil {
		t.Fatalf("a client that did nothing wrong is not served: %v", err)
	}
	t.Logf("a visit took up to %v before and from %v after", before, after)
	// The second is for processors that other tests use too.
	if limit := 10*before + time.Second; after > limit {
		t.Errorf("a visit takes %v after another client's mistakes, %v before them", after, before)
	}
}

// visits makes a few visits at once and says how long the fastest and the
// slowest took.
func (s *Stack) visits(t *testing.T, user, password string) (fastest, slowest time.Duration, err error) {
	t.Helper()
	const number = 3
	took, errs := make([]time.Duration, number), make([]error, number)
	together(number, func(i int) {
		began := time.Now()
		errs[i] = s.visit(t, user, password)
		took[i] = time.Since(began)
	})
	fastest, slowest = took[0], took[0]
	for _, d := range took {
		fastest, slowest = min(fastest, d), max(slowest, d)
	}
	return fastest, slowest, errors.Join(errs...)
}

// visit is a login over IMAP and a recipient on port 25, each on a connection
// of its own.
func (s *Stack) visit(t *testing.T, user, password string) error {
	c, err := s.imapLogin(t, user, password)
	if err != nil {
		return fmt.Errorf("IMAP: %w", err)
	}
	defer c.Close()
	conn, err := s.dial(t, "smtp")
	if err != nil {
		return err
	}
	m := smtp.NewClient(conn)
	defer m.Close()
	if err := m.Mail(stranger, nil); err != nil {
		return fmt.Errorf("port 25: %w", err)
	}
	return m.Rcpt(user, nil)
}

// mistakes tries wrong passwords, each another and on another connection, and
// unknown recipients.
func (s *Stack) mistakes(t *testing.T, victim string) {
	t.Helper()
	// In five waves: Dovecot's penalty would double with each, to 15 s, but not
	// for those that come at the same time.
	const wave = errorsEach / 5
	refusals := make([]error, errorsEach)
	for first := 0; first < errorsEach; first += wave {
		together(wave, func(i int) {
			_, refusals[first+i] = s.imapLogin(t, victim, fmt.Sprintf("wrong-%d", first+i))
		})
	}
	for _, err := range refusals {
		var refused *imap.Error
		// Of these the last may be refused untried.
		if !errors.As(err, &refused) || refused.Code != imap.ResponseCodeAuthenticationFailed && refused.Code != imap.ResponseCodeUnavailable {
			t.Errorf("a wrong password: %v", err)
		}
	}
	// Not all in one session: that one is slowed down, and ended at the 20th.
	const sessions = 3
	unknown := make([]error, sessions)
	together(sessions, func(i int) {
		conn, err := s.dial(t, "smtp")
		if err != nil {
			unknown[i] = err
			return
		}
		m := smtp.NewClient(conn)
		if unknown[i] = m.Mail(stranger, nil); unknown[i] != nil {
			return
		}
		for n := range errorsEach / sessions {
			if err := m.Rcpt(fmt.Sprintf("nobody-%d-%d@%s", i, n, s.hostname()), nil); smtpCode(err) != 550 {
				unknown[i] = fmt.Errorf("an unknown recipient: %v", err)
				return
			}
		}
	})
	for _, err := range unknown {
		if err != nil {
			t.Error(err)
		}
	}
}

// together runs do for 0 to n-1 at the same time.
func together(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// messageLimit is the default limit of a message.
const messageLimit = 50 << 20

// What a mail program puts into a folder ("Sent", say) has the limit of what it
// can send: one octet more is refused, and the session goes on. By hand, because
// the answer comes before the message, which the library takes for the end.
func TestAppendHasTheMessageLimit(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	d := s.line(t, "imaps")
	d.expect(t, "", "* OK")
	d.until(t, "a LOGIN "+user+" "+password, func(l string) bool { return strings.HasPrefix(l, "a ") })
	write := func(data []byte) {
		if _, err := d.conn.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	d.expect(t, fmt.Sprintf("b APPEND INBOX {%d}", messageLimit+1), "b NO [LIMIT]")
	// A client that does not wait for the answer (RFC 7888).
	d.expect(t, fmt.Sprintf("c APPEND INBOX {%d+}", messageLimit+1<<20), "c NO [LIMIT]")
	write(append(sized(user, messageLimit+1<<20), "\r\n"...))
	d.expect(t, fmt.Sprintf("d APPEND INBOX {%d}", messageLimit), "+ ")
	write(append(sized(user, messageLimit), "\r\n"...))
	d.expect(t, "", "d OK")
	d.expect(t, "e STATUS INBOX (MESSAGES)", "* STATUS INBOX (MESSAGES 1)")

	// The same on the port of submission, for a client that announces no size.
	conn, err := s.dial(t, "submission")
	if err != nil {
		t.Fatal(err)
	}
	m, err := smtp.NewClientStartTLS(conn, s.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Auth(sasl.NewPlainClient("", user, password)); err != nil {
		t.Fatal(err)
	}
	if err := m.SendMail(user, []string{user}, bytes.NewReader(sized(user, messageLimit+1<<20))); smtpCode(err) != 552 {
		t.Errorf("587 to a message of more than the limit: %v", err)
	}
}

// sized is a message of exactly so many octets, in lines of 80.
func sized(user string, size int) []byte {
	head := strings.TrimSuffix(message(user, user, "sized", ""), "\r\n")
	body := bytes.Repeat([]byte(strings.Repeat("x", 78)+"\r\n"), size/80+1)
	return append(append([]byte(head), body[:size-len(head)-2]...), "\r\n"...)
}
