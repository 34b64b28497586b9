package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailstack/e2e/oldhost"
)

// Programs from Debian's packages that know nothing of us.

// tool runs such a program, which has to be installed.
func tool(t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := program(ctx, []byte(stdin), name, args...)
	if r.code == -1 && strings.Contains(r.stderr, "executable file not found") {
		t.Fatalf("%s is not installed: scripts/prepare test", name)
	}
	return r
}

// mustTool is tool for what has to succeed.
func mustTool(t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	r := tool(t, stdin, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), r)
	}
	return r
}

// hosted runs a program that finds the stack's hostname in /etc/hosts, without
// changing this machine's.
func (s *Stack) hosted(t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+s.hostname()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `mount --bind "$1" /etc/hosts && shift && exec "$@"`
	return mustTool(t, stdin, "unshare", append([]string{"-m", "sh", "-c", script, "sh", hosts, name}, args...)...)
}

func TestCurl(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	ca := s.caFile(t)
	curl := func(t *testing.T, key, scheme, path string, args ...string) result {
		t.Helper()
		url := fmt.Sprintf("%s://%s:%d/%s", scheme, s.hostname(), s.port(key), path)
		return tool(t, "", "curl", append([]string{
			"-sS", "--cacert", ca, "--resolve", fmt.Sprintf("%s:%d:127.0.0.1", s.hostname(), s.port(key)), url,
		}, args...)...)
	}
	login := user + ":" + password
	letter := filepath.Join(t.TempDir(), "letter")
	if err := os.WriteFile(letter, []byte(message(user, user, "from curl", "By curl.")), 0o600); err != nil {
		t.Fatal(err)
	}
	send := []string{"-u", login, "--mail-from", user, "--mail-rcpt", user, "-T", letter}
	if r := curl(t, "submissions", "smtps", "", send...); r.code != 0 {
		t.Fatalf("send by smtps: %v", r)
	}
	if r := curl(t, "submission", "smtp", "", append(send, "--ssl-reqd")...); r.code != 0 {
		t.Fatalf("send by smtp and STARTTLS: %v", r)
	}
	waitUntil(t, 30*time.Second, "two letters", func() (bool, string) {
		n := s.count(t, user, password, "from curl")
		return n == 2, fmt.Sprint(n)
	})
	for _, read := range []struct {
		key, scheme, path string
		args              []string
	}{
		{"imaps", "imaps", "INBOX;MAILINDEX=1", nil},
		{"imap", "imap", "INBOX;MAILINDEX=1", []string{"--ssl-reqd"}},
		{"pop3s", "pop3s", "1", nil},
		{"pop3", "pop3", "1", []string{"--ssl-reqd"}},
	} {
		r := curl(t, read.key, read.scheme, read.path, append(read.args, "-u", login)...)
		if r.code != 0 || !strings.Contains(r.stdout, "By curl.") {
			t.Errorf("read by %s: %v", read.key, r)
		}
	}
	const denied = 67 // CURLE_LOGIN_DENIED
	if r := curl(t, "imaps", "imaps", "INBOX;MAILINDEX=1", "-u", user+":wrong"); r.code != denied {
		t.Errorf("read with a wrong password: %v", r)
	}
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	ca := s.caFile(t)
	mustTool(t, "", "swaks", "--server", s.addr("submission"), "--tls", "--tls-verify", "--tls-ca-path", ca, "--tls-sni", s.hostname(),
		"--auth", "PLAIN", "--auth-user", user, "--auth-password", password,
		"--from", user, "--to", user, "--header", "Subject: swaks on 587")
	s.waitMail(t, user, password, "INBOX", "swaks on 587")
	mustTool(t, "", "swaks", "--server", s.addr("smtp"), "--tls", "--tls-verify", "--tls-ca-path", ca, "--tls-sni", s.hostname(),
		"--helo", "elsewhere.example", "--from", "somebody@elsewhere.example", "--to", user, "--header", "Subject: swaks on 25")
	s.waitMail(t, user, password, "INBOX", "swaks on 25")
	r := tool(t, "", "swaks", "--server", s.addr("smtp"), "--from", "somebody@elsewhere.example", "--to", "other@faraway.example")
	if r.code == 0 {
		t.Errorf("swaks relayed: %v", r)
	}
}

// TestOpenSSL: every port's handshake is one that openssl trusts, with the names
// of the certificate checked, and none goes below TLS 1.2.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	s := shared(t)
	ca := s.caFile(t)
	starttls := map[string]string{
		"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3", "managesieve": "sieve",
	}
	for _, key := range listeners {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			args := []string{
				"s_client", "-connect", s.addr(key), "-servername", s.hostname(),
				"-CAfile", ca, "-verify_hostname", s.hostname(), "-verify_return_error", "-brief",
			}
			if protocol := starttls[key]; protocol != "" {
				args = append(args, "-starttls", protocol)
			}
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				r := mustTool(t, "", "openssl", append(args, version)...)
				if !strings.Contains(r.stdout+r.stderr, "Verification: OK") {
					t.Errorf("%s: %v", version, r)
				}
			}
			// The client itself has to be ready for TLS 1.1.
			r := tool(t, "", "openssl", append(args, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")...)
			if r.code == 0 || !strings.Contains(r.stderr, "alert") {
				t.Errorf("TLS 1.1 is not refused: %v", r)
			}
		})
	}
}

