package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// malformed is what a client says in a protocol.
type malformed struct {
	name  string
	turns []string // what is said before, each awaiting its answer
	say   string   // then this, all at once
	never string   // the beginning of a line that must not be answered
}

// TestAttackMalformed: whatever a client sends, no process dies of it, no more is
// kept of it than a server can bear, and the next client is served.
func TestAttackMalformed(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	began := time.Now()
	for listener, list := range map[string][]malformed{
		"smtp": malformedSMTP(user), "submissions": malformedLogin(), "imaps": malformedIMAP(user, password), "pop3s": malformedPOP3(user, password),
	} {
		t.Run(listener, func(t *testing.T) {
			s.caPEM(t)
			for _, m := range list {
				t.Run(m.name, func(t *testing.T) {
					t.Parallel()
					said := s.sayAll(t, listener, m.turns, m.say)
					if m.never != "" && strings.Contains("\n"+said, "\n"+m.never) {
						t.Errorf("is answered %q", short(said))
					}
					t.Logf("is answered %q", short(said))
				})
			}
		})
	}
	t.Run("10,000 recipients", func(t *testing.T) { s.testManyRecipients(t, user) })
	s.expectNoCrash(t, began, crash)
	// Other tests have messages of theirs that cost their readers' sessions.
	s.expectNoCrash(t, began, regexp.MustCompile(`.*(`+regexp.QuoteMeta(user)+`|-login|auth|lmtp|smtpd).*`+memory.String()))
	s.waitMail(t, user, password, "INBOX", s.deliver(t, stranger, user))
	s.expectLogins(t, user, password, true)
}

// recipientsEach is how many recipients a message may have: the server has to take
// 100 (RFC 5321, section 4.5.3.1.8).
const recipientsEach = 1000

// testManyRecipients: the first ones are taken, the others are for another time,
// and a server that goes on is cut off.
func (s *Stack) testManyRecipients(t *testing.T, user string) {
	local, host, _ := strings.Cut(user, "@")
	var all strings.Builder
	all.WriteString("MAIL FROM:<" + stranger + ">\r\n")
	for i := range 10 * recipientsEach {
		fmt.Fprintf(&all, "RCPT TO:<%s+%d@%s>\r\n", local, i, host)
	}
	said := s.sayAll(t, "smtp", []string{"EHLO client.example"}, all.String())
	taken, later := strings.Count(said, "250 2.1.5"), strings.Count(said, "452 4.5.3")
	if taken != recipientsEach || later == 0 || later > 2*recipientsEach {
		t.Errorf("of %d recipients %d are taken and %d are told to come later: %s", 10*recipientsEach, taken, later, short(said))
	}
}

const mega = 1 << 20

func malformedSMTP(user string) []malformed {
	x := strings.Repeat
	hello := []string{"EHLO client.example"}
	recipient := append(hello, "MAIL FROM:<"+stranger+">", "RCPT TO:<"+user+">")
	data := append(recipient[:3:3], "DATA")
	head := "From: <" + stranger + ">\r\nSubject: malformed\r\n"
	end := "\r\n.\r\n"
	const mail, recipients, queued = "250 2.1.0", "250 2.1.5", "250 2.0.0"
	return []malformed{
		{"a name of 1 MB", nil, "EHLO " + x("x", mega) + "\r\n", ""},
		{"a command of 100 KB", hello, "MAIL FROM:<" + x("x", 100<<10) + "@example.com>\r\n", mail},
		{"a command of 10 MB without an end", hello, x("x", 10*mega), "250"},
		{"parameters of 100 KB", hello, "MAIL FROM:<" + stranger + ">" + x(" X=1", 25<<10) + "\r\n", mail},
		{"a size beyond all numbers", hello, "MAIL FROM:<" + stranger + "> SIZE=" + x("9", 40) + "\r\n", mail},
		{"a negative size", hello, "MAIL FROM:<" + stranger + "> SIZE=-1\r\n", mail},
		{"a chunk beyond all numbers", recipient, "BDAT " + x("9", 40) + "\r\nx", queued},
		{"a negative chunk", recipient, "BDAT -1\r\nx", queued},
		{"NUL in a command", hello, "MAIL FROM:<a\x00b@example.com>\r\n", ""},
		{"only NULs", nil, x("\x00", mega), "250"},
		{"bytes above 127", nil, x("\xff\xfe\x80", mega/3) + "\r\n", "250"},
		{"commands with bare LF", nil, "EHLO x\nMAIL FROM:<a@example.com>\nRCPT TO:<" + user + ">\nDATA\n" + head + "\nx\n.\n", queued},
		{"commands with bare CR", nil, "EHLO x\rMAIL FROM:<a@example.com>\rRCPT TO:<" + user + ">\rDATA\r", mail},
		{"NUL in the message", data, head + "X-Nul: a\x00b\r\n\r\na\x00b" + end, ""},
		{"bare LF in the message", data, strings.ReplaceAll(head+"\r\na\r\nb", "\r\n", "\n") + end, ""},
		{"bare CR in the message", data, head + "X-CR: a\rb\r\n\r\na\rb" + end, ""},
		{"a header of 10 MB", data, head + "X-Long: " + x("x", 10*mega) + "\r\n\r\nx" + end, ""},
		{"a header of 100,000 lines", data, head + "X-Long: x\r\n" + x(" x\r\n", 100000) + "\r\nx" + end, ""},
		{"100,000 headers", data, head + x("X-Many: x\r\n", 100000) + "\r\nx" + end, ""},
		{"100,000 recipients in a header", data, head + "To: " + x("a@example.com, ", 100000) + "b@example.com\r\n\r\nx" + end, ""},
		{"a line of 10 MB", data, head + "\r\n" + x("x", 10*mega) + end, ""},
		{"10 MB of empty lines", data, x("\r\n", 5*mega) + end, ""},
		{"no header", data, "x" + end, ""},
		{"no end", data, head + "\r\nx", queued},
		{"10,000 commands", hello, x("NOOP\r\n", 10000), ""},
		{"10,000 unknown commands", hello, x("X\r\n", 10000), ""},
		{"10,000 unknown recipients", hello, "MAIL FROM:<" + stranger + ">\r\n" + x("RCPT TO:<nobody-"+user+">\r\n", 10000), recipients},
	}
}

