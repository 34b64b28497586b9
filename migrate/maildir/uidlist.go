package maildir

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// UIDList is a folder's dovecot-uidlist, or a courierimapuiddb, which is its
// version 1 (the format is described at the top of Dovecot's maildir-uidlist.c).
type UIDList struct {
	Validity uint32 // UIDVALIDITY
	Next     uint32 // the UID that the next message gets
	// UIDs are by the messages' base names. They may name messages that are
	// gone.
	UIDs map[string]uint32
	// Virtual are sizes with CRLF, by base name, where the file's name states
	// none.
	Virtual map[string]int64
}

// ParseUIDList reads a uidlist as Dovecot does, which drops one that is broken
// and gives all messages new UIDs: that is an error here. A last line without an
// end, which may still be being written, is left out. One of more messages than a
// mailbox may have files is an error too: short lines take thirty times the memory
// that they are long.
func ParseUIDList(data []byte) (UIDList, error) { return parseUIDList(data, maxEntries) }

func parseUIDList(data []byte, most int) (UIDList, error) {
	l := UIDList{UIDs: make(map[string]uint32), Virtual: make(map[string]int64)}
	header, rest, found := cutLine(data)
	if !found {
		return l, fmt.Errorf("parse uidlist: no header")
	}
	version, err := l.header(header)
	if err != nil {
		return l, fmt.Errorf("parse uidlist: header %.100q: %w", header, err)
	}
	last := uint32(0)
	for number := 2; ; number++ {
		var line string
		if line, rest, found = cutLine(rest); !found {
			break
		}
		uid, err := l.entry(line, version)
		if err == nil && uid <= last {
			err = fmt.Errorf("UID %d after %d", uid, last)
		}
		if err == nil && version == 1 && uid >= l.Next {
			err = fmt.Errorf("UID %d, and the next is %d", uid, l.Next)
		}
		if err != nil {
			return l, fmt.Errorf("parse uidlist: line %d, %.100q: %w", number, line, err)
		}
		if last = uid; number-1 > most {
			return l, fmt.Errorf("parse uidlist: more than %d messages", most)
		}
	}
	l.Next = max(l.Next, last+1)
	return l, nil
}

func cutLine(data []byte) (line string, rest []byte, found bool) {
	before, after, found := bytes.Cut(data, []byte{'\n'})
	return string(before), after, found
}

// header reads the first line.
func (l *UIDList) header(line string) (version int, err error) {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "1":
		version = 1
		if _, err := fmt.Sscanf(rest, "%d %d", &l.Validity, &l.Next); err != nil {
			return 0, fmt.Errorf("two numbers are wanted")
		}
	case "3":
		version = 3
		for field := range strings.FieldsSeq(rest) {
			var target *uint32
			switch field[0] {
			case 'V':
				target = &l.Validity
			case 'N':
				target = &l.Next
			default:
				continue
			}
			n, err := strconv.ParseUint(field[1:], 10, 32)
			if err != nil {
				return 0, fmt.Errorf("%q is no number", field)
			}
			*target = uint32(n)
		}
	default:
		return 0, fmt.Errorf("unknown version")
	}
	if l.Validity == 0 || l.Next == 0 {
		return 0, fmt.Errorf("UIDVALIDITY %d, next UID %d", l.Validity, l.Next)
	}
	return version, nil
}

// entry reads a line "UID [<key><value> …] :<file name>", in version 1 "UID
// <file name>".
func (l *UIDList) entry(line string, version int) (uint32, error) {
	number, rest, found := strings.Cut(line, " ")
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !found || uid == 0 || uid == 1<<32-1 {
		return 0, fmt.Errorf("no UID")
	}
	name, virtual := strings.TrimLeft(rest, " "), int64(-1)
	if version == 3 {
		for name != "" && name[0] != ':' {
			var field string
			field, name, _ = strings.Cut(name, " ")
			if n, err := strconv.ParseUint(field[1:], 10, 62); field[0] == 'W' && err == nil {
				virtual = int64(n)
			}
			name = strings.TrimLeft(name, " ")
		}
		name = strings.TrimPrefix(name, ":")
	}
	if name == "" || strings.Contains(name, "/") {
		return 0, fmt.Errorf("no file name")
	}
	base := Message{Name: name}.Base()
	l.UIDs[base] = uint32(uid)
	if virtual >= 0 {
		l.Virtual[base] = virtual
	}
	return uint32(uid), nil
}
