package maildir

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// MaxControl is how large a control file may be, in octets: a uidlist has about
// 80 for each message, and a mailbox 5 million messages at most.
const MaxControl = 400 << 20

// Files that are mail data beside the messages. Index caches are not.
const (
	UIDListName       = "dovecot-uidlist"
	keywordsName      = "dovecot-keywords"
	SubscriptionsName = "subscriptions"
	validityName      = "dovecot-uidvalidity" // and with .HEX behind it, in the root only
)

// isControl says whether a file of this name beside cur is mail data. root:
// beside the inbox's.
func isControl(name string, root bool) bool {
	switch name {
	case UIDListName, keywordsName, "dovecot-acl", "maildirfolder":
		return true
	case SubscriptionsName, validityName:
		return root
	}
	return root && strings.HasPrefix(name, validityName+".")
}

// isOther says whether a file is known to be no mail: it can be made again, means
// nothing elsewhere, or is Sieve's.
func isOther(name string) bool {
	switch name {
	case "maildirsize", "dovecot-acl-list", "sieve", ".dovecot.sieve", ".dovecot.lda-dupes", ".dovecot.sieve.log":
		return true
	}
	return strings.HasPrefix(name, "dovecot.index") || strings.HasPrefix(name, "dovecot.list.index") ||
		strings.HasPrefix(name, "dovecot.mailbox.log") || strings.HasSuffix(name, ".lock") ||
		strings.HasPrefix(name, ".nfs") || strings.HasSuffix(name, ".svbin")
}

// ParseKeywords reads a dovecot-keywords file: what the letters a to z in file
// names mean. Lines that Dovecot skips are skipped.
func ParseKeywords(data []byte) map[byte]string {
	keywords := make(map[byte]string)
	known := make(map[string]bool)
	for line := range strings.Lines(string(data)) {
		number, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseUint(number, 10, 8)
		if fold := strings.ToLower(name); err == nil && n < 26 && name != "" && !known[fold] {
			known[fold] = true
			keywords['a'+byte(n)] = name
		}
	}
	return keywords
}

// header2 begins a subscriptions file of version 2 (subscription-file.c), whose
// lines separate levels by tabs instead of the layout's separator.
const header2 = "V\t2\n\n"

// ParseSubscriptions reads a subscriptions file of a layout and returns the keys
// of the folders, sorted.
func ParseSubscriptions(data []byte, layout Layout) []string {
	data, version2 := bytes.CutPrefix(data, []byte(header2))
	separator := "."
	if layout == FS {
		separator = "/"
	}
	var keys []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		levels := strings.Split(line, separator)
		if version2 {
			levels = strings.Split(line, "\t")
			for i, level := range levels {
				levels[i] = untab.Replace(level)
			}
		}
		keys = append(keys, layout.levelsKey(levels))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// FormatSubscriptions writes a subscriptions file of version 2 for a Maildir++.
func FormatSubscriptions(keys []string) []byte {
	out := []byte(header2)
	for _, key := range keys {
		levels := []string{"INBOX"}
		if key != "" {
			levels = strings.Split(strings.TrimPrefix(key, "."), ".")
		}
		for i, level := range levels {
			if i > 0 {
				out = append(out, '\t')
			}
			out = append(out, entab.Replace(level)...)
		}
		out = append(out, '\n')
	}
	return out
}

// Dovecot's escapes for tab-separated text (strescape.c).
var (
	untab = strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")
	entab = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
)