func malformedLogin() []malformed {
	hello := []string{"EHLO client.example"}
	return []malformed{
		{"a login of 10 MB", hello, "AUTH PLAIN " + strings.Repeat("QUFB", 10*mega/4) + "\r\n", "235"},
		{"a login that is not base64", hello, "AUTH PLAIN ==!!\x00==\r\n", "235"},
		{"a login of NULs", hello, "AUTH PLAIN AAAAAAAAAAAA\r\n", "235"},
	}
}

// malformedIMAP says less after a login than a socket takes at once: a session
// that ends while more is on its way ends the login process that carries it, and
// with it the sessions of others (Dovecot 2.4.1; SECURITY.md says so).
func malformedIMAP(user, password string) []malformed {
	x := strings.Repeat
	login := []string{"a LOGIN " + user + " " + password}
	inbox := append(login, "b SELECT INBOX")
	return []malformed{
		{"a command of 10 MB without an end", nil, "a " + x("x", 10*mega), "a OK"},
		{"a literal of 4 GB before the login", nil, "a LOGIN {4294967295+}\r\n" + x("x", mega), "a OK"},
		{"a literal beyond all numbers", nil, "a LOGIN {" + x("9", 40) + "+}\r\n" + x("x", mega), "a OK"},
		{"a negative literal", nil, "a LOGIN {-1}\r\n" + x("x", mega), "a OK"},
		{"100,000 brackets before the login", nil, "a ID " + x("(", 100000) + "\r\n", "a OK"},
		{"NUL before the login", nil, "a LOGIN \"a\x00\" b\r\na LOGIN {1+}\r\n\x00 {1+}\r\n\x00\r\n", "a OK"},
		{"10,000 unknown commands", nil, x("a X\r\n", 10000), "a OK"},
		{"a search of 30,000 brackets", inbox, "c SEARCH " + x("(", 30000) + "ALL" + x(")", 30000) + "\r\n", "c OK"},
		{"a search of 10,000 NOT", inbox, "c SEARCH " + x("NOT ", 10000) + "ALL\r\nd LOGOUT\r\n", ""},
		{"a search of 10,000 OR", inbox, "c SEARCH " + x("OR ALL ", 7000) + "ALL\r\nd LOGOUT\r\n", ""},
		{"a set of 4,000 ranges", inbox, "c FETCH " + x("1:4294967295,", 4000) + "1 UID\r\nd LOGOUT\r\n", ""},
		{"a set of 6,000 ranges", inbox, "c FETCH " + x("1:4294967295,", 6000) + "1 UID\r\nd LOGOUT\r\n", "c OK"},
		{"9,000 items of a fetch", inbox, "c FETCH 1:* (" + x("BODY[] ", 9000) + ")\r\nd LOGOUT\r\n", ""},
		{"a part of a part, 10,000 deep", inbox, "c FETCH 1:* BODY[" + x("1.", 10000) + "1]\r\nd LOGOUT\r\n", ""},
		{"a partial beyond all numbers", inbox, "c FETCH 1:* BODY[]<" + x("9", 40) + "." + x("9", 40) + ">\r\nd LOGOUT\r\n", "c OK"},
		{"a literal of 2^64 in APPEND", login, "c APPEND INBOX {18446744073709551615+}\r\n" + x("x", 10000), "c OK"},
		{"a catenated literal of 2^64", login, "c APPEND INBOX CATENATE (TEXT {18446744073709551615+}\r\n" + x("x", 10000), "c OK"},
		{"a name of 50 KB", login, "c CREATE {51200+}\r\n" + x("x", 51200) + "\r\nd LOGOUT\r\n", "c OK"},
		{"NUL in a name", login, "c CREATE {3+}\r\na\x00b\r\nd LOGOUT\r\n", ""},
		{"a pattern of 1,000 stars", login, "c LIST \"\" \"" + x("*a", 1000) + "\"\r\nd LOGOUT\r\n", ""},
		{"compressed garbage", append(login, "c COMPRESS DEFLATE"), x("\xff\x00", 10000), ""},
	}
}

