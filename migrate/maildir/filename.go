package maildir

import (
	"slices"
	"strconv"
	"strings"
)

// Message is a message's file in cur or new.
type Message struct {
	Name string // of the file, with flags
	New  bool   // in new: no program has seen it yet
	Size int64  // of the file, in octets
	// Time is the file's modification time in seconds since 1970. Dovecot gives
	// it out as the internal date.
	Time int64
}

// Base is what a message keeps its whole life: its file's name up to the first
// colon (maildir_filename_base_cmp in Dovecot's maildir-filename.c).
func (m Message) Base() string {
	base, _, _ := strings.Cut(m.Name, ":")
	return base
}

// letters is what stands behind ":2," of the last colon, up to a comma.
func (m Message) letters() string {
	colon := strings.LastIndexByte(m.Name, ':')
	if colon < 0 {
		return ""
	}
	info, found := strings.CutPrefix(m.Name[colon+1:], "2,")
	if !found {
		return ""
	}
	info, _, _ = strings.Cut(info, ",")
	return info
}

// Flags are the system flags by their letters, sorted: D(raft), F(lagged),
// P(assed), R(eplied), S(een), T(rashed).
func (m Message) Flags() string {
	return m.pick(func(c byte) bool { return strings.IndexByte("DFPRST", c) >= 0 })
}

// keywordLetters are the letters a to z, which the folder's dovecot-keywords
// gives a meaning.
func (m Message) keywordLetters() string {
	return m.pick(func(c byte) bool { return c >= 'a' && c <= 'z' })
}

func (m Message) pick(want func(byte) bool) string {
	var picked []byte
	for _, c := range []byte(m.letters()) {
		if want(c) {
			picked = append(picked, c)
		}
	}
	slices.Sort(picked)
	return string(slices.Compact(picked))
}

// StatedSize is the size that the name states as ,S=N: of the message as it was
// delivered, which is not the file's where the file is compressed.
func (m Message) StatedSize() (octets int64, stated bool) { return m.stated("S") }

// VirtualSize is the size that the name states as ,W=N: with every line ended by
// CRLF, as IMAP and POP3 count.
func (m Message) VirtualSize() (octets int64, stated bool) { return m.stated("W") }

func (m Message) stated(key string) (int64, bool) {
	_, rest, found := strings.Cut(m.Base(), ","+key+"=")
	if !found {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, ",")
	octets, err := strconv.ParseUint(rest, 10, 62)
	return int64(octets), err == nil
}

// Served says whether Dovecot takes the file for a message. It skips hidden
// names, and a line's end in a name is none it could write to its uidlist
// (maildir_uidlist_sync_next in maildir-uidlist.c).
func (m Message) Served() bool {
	return m.Name != "" && m.Name[0] != '.' && !strings.ContainsAny(m.Name, "\r\n")
}
