package oldhost

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostile is what somebody leaves in his mailbox who had a shell on the old
// server and hopes that root copies it to the next one: nothing in it may be
// followed, run, waited for or made there. None of it is in an Account.Folders.
//
// Words that a shell would act on make files named oldhost-owned, in whatever
// directory it is that they were run.
func (m *maildir) hostile(home string) {
	date := m.date(0)
	letter := []byte("From: <mallory@example.net>\nSubject: look here\n\nnothing\n")

	// Ways out of the Maildir: a message, a folder, a folder's cur, a file that
	// the server itself writes, one of the next owner of the address.
	m.link("/etc/passwd", "cur/1551693600.M900001P1.old:2,S")
	m.link("/etc/shadow", "new/1551693600.M900002P1.old")
	m.link("../../../alice/cur", "cur/1551693600.M900003P1.old:2,")
	m.link("/etc", ".Etc")
	m.dir(filepath.Join(m.root, ".Out/new"))
	m.dir(filepath.Join(m.root, ".Out/tmp"))
	m.link("/root", ".Out/cur")
	m.link("/etc/passwd", ".Out/dovecot-uidlist")
	m.link(".", ".Loop")
	m.link("/var/vmail", "tmp/all")

	// What blocks whoever opens it, and what root could make of numbers.
	m.special("tmp/fifo", unix.S_IFIFO|0o666, 0)
	m.special("cur/1551693600.M900004P1.old,S=10,W=10:2,S", unix.S_IFIFO|0o666, 0)
	m.special(".Sent/cur/1551693600.M900005P1.old,S=10,W=10:2,", unix.S_IFSOCK|0o666, 0)
	m.special("new/1551693600.M900022P1.old,S=10,W=10", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))
	m.special(".Sent/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0)))

	// Names. One letter each, so that they are counted.
	for _, name := range []string{
		"1551693600.M900006P1.$(touch oldhost-owned):2,S",
		"1551693600.M900007P1.`touch oldhost-owned`:2,S",
		"1551693600.M900008P1.;touch oldhost-owned;:2,S",
		"1551693600.M900009P1.'\"\\ two  words:2,S",
		"1551693600.M900010P1.tab\there:2,S",
		"1551693600.M900011P1.line\nfeed:2,S",
		"1551693600.M900012P1.\x1b[31mred\x07:2,S",
		"1551693600.M900013P1.\xff\xfe:2,S",
		"-e touch oldhost-owned",
		"--delete",
		"1551693600.M900014P1." + strings.Repeat("x", 220) + ":2,S",
		"1551693600.M900015P1.old,S=99999999999,W=-5:2,S",
		"1551693600.M900016P1.old:2,SSSSzzzz%2F..",
		"1551693600.M900021P1.old,S=10,W=10:2,S",
	} {
		m.file(filepath.Join(m.root, "cur", name), letter, date)
	}
	for _, folder := range []string{
		".$(touch oldhost-owned)", ".line\nfeed", ".tab\tstop", ".'quote\"d", ".-rf", ".&&&-", ".\xff\xfe", ".a..b", ".trailing.",
		".\x1b[2J", "." + strings.Repeat("y", 250),
	} {
		m.file(filepath.Join(m.root, folder, "cur/1551693600.M900017P1.old:2,S"), letter, date)
	}

	// Rights that must not travel: setuid, another's file, a hard link to one.
	m.file(filepath.Join(m.root, "cur/1551693600.M900018P1.old:2,S"), letter, date)
	m.must(unix.Chmod(filepath.Join(m.root, "cur/1551693600.M900018P1.old:2,S"), 0o6755)) // os.Chmod would drop the bits
	m.file(filepath.Join(m.root, "cur/1551693600.M900019P1.old:2,S"), letter, date)
	m.must(os.Lchown(filepath.Join(m.root, "cur/1551693600.M900019P1.old:2,S"), 0, 0))
	m.must(os.Link(filepath.Join(m.root, "cur/1551693600.M900019P1.old:2,S"), filepath.Join(m.root, "cur/1551693600.M900020P1.old:2,S")))

	// Files that the next server would obey.
	m.must(os.RemoveAll(filepath.Join(home, ".dovecot.sieve")))
	m.must(os.Symlink("/etc/passwd", filepath.Join(home, ".dovecot.sieve")))
	m.file(filepath.Join(home, ".ssh/authorized_keys"), []byte("ssh-ed25519 AAAA mallory\n"), date)
	m.file(filepath.Join(m.root, "subscriptions"), []byte("V\t2\n\nSent\n../../alice\nline\x01nfeed\n$(touch oldhost-owned)\n"), date)
	m.file(filepath.Join(m.root, "dovecot-acl"), []byte("anyone lrwstipekxa\n"), date)
}

func (m *maildir) link(target, name string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	m.dir(filepath.Dir(path))
	m.must(os.Symlink(target, path))
	m.must(os.Lchown(path, vmail, vmail))
}

// special makes a file that is none: mode holds its type.
func (m *maildir) special(name string, mode uint32, device int) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	m.dir(filepath.Dir(path))
	m.must(unix.Mknod(path, mode, device))
	m.must(os.Lchown(path, vmail, vmail))
}

func (m *maildir) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}