func malformedPOP3(user, password string) []malformed {
	x := strings.Repeat
	return []malformed{
		{"a command of 10 MB", nil, "USER " + x("x", 10*mega), "+OK Logged"},
		{"NUL in the name", nil, "USER a\x00b\r\nPASS a\x00b\r\nQUIT\r\n", "+OK Logged"},
		{"10,000 unknown commands", nil, x("X\r\n", 10000), "+OK Logged"},
		{"numbers beyond all numbers", []string{"USER " + user, "PASS " + password}, "TOP " + x("9", 40) + " " + x("9", 40) + "\r\nRETR -1\r\nDELE 0\r\nLIST 4294967296\r\nQUIT\r\n", ""},
	}
}

// sayAll says something to a listener and gives what is answered until the server
// hangs up, which it has to. SMTP is told that nothing more will come, if it still
// waits; of what ends the direction in TLS, Dovecot would not answer the rest.
func (s *Stack) sayAll(t *testing.T, listener string, turns []string, say string) string {
	t.Helper()
	d := s.line(t, listener)
	defer d.conn.Close()
	smtp := listener == "smtp" || listener == "submissions"
	answered := func(l string) bool {
		return strings.HasPrefix(l, "a ") || strings.HasPrefix(l, "b ") || strings.HasPrefix(l, "c ") || l[0] == '+'
	}
	d.say(t, "")
	for _, turn := range turns {
		if smtp {
			d.smtp(t, turn)
		} else {
			d.until(t, turn, answered)
		}
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(d.conn, strings.NewReader(say)) // the server may have heard enough
		half, ok := d.conn.(interface{ CloseWrite() error })
		if ok && err == nil && !strings.Contains(say, "LOGOUT") && !strings.Contains(say, "QUIT") {
			err = half.CloseWrite()
		}
		sent <- err
	}()
	var answer bytes.Buffer
	_, err := io.Copy(&answer, io.LimitReader(d.r, 64*mega))
	d.conn.Close()
	t.Logf("said: %v", <-sent)
	if late, ok := err.(net.Error); ok && late.Timeout() {
		t.Errorf("the server has not hung up: %q", short(answer.String()))
	}
	return answer.String()
}

// short is what a failure quotes of a long text.
func short(text string) string {
	if len(text) <= 300 {
		return text
	}
	return fmt.Sprintf("%s … (%d octets) … %s", text[:150], len(text)-300, text[len(text)-150:])
}

// crash is how the log says that a process has died of what it was given, memory
// that it has reached its limit of memory.
var (
	crash  = regexp.MustCompile(`(?i).*(signal (6|7|8|9|11)\b|panic:).*`)
	memory = regexp.MustCompile(`.*(?i:out of memory|cannot allocate).*`)
)

// expectNoCrash: since then no process of Dovecot or Postfix has died.
func (s *Stack) expectNoCrash(t *testing.T, since time.Time, crash *regexp.Regexp) {
	t.Helper()
	for _, service := range []string{"dovecot", "postfix"} {
		r := tryDocker(t, "logs", "--since", since.UTC().Format(time.RFC3339), s.container(service))
		if found := crash.FindAllString(r.stdout+r.stderr, 5); found != nil {
			t.Errorf("%s has lost processes:\n%s", service, strings.Join(found, "\n"))
		}
	}
}
