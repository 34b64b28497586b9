package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tooManyParts is put off again and again: Rspamd 3.12 takes more memory for it than its
// container has, and starts again.
const tooManyParts = "200,000 parts"

// bombs are messages that are small to send and large to read.
func bombs() []struct{ name, text string } {
	x := strings.Repeat
	multipart := func(boundary string) string {
		return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n"
	}
	var nested, mails strings.Builder
	nested.WriteString(multipart("b0") + "\r\n")
	for i := range 10000 {
		fmt.Fprintf(&nested, "--b%d\r\nContent-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\n", i, i+1)
	}
	for range 10000 {
		mails.WriteString("Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n")
	}
	return []struct{ name, text string }{
		{"multipart 10,000 deep", nested.String()},
		{"messages 10,000 deep", "MIME-Version: 1.0\r\n" + mails.String() + "\r\nx\r\n"},
		{tooManyParts, multipart("b") + "\r\n" + x("--b\r\n\r\nx\r\n", 200000) + "--b--\r\n"},
		{"100,000 parts with headers", multipart("b") + "\r\n" + x("--b\r\nContent-Type: text/plain; name=x\r\n\r\n", 100000) + "--b--\r\n"},
		{"boundaries of 100 KB", multipart(x("b", 100<<10)) + "\r\n" + x("--"+x("b", 100<<10)+"\r\n\r\n", 50)},
		{"boundaries that begin alike", multipart(x("b", 70)) + "\r\n" + x("--"+x("b", 69)+"\r\n", 200000)},
		{"one header of 5 MB", "X-Long: " + x("x ", 5*mega/2) + "\r\n\r\nx\r\n"},
		{"200,000 headers", x("X-Many: x\r\n", 200000) + "\r\nx\r\n"},
		{"100,000 references", "References:" + x(" <a@b.example>\r\n", 100000) + "\r\nx\r\n"},
		{"100,000 addresses", "To: " + x("\"a b\" <a@b.example>,\r\n ", 100000) + "c@d.example\r\n\r\nx\r\n"},
		{"groups in groups", "To: " + x("a:", 100000) + x(";", 100000) + "\r\n\r\nx\r\n"},
		{"comments in comments", "To: " + x("(", 100000) + x(")", 100000) + "a@b.example\r\n\r\nx\r\n"},
		{"encoded words", "To: " + x("=?utf-8?B?QUFBQQ==?=\r\n ", 100000) + "<a@b.example>\r\n\r\nx\r\n"},
		{"parameters in pieces", "MIME-Version: 1.0\r\nContent-Type: text/plain" + x(";\r\n name*0*=x", 100000) + "\r\n\r\nx\r\n"},
		{"base64 without an end", "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + x("QUFB", 5*mega/4) + "\r\n"},
		{"an unknown character set", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=" + x("x", 10000) + "\r\n\r\n" + x("\x1b$B\xff", 200000) + "\r\n"},
	}
}

// bombTime is how long one command about one such message may take.
const bombTime = 20 * time.Second

// TestAttackMIME: messages made to be expensive are delivered or refused, and
// reading them in every way that IMAP has costs bounded time and memory. Postfix cuts
// or refuses some of them; who is signed in puts each into his mailbox as it is.
func TestAttackMIME(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	ann, annPassword := s.account(t)
	began := time.Now()
	for _, b := range bombs() {
		for way, put := range map[string]func(letter string) error{
			"by mail":   func(letter string) error { return s.inbound(t, stranger, []string{user}, letter) },
			"by APPEND": func(letter string) error { return s.put(t, user, password, letter) },
		} {
			t.Run(b.name+" "+way, func(t *testing.T) {
				subject := "bomb " + randomHex(6)
				letter := "From: <" + stranger + ">\r\nSubject: " + subject + "\r\n" + b.text
				if err := put(letter); smtpCode(err)/100 == 5 || smtpCode(err)/100 == 4 && b.name == tooManyParts {
					t.Logf("refused: %v", err)
					s.ready(t, "filter")
					return
				} else if err != nil {
					t.Fatalf("neither taken nor refused: %v", err)
				}
				mailbox, _ := s.waitFiled(t, user, password, subject)
				s.readInEveryWay(t, user, password, mailbox)
				// Somebody else is served as ever.
				if err := s.visit(t, ann, annPassword); err != nil {
					t.Error(err)
				}
			})
		}
	}
	s.expectNoCrash(t, began, crash)
	s.expectMemory(t, "dovecot")
}

// put is what a mail program does that keeps a message of its own in INBOX.
func (s *Stack) put(t *testing.T, user, password, letter string) error {
	t.Helper()
	add := s.imap(t, user, password).Append("INBOX", int64(len(letter)), nil)
	_, err := add.Write([]byte(letter))
	if err := errors.Join(err, add.Close()); err != nil {
		return err
	}
	_, err = add.Wait()
	return err
}

// threads may end the session that asks. For each entry of References that is there
// twice, Dovecot 2.4.1 copies all that is behind it, and a process has a limit of
// memory (vsz_limit). The next session is like any other.
const threads = "THREAD REFERENCES UTF-8 ALL"

// readInEveryWay reads the one message of an account and removes it.
func (s *Stack) readInEveryWay(t *testing.T, user, password, mailbox string) {
	t.Helper()
	tagged := func(l string) bool { return strings.HasPrefix(l, "a ") }
	session := func() *dialogue {
		d := s.line(t, "imaps")
		d.say(t, "")
		d.until(t, "a LOGIN "+user+" "+password, tagged)
		d.until(t, "a SELECT "+mailbox, tagged)
		return d
	}
	d := session()
	for _, command := range []string{
		"FETCH 1 (ENVELOPE BODYSTRUCTURE)", "FETCH 1 (BODY RFC822.SIZE)", "FETCH 1 BODY.PEEK[1.1.1.1]", "FETCH 1 BODY.PEEK[HEADER.FIELDS (TO REFERENCES)]",
		"SEARCH BODY nowhere", "SEARCH TEXT nowhere", "SEARCH HEADER X-Many nowhere", "SEARCH TO nowhere",
		"SORT (SUBJECT FROM TO SIZE) UTF-8 ALL", "FETCH 1 (PREVIEW)", threads,
		"STORE 1 +FLAGS.SILENT (\\Deleted)", "EXPUNGE",
	} {
		began := time.Now()
		answer, err := d.try("a " + command)
		for err == nil && !tagged(answer) {
			answer, err = d.try("")
		}
		if err != nil && command == threads {
			t.Logf("%s: %v", command, err)
			d = session()
			continue
		}
		if !strings.HasPrefix(answer, "a OK") && !strings.HasPrefix(answer, "a NO") {
			t.Errorf("%s is answered %q", command, short(answer))
		}
		if took := time.Since(began); took > bombTime {
			t.Errorf("%s takes %v", command, took)
		}
	}
}

// expectMemory: the kernel has never had to refuse the container a page. Its
// counter is the one of version 1 or 2 of control groups.
func (s *Stack) expectMemory(t *testing.T, service string) {
	t.Helper()
	events := 0
	for _, at := range []struct{ file, key string }{
		{filepath.Join("/sys/fs/cgroup/memory/docker", inspect(t, s.container(service)).ID, "memory.oom_control"), "oom_kill "},
		{filepath.Join("/sys/fs/cgroup/system.slice/docker-"+inspect(t, s.container(service)).ID+".scope", "memory.events"), "oom_kill "},
	} {
		data, err := os.ReadFile(at.file)
		if err != nil {
			continue
		}
		events++
		for line := range strings.Lines(string(data)) {
			if value, ok := strings.CutPrefix(line, at.key); ok {
				if n, err := strconv.Atoi(strings.TrimSpace(value)); err != nil || n > 0 {
					t.Errorf("%s has had processes ended for their memory: %s", service, data)
				}
			}
		}
	}
	if events == 0 {
		t.Errorf("no control group of %s is known", service)
	}
}
