package oldhost

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// vmail is uid and gid of all mail on the old hosts.
const vmail = 5000

// keywords of all mailboxes, by the letters of their files' names from 'a'. A
// Maildir has room for 26.
var keywords = []string{"$Forwarded", "$MDNSent", "NonJunk", "project-x"}

// maildir writes one account's mail as a server would have left it.
type maildir struct {
	t       T
	root    string // on this machine
	control string // where dovecot-keywords goes; root unless it is kept apart
	layout  Layout
	address string
	random  *rand.Rand
	number  int // of the next message
	folders []Folder
}

// newMaildir has a source of chance of its own, so that what one account holds
// does not depend on the others.
func newMaildir(t T, root, control string, opts Options, address string) *maildir {
	t.Helper()
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(address))
	return &maildir{
		t: t, root: root, control: control, layout: opts.Layout, address: address,
		random: rand.New(rand.NewPCG(opts.Spool.Seed, hash.Sum64())),
	}
}

// fill puts there what the spool says of an account's role.
func (m *maildir) fill(role string, spool Spool) []Folder {
	m.folder("INBOX")
	switch {
	case role == exact && spool.Exact:
		m.exact()
	case role == many && spool.Many > 0:
		m.some("INBOX", spool.Messages/2)
		m.many(spool.Many)
	case role == rich && spool.Messages > 0:
		m.ordinary(spool.Messages)
		m.rich(spool)
	case spool.Messages > 0:
		m.ordinary(spool.Messages)
	}
	return m.folders
}

func (m *maildir) ordinary(messages int) {
	m.some("INBOX", messages/2)
	m.unread("INBOX", 2)
	m.some("Sent", messages/4)
	m.some("Trash", messages/8)
	m.some("Entwürfe", 1)
	m.some("Lists/golang-nuts", messages/8)
	m.subscribe("INBOX", "Sent", "Trash", "Entwürfe", "Lists/golang-nuts")
}

// rich is all that is seldom and yet lawful.
func (m *maildir) rich(spool Spool) {
	for _, name := range []string{
		"Archive/2019/Q1", "Archive/2019/Q2", "Archive/2020", // no Archive: it is \NonExistent
		"日本語/受信", "R&D", "Büro/Räume & Türen", "tilde~ (and) parens", "percent %d * star", "UPPER", "upper",
		"Émile", strings.Repeat("long ", 30) + "end",
	} {
		m.some(name, 2)
		m.subscribe(name)
	}
	m.folder("Empty")
	m.subscribe("Gone") // there is no such folder any more
	odd := [][]byte{
		{}, // a disk was full
		[]byte("From: <odd@elsewhere.example>\nSubject: no newline at the end\n\nno newline at the end"),
		[]byte("From: <odd@elsewhere.example>\r\nSubject: CRLF on the disk\r\n\r\nline one\r\nline two\r\n"),
		[]byte("From: <odd@elsewhere.example>\nSubject: header only\n"),
		[]byte("From odd@elsewhere.example Mon Mar  4 10:00:00 2019\nFrom: <odd@elsewhere.example>\nSubject: from an mbox\n\n>From here on\n"),
		[]byte("no header at all\n"),
		[]byte("\n\nbody only\n"),
	}
	for _, message := range odd {
		m.message("INBOX", "cur", message, "S")
	}
	if spool.HugeBytes > 0 {
		m.message("INBOX", "cur", Sized(m.number, spool.HugeBytes), "FS")
	}
	m.uidlist("INBOX", 1551693600, 1000, 7, 5000)
	m.uidlist("Archive/2020", 1234567890, 17, 25, 100)
	// What other servers and a crash left behind.
	for name, data := range map[string]string{
		"courierimapsubscribed": "INBOX.Sent\n", "courierimapuiddb": "1 1551693600 3\n", "courierimapkeywords/:list": "",
		"tmp/1551693600.M1P1.old": "half a mess", "maildirsize.old": "",
	} {
		m.file(filepath.Join(m.root, name), []byte(data), m.date(0))
	}
}

// exactly 488 messages with 15,003,687 octets, all in the inbox.
func (m *maildir) exact() {
	const messages, octets = 488, 15003687
	left := int64(octets)
	for i := range messages {
		size := left / int64(messages-i)
		if rest := messages - i; rest > 1 {
			size += int64(m.random.IntN(2001)) - 1000
		}
		left -= size
		m.message("INBOX", "cur", Sized(i, size), "S")
	}
}

// many small messages in one folder.
func (m *maildir) many(messages int) {
	const name = "Archive/2019"
	for i := range messages {
		text := fmt.Appendf(nil, "From: <cron@elsewhere.example>\nTo: <%s>\nSubject: job %d\nMessage-ID: <%d.job@elsewhere.example>\n\n%s\n",
			m.address, i, i, strings.Repeat(".", m.random.IntN(200)))
		m.message(name, "cur", text, []string{"S", "", "RS", "Sa"}[i%4])
	}
	m.subscribe("INBOX", name)
}

// some puts letters with various flags into a folder.
func (m *maildir) some(folder string, messages int) {
	flags := []string{"S", "", "RS", "FS", "S", "PS", "ST", "D", "Sa", "FRSbc", "Sd"}
	m.folder(folder)
	for range messages {
		m.message(folder, "cur", letter(m.random, m.number, m.address, m.date(m.number)), flags[m.random.IntN(len(flags))])
	}
}

// unread letters lie in new, as they were delivered.
func (m *maildir) unread(folder string, messages int) {
	for range messages {
		m.message(folder, "new", letter(m.random, m.number, m.address, m.date(m.number)), "")
	}
}

