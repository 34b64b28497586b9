package imapcopy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// folder is a mailbox that can hold messages, at one of the ends.
type folder struct {
	name       string // as that server has it
	path       string // its parts joined by "/", without the namespace's prefix
	subscribed bool
}

// folders lists what a user has of his own. Virtual folders, which show messages
// of others (Gmail's "All Mail"), are named in left.
func (s *session) folders() (all []folder, left []string, err error) {
	prefix, delim := "", rune(0)
	if s.Caps().Has(imap.CapNamespace) {
		data, err := s.Namespace().Wait()
		if err != nil {
			return nil, nil, fmt.Errorf("ask for namespaces: %w", err)
		}
		if len(data.Personal) > 0 {
			prefix, delim = data.Personal[0].Prefix, data.Personal[0].Delim
		}
	}
	subscribed, known, err := s.subscriptions()
	if err != nil {
		return nil, nil, err
	}
	if !known {
		left = append(left, "subscriptions: the old server does not tell them (no LIST-EXTENDED)")
	}
	list, err := s.List("", "*", nil).Collect()
	if err != nil {
		return nil, nil, fmt.Errorf("list folders: %w", err)
	}
	for _, data := range list {
		switch {
		case slices.Contains(data.Attrs, imap.MailboxAttrNoSelect), slices.Contains(data.Attrs, imap.MailboxAttrNonExistent):
			continue
		case slices.Contains(data.Attrs, imap.MailboxAttrAll), slices.Contains(data.Attrs, imap.MailboxAttrFlagged):
			left = append(left, fmt.Sprintf("folder %q: it shows messages of other folders and holds none", data.Mailbox))
			continue
		}
		if data.Delim != 0 {
			delim = data.Delim
		}
		all = append(all, folder{data.Mailbox, plainPath(data.Mailbox, prefix, delim), subscribed[data.Mailbox]})
	}
	slices.SortFunc(all, func(a, b folder) int { return strings.Compare(a.path, b.path) })
	return all, left, nil
}

// plainPath is a folder's name with "/" between its parts. A slash that is part
// of a name becomes "_": it could not be told from one between two.
func plainPath(name, prefix string, delim rune) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	name = strings.TrimPrefix(name, prefix)
	if delim == 0 || delim == '/' {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "/", "_"), string(delim), "/")
}

// subscriptions are the names that are subscribed to; known is false where the
// server cannot be asked.
func (s *session) subscriptions() (names map[string]bool, known bool, err error) {
	if !s.Caps().Has(imap.CapListExtended) && !s.Caps().Has(imap.CapIMAP4rev2) {
		return nil, false, nil
	}
	list, err := s.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	if err != nil {
		return nil, false, fmt.Errorf("list subscriptions: %w", err)
	}
	names = map[string]bool{}
	for _, data := range list {
		names[data.Mailbox] = true
	}
	return names, true, nil
}

// mail is a message in a folder.
type mail struct {
	uid   imap.UID
	size  int64
	date  int64 // internal date, seconds since 1970
	flags []imap.Flag
	key   key
}

// key is what a message keeps on its way: its date of arrival and its own
// header. Servers may count octets differently, so the size is no part of it.
type key struct {
	date   int64
	header [sha256.Size]byte
}

// keyFields tell messages apart. Where Message-ID is missing, the others are
// what a person would tell them apart by.
var keyFields = []string{"Message-ID", "Date", "From", "To", "Subject"}

// maxMessages bounds what is listed of a folder: some 100 octets each are kept.
const maxMessages = 5_000_000

// messages lists a folder.
func (s *session) messages(f folder) ([]mail, error) {
	selected, err := s.Select(f.name, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, fmt.Errorf("open folder %q: %w", f.path, err)
	}
	if selected.NumMessages == 0 {
		return nil, nil
	}
	every := imap.UIDSet{imap.UIDRange{Start: 1}}
	if selected.NumMessages > maxMessages {
		return nil, fmt.Errorf("folder %q: the server says that it has %d messages, which is not believed", f.path, selected.NumMessages)
	}
	var list []mail
	fetch := s.Fetch(every, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, RFC822Size: true,
		BodySection: []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, HeaderFields: keyFields, Peek: true}},
	})
	for data := s.next(fetch); data != nil; data = s.next(fetch) {
		buffer, err := data.Collect()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("list messages of folder %q: %w", f.path, err), fetch.Close())
		}
		m := mail{uid: buffer.UID, size: buffer.RFC822Size, date: buffer.InternalDate.Unix(), flags: kept(buffer.Flags)}
		var header []byte
		for _, section := range buffer.BodySection {
			header = section.Bytes
		}
		m.key = key{m.date, sha256.Sum256(normalHeader(header))}
		if m.uid != 0 {
			list = append(list, m)
		}
		if len(list) > maxMessages {
			return nil, errors.Join(fmt.Errorf("folder %q: more than %d messages are listed", f.path, maxMessages), fetch.Close())
		}
	}
	if err := fetch.Close(); err != nil {
		return nil, fmt.Errorf("list messages of folder %q: %w", f.path, err)
	}
	slices.SortFunc(list, func(a, b mail) int { return int(int64(a.uid) - int64(b.uid)) })
	return list, nil
}

// normalHeader takes out what servers do differently: the order of the fields,
// the case of their names, the white space between lines.
func normalHeader(header []byte) []byte {
	header = bytes.ReplaceAll(header, []byte("\r\n"), []byte("\n"))
	header = bytes.ReplaceAll(header, []byte("\n "), []byte(" "))
	header = bytes.ReplaceAll(header, []byte("\n\t"), []byte(" "))
	var lines [][]byte
	for line := range bytes.SplitSeq(header, []byte("\n")) {
		name, value, found := bytes.Cut(line, []byte(":"))
		if found {
			lines = append(lines, append(append(bytes.ToLower(name), ':'), bytes.Join(bytes.Fields(value), []byte(" "))...))
		}
	}
	slices.SortFunc(lines, bytes.Compare)
	return bytes.Join(lines, []byte("\n"))
}

// kept are the flags of a message that a client can set, sorted. \Recent is the
// server's own.
func kept(flags []imap.Flag) []imap.Flag {
	var list []imap.Flag
	for _, f := range flags {
		if !strings.EqualFold(string(f), `\Recent`) {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b imap.Flag) int {
		return strings.Compare(strings.ToLower(string(a)), strings.ToLower(string(b)))
	})
	return list
}

func sameFlags(a, b []imap.Flag) bool {
	return slices.EqualFunc(a, b, func(x, y imap.Flag) bool { return strings.EqualFold(string(x), string(y)) })
}