func TestMbsync(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	for range 3 {
		s.deliver(t, "somebody@elsewhere.example", user)
	}
	subject := s.deliver(t, "somebody@elsewhere.example", user)
	s.waitMail(t, user, password, "INBOX", subject)
	c := newMbsync(t, user, password)
	c.write(t, s.hostname(), s.port("imaps"), s.caFile(t))
	s.hosted(t, "", "mbsync", "-c", c.file, "-a")
	store := c.store
	waitUntil(t, 10*time.Second, "four messages and the special-use folders", func() (bool, string) {
		letters, _ := filepath.Glob(store + "INBOX/*/*:*")
		fresh, _ := filepath.Glob(store + "INBOX/new/*")
		_, err := os.Stat(store + "Sent/cur")
		return len(letters)+len(fresh) >= 4 && err == nil, fmt.Sprint(len(letters), len(fresh), err)
	})
}

// mbsync is a mail program that keeps mailboxes in a directory of its own, with
// what it knows of the server.
type mbsync struct {
	user, password string
	file           string // its configuration
	store          string // ends in /
}

func newMbsync(t *testing.T, user, password string) mbsync {
	t.Helper()
	dir := t.TempDir()
	c := mbsync{user, password, filepath.Join(dir, "mbsyncrc"), filepath.Join(dir, "mail") + "/"}
	if err := os.Mkdir(c.store, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// write says which server it is to use.
func (c mbsync) write(t *testing.T, host string, port int, ca string) {
	t.Helper()
	config := fmt.Sprintf(`IMAPAccount stack
Host %s
Port %d
User %s
Pass %s
SSLType IMAPS
CertificateFile %s
SystemCertificates no

IMAPStore far
Account stack

MaildirStore near
Path %s
Inbox %sINBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Near
SyncState *
`, host, port, c.user, c.password, ca, c.store, c.store)
	if err := os.WriteFile(c.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSieveConnect(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user, password := s.account(t)
	script := filepath.Join(t.TempDir(), "sorted.sieve")
	filing := `require ["fileinto", "mailbox"];
if header :contains "subject" "subject" { fileinto :create "Sorted/Letters"; }
`
	if err := os.WriteFile(script, []byte(filing), 0o600); err != nil {
		t.Fatal(err)
	}
	connect := func(args ...string) {
		t.Helper()
		mustTool(t, password+"\n", "sieve-connect", append([]string{
			"--server", "127.0.0.1", "--4", "--port", fmt.Sprint(s.port("managesieve")), "--tlshostname", s.hostname(),
			"--tlscafile", s.caFile(t), "--user", user, "--passwordfd", "0", "--authmech", "PLAIN",
		}, args...)...)
	}
	connect("--localsieve", script, "--remotesieve", "sorted", "--upload")
	connect("--remotesieve", "sorted", "--activate")
	subject := s.deliver(t, "somebody@elsewhere.example", user)
	s.waitMail(t, user, password, "Sorted/Letters", subject)
}

// TestPOP3CountsOctets: a mailbox of exactly 488 messages and 15,003,687 octets,
// put into the mail store as a copy of another server's would be, is what POP3
// answers. Octets are counted with CRLF (RFC 1939, section 11); the files have LF.
func TestPOP3CountsOctets(t *testing.T) {
	t.Parallel()
	const messages, octets = 488, 15003687
	s := shared(t)
	user, password := s.account(t)
	local, domain, _ := strings.Cut(user, "@")
	dir := filepath.Join(s.data(), "vmail", "data", domain, local)
	for _, sub := range []string{"", "Maildir", "Maildir/cur", "Maildir/new", "Maildir/tmp"} {
		vmail(t, filepath.Join(dir, sub), nil)
	}
	left := octets
	for i := range messages {
		size := left / (messages - i) // the last one takes what is left
		left -= size
		vmail(t, filepath.Join(dir, "Maildir/cur", fmt.Sprintf("17000%05d.M1P1.elsewhere:2,S", i)), oldhost.Sized(i, int64(size)))
	}
	d := s.line(t, "pop3s")
	d.expect(t, "", "+OK")
	d.expect(t, "USER "+user, "+OK")
	if answer := d.say(t, "PASS "+password); answer != "+OK Logged in." {
		t.Errorf("answer to PASS: %q", answer)
	}
	want := fmt.Sprintf("+OK %d %d", messages, octets)
	if answer := d.say(t, "STAT"); answer != want {
		t.Errorf("answer to STAT: %q, want %q", answer, want)
	}
	d.expect(t, "QUIT", "+OK")
}

// vmail makes a file, or a directory where data is nil, as Dovecot would.
func vmail(t *testing.T, path string, data []byte) {
	t.Helper()
	const uid = 5302
	var err error
	if data == nil {
		err = os.MkdirAll(path, 0o700)
	} else {
		err = os.WriteFile(path, data, 0o600)
	}
	if err == nil {
		err = os.Chown(path, uid, uid)
	}
	if err != nil {
		t.Fatal(err)
	}
}
