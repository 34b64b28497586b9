package e2e

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestAttackMailboxNames: a mailbox is a directory in its owner's Maildir,
// whatever its name.
func TestAttackMailboxNames(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	user, victim := "eve@"+domain, "victim@"+domain
	password, victimPassword := s.accountNamed(t, user), s.accountNamed(t, victim)
	secret := s.deliver(t, stranger, victim)
	s.waitMail(t, victim, victimPassword, "INBOX", secret)
	tagged := func(l string) bool { return strings.HasPrefix(l, "a ") }
	// A session that makes too many mistakes is ended.
	session := func() *dialogue {
		d := s.line(t, "imaps")
		d.say(t, "")
		d.until(t, "a LOGIN "+user+" "+password, tagged)
		d.until(t, "a SELECT INBOX", tagged)
		d.until(t, "a CREATE Spare", tagged)
		return d
	}
	session()
	outside := s.outsideMaildir(t, domain)
	for _, n := range []struct{ name, value string }{
		{"up", "../x"},
		{"up and up", "../../x"},
		{"the victim's", "../../victim/Maildir"},
		{"the victim's INBOX", "../../victim/Maildir/INBOX"},
		{"absolute", "/etc/passwd"},
		{"the victim's, absolute", "/var/vmail/" + domain + "/victim/Maildir"},
		{"home", "~/x"},
		{"another's home", "~root/x"},
		{"up behind a name", "a/../../b"},
		{"up behind INBOX", "INBOX/../../x"},
		{"dot", "."},
		{"dots", ".."},
		{"dot between", "a/./b"},
		{"nothing between", "a//b"},
		{"slash behind", "a/"},
		{"dots in Maildir++", ".../x"},
		{"up in UTF-7", "&AC4ALg-/x"},
		{"slash in UTF-7", "..&AC8-x"},
		{"NUL in UTF-7", "a&AAA-b"},
		{"not UTF-7", "&&&-"},
		{"escaped", `\2e\2e/x`},
		{"escaped slash", `..\2fx`},
		{"cur", "cur"},
		{"tmp", "tmp/x"},
		{"index", "dovecot.index.log"},
		{"NUL", "a\x00b"},
		{"new line", "a\r\nb"},
		{"long", strings.Repeat("x", 5000)},
		{"deep", strings.Repeat("x/", 500) + "x"},
		{"SQL", "x' OR '1'='1"},
		{"variable", "%{home}/%u"},
		{"command", "$(id)`id`|id"},
		{"another's by name", "#user/victim"},
		{"shared", "shared/victim"},
		{"empty", ""},
	} {
		t.Run(n.name, func(t *testing.T) {
			d := session()
			for _, command := range []string{"CREATE %s", "SELECT %s", "STATUS %s (MESSAGES)", "SUBSCRIBE %s", "RENAME Spare %s", "RENAME %s Spare", "COPY 1 %s", "GETACL %s", "LIST \"\" %s", "LIST %s *", "UNSUBSCRIBE %s", "DELETE %s"} {
				line := fmt.Sprintf("a "+command, fmt.Sprintf("{%d+}\r\n%s", len(n.value), n.value))
				answer := d.until(t, line, tagged)
				if strings.HasPrefix(command, "SELECT") && strings.Contains(strings.Join(answer, "\n"), "* 1 EXISTS") {
					t.Errorf("%s shows mail: %q", n.value, answer)
				}
			}
			if now := s.outsideMaildir(t, domain); now != outside {
				t.Errorf("what is outside of the Maildir has changed from\n%s\nto\n%s", outside, now)
			}
		})
	}
	s.waitMail(t, victim, victimPassword, "INBOX", secret)
}