// date of the n-th message, which is its file's time: IMAP's INTERNALDATE.
func (m *maildir) date(n int) time.Time {
	return time.Date(2019, 3, 4, 10, 0, 0, 0, time.UTC).Add(time.Duration(n) * 97 * time.Minute)
}

// message is named as one of the servers did that once ran here: Dovecot writes
// both sizes, Courier one, others none.
func (m *maildir) message(folder, sub string, data []byte, flags string) {
	f := m.folder(folder)
	date := m.date(m.number)
	name := fmt.Sprintf("%d.M%06dP%d.old", date.Unix(), m.number, 1000+m.number%7)
	octets := virtualSize(data)
	switch m.number % 4 {
	case 0, 1:
		name += fmt.Sprintf(",S=%d,W=%d", len(data), octets)
	case 2:
		name += fmt.Sprintf(",S=%d", len(data))
	}
	if sub == "cur" {
		name += ":2," + flags
	}
	m.file(filepath.Join(m.path(folder), sub, name), data, date)
	m.number++
	f.Messages++
	f.Octets += octets
	if !strings.Contains(flags, "S") {
		f.Unseen++
	}
}

// folder finds a folder or makes it.
func (m *maildir) folder(name string) *Folder {
	if i := slices.IndexFunc(m.folders, func(f Folder) bool { return f.Name == name }); i >= 0 {
		return &m.folders[i]
	}
	dir := m.path(name)
	for _, sub := range []string{"cur", "new", "tmp"} {
		m.dir(filepath.Join(dir, sub))
	}
	if name != "INBOX" && !m.layout.FS {
		m.file(filepath.Join(dir, "maildirfolder"), nil, m.date(0))
	}
	var list strings.Builder
	for i, keyword := range keywords {
		fmt.Fprintf(&list, "%d %s\n", i, keyword)
	}
	m.file(filepath.Join(m.controlled(name), "dovecot-keywords"), []byte(list.String()), m.date(0))
	m.folders = append(m.folders, Folder{Name: name})
	return &m.folders[len(m.folders)-1]
}

// uidlist gives a folder's messages UIDs with gaps, as after years of deleting,
// and POP3 clients the names that another server once gave the messages: a
// dovecot-uidlist of version 3, whose P is the UIDL.
func (m *maildir) uidlist(folder string, validity, first, step, next int) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.path(folder), "cur"))
	m.must(err)
	var list strings.Builder
	fmt.Fprintf(&list, "3 V%d N%d G%016x%016x\n", validity, next, m.random.Uint64(), m.random.Uint64())
	for i, e := range entries {
		base, _, _ := strings.Cut(e.Name(), ":")
		fmt.Fprintf(&list, "%d PUID%d-1234567890 :%s\n", first+i*step, i+1, base)
	}
	m.file(filepath.Join(m.controlled(folder), "dovecot-uidlist"), []byte(list.String()), m.date(0))
}

// subscribe notes it; the old Dovecot is told when it runs.
func (m *maildir) subscribe(names ...string) {
	for _, name := range names {
		if i := slices.IndexFunc(m.folders, func(f Folder) bool { return f.Name == name }); i >= 0 {
			m.folders[i].Subscribed = true
		} else {
			m.folders = append(m.folders, Folder{Name: name, Subscribed: true, missing: true})
		}
	}
}

func (m *maildir) path(folder string) string { return filepath.Join(m.root, m.relative(folder)) }

// controlled is where a folder's control files are. Kept apart, those of the
// inbox are not at the top, where subscriptions are.
func (m *maildir) controlled(folder string) string {
	switch {
	case folder != "INBOX" || !m.layout.Apart:
		return filepath.Join(m.control, m.relative(folder))
	case m.layout.FS:
		return filepath.Join(m.control, "INBOX")
	}
	return filepath.Join(m.control, ".INBOX")
}

// relative is a folder's directory below the Maildir.
func (m *maildir) relative(folder string) string {
	if folder == "INBOX" {
		return ""
	}
	if m.layout.FS {
		return modifiedUTF7(folder)
	}
	return "." + modifiedUTF7(strings.ReplaceAll(folder, "/", "."))
}

func (m *maildir) dir(path string) {
	m.t.Helper()
	if _, err := os.Lstat(path); err == nil {
		return
	}
	if parent := filepath.Dir(path); parent != path {
		m.dir(parent)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Lchown(path, vmail, vmail); err != nil {
		m.t.Fatal(err)
	}
}

func (m *maildir) file(path string, data []byte, date time.Time) {
	m.t.Helper()
	m.dir(filepath.Dir(path))
	err := os.WriteFile(path, data, 0o600)
	if err == nil {
		err = os.Lchown(path, vmail, vmail)
	}
	if err == nil {
		err = os.Chtimes(path, date, date)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// modifiedUTF7 is how IMAP and Dovecot's directories spell names: RFC 3501,
// section 5.1.3.
func modifiedUTF7(name string) string {
	var b strings.Builder
	var wide []rune
	flush := func() {
		if len(wide) == 0 {
			return
		}
		var bytes []byte
		for _, unit := range utf16.Encode(wide) {
			bytes = append(bytes, byte(unit>>8), byte(unit))
		}
		b.WriteString("&" + strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(bytes), "/", ",") + "-")
		wide = nil
	}
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			wide = append(wide, c)
			continue
		}
		flush()
		if c == '&' {
			b.WriteString("&-")
		} else {
			b.WriteRune(c)
		}
	}
	flush()
	return b.String()
}