// outsideMaildir lists what the accounts of a domain have beside their Maildirs.
func (s *Stack) outsideMaildir(t *testing.T, domain string) string {
	t.Helper()
	root := filepath.Join(s.data(), "vmail", "data", domain)
	var all []string
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		all = append(all, strings.TrimPrefix(path, root))
		if d.IsDir() && d.Name() == "Maildir" {
			return fs.SkipDir
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// sieveEnded says whether a line is the last of an answer (RFC 5804, section 1.3).
func sieveEnded(l string) bool { return strings.HasPrefix(l, "OK") || strings.HasPrefix(l, "NO") }

// TestAttackScriptNames: a Sieve script is a file in its owner's directory.
func TestAttackScriptNames(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	user, victim := "eve@"+domain, "victim@"+domain
	password := s.accountNamed(t, user)
	victimPassword := s.accountNamed(t, victim)
	s.sieve(t, victim, victimPassword, "# secret-of-the-victim\r\nkeep;")
	s.sieve(t, user, password, "keep;")
	d, err := s.sieveLogin(t, user, password)
	if err != nil {
		t.Fatal(err)
	}
	// Scripts are in sieve, and a link says which of them is active.
	outside := func() string {
		var other []string
		for path := range strings.Lines(s.outsideMaildir(t, domain)) {
			if name, ok := strings.CutPrefix(path, "/eve/sieve/"); ok && !strings.Contains(name, "/") || strings.HasPrefix(path, "/eve/.dovecot.") {
				continue
			}
			other = append(other, path)
		}
		return strings.Join(other, "")
	}
	before := outside()
	for _, n := range []struct{ name, value, want string }{
		{"up", "../x", "NO"},
		{"the victim's", "../../victim/sieve/test", "NO"},
		{"absolute", "/etc/passwd", "NO"},
		{"home", "~/x", "NO"},
		{"slash", "a/b", "NO"},
		{"new line", "a\r\nb", "NO"},
		{"long", strings.Repeat("x", 5000), "NO"},
		{"not UTF-8", "\xff\xfe", "NO"},
		{"variable", "/%{home}", "NO"},
		{"control", "a\x01\x7f", "NO"},
		{"dots", "..", ""},
		{"dot", ".", ""},
		{"empty", "", ""},
		{"NUL", "a\x00b", ""},
	} {
		t.Run(n.name, func(t *testing.T) {
			name := fmt.Sprintf("{%d+}\r\n%s", len(n.value), n.value)
			for _, command := range []string{"PUTSCRIPT %s \"keep;\"", "GETSCRIPT %s", "SETACTIVE %s", "RENAMESCRIPT \"test\" %s", "DELETESCRIPT %s", "HAVESPACE %s 10"} {
				answer := d.until(t, fmt.Sprintf(command, name), sieveEnded)
				if strings.Contains(strings.Join(answer, "\n"), "secret-of-the-victim") {
					t.Errorf("%s shows another's script: %q", command, answer)
				}
				if !strings.HasPrefix(last(answer), n.want) {
					t.Errorf(command+" is answered %q", n.value, answer)
				}
			}
			if now := outside(); now != before {
				t.Errorf("what is outside of the scripts has changed from\n%s\nto\n%s", before, now)
			}
		})
	}
}

// TestAttackScripts: a Sieve script reaches nothing but its owner's mailboxes, and
// runs nothing.
func TestAttackScripts(t *testing.T) {
	t.Parallel()
	s := shared(t)
	domain := s.domain(t)
	user, victim := "eve@"+domain, "victim@"+domain
	password := s.accountNamed(t, user)
	victimPassword := s.accountNamed(t, victim)
	s.sieve(t, victim, victimPassword, "keep;")
	for name, script := range map[string]string{
		"fileinto up":         `require ["fileinto", "mailbox"]; fileinto :create "../../victim/Maildir"; keep;`,
		"fileinto absolute":   `require ["fileinto", "mailbox"]; fileinto :create "/var/vmail/` + domain + `/victim/Maildir"; keep;`,
		"include the victim":  `require ["include"]; include :personal "../../victim/sieve/test"; keep;`,
		"include of a file":   `require ["include"]; include :global "/etc/passwd"; keep;`,
		"pipe to a program":   `require ["vnd.dovecot.pipe"]; pipe "id"; keep;`,
		"execute a program":   `require ["vnd.dovecot.execute"]; execute "id"; keep;`,
		"read the settings":   `require ["vnd.dovecot.environment", "variables"]; keep;`,
		"redirect to options": `redirect "-oQ/tmp@example.com"; keep;`,
	} {
		t.Run(name, func(t *testing.T) {
			d, err := s.sieveLogin(t, user, password)
			if err != nil {
				t.Fatal(err)
			}
			if answer := last(d.until(t, fmt.Sprintf("PUTSCRIPT \"evil\" {%d+}\r\n%s", len(script), script), sieveEnded)); strings.HasPrefix(answer, "NO") {
				return
			}
			d.expect(t, `SETACTIVE "evil"`, "OK")
			subject := s.deliver(t, stranger, user)
			s.waitMail(t, user, password, "INBOX", subject)
			if n := s.count(t, victim, victimPassword, subject); n != 0 {
				t.Errorf("%d messages in another's mailbox", n)
			}
		})
	}
}
