package maildir

import (
	"fmt"
	"path"
	"strings"
	"unicode"
)

// Layout is how folders lie below the root of a Maildir.
type Layout string

// The layouts there are (Dovecot's LAYOUT or mailbox_list_layout).
const (
	PlusPlus Layout = "maildir++" // .Folder.Sub
	FS       Layout = "fs"        // Folder/Sub
)

// escape is Dovecot's mailbox_list_storage_escape_char on this side, followed
// by two hexadecimal digits.
const escape = '\\'

// Key returns the folder's name that both sides are compared by: the name of its
// directory in a Maildir++, "" for the inbox. dir is its path below the root.
func (l Layout) Key(dir string) string {
	if dir == "" {
		return ""
	}
	if l == FS {
		return l.levelsKey(strings.Split(dir, "/"))
	}
	return l.levelsKey(strings.Split(strings.TrimPrefix(dir, "."), "."))
}

// levelsKey is the key of a folder whose name is in levels as the layout writes
// them. "INBOX" alone is the inbox.
func (l Layout) levelsKey(levels []string) string {
	if len(levels) == 1 && levels[0] == "INBOX" {
		return ""
	}
	var out strings.Builder
	for i, level := range levels {
		out.WriteByte('.')
		out.WriteString(asciiLevel(l.escapeLevel(level, i == 0)))
	}
	return out.String()
}

// escapeLevel is one level of a name as Dovecot writes it into a Maildir++
// (mailbox_list_escape_name_params_to_str in mailbox-list.c). What looks escaped
// in a Maildir++ is taken for that.
func (l Layout) escapeLevel(level string, first bool) string {
	var out strings.Builder
	for i := range len(level) {
		c := level[i]
		var n byte
		escaped := l == PlusPlus && i+2 < len(level) && hex(level[i+1], &n) && hex(level[i+2], &n)
		if c == '.' || c == '/' || c == escape && !escaped || first && i == 0 && c == '~' {
			fmt.Fprintf(&out, "%c%02x", escape, c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// asciiLevel turns what cannot be modified UTF-7 into it: the old server kept
// names in UTF-8 (mailbox_list_utf8), this one does not.
func asciiLevel(level string) string {
	for _, c := range []byte(level) {
		if c >= 0x80 {
			return EncodeUTF7(level)
		}
	}
	return level
}

// FolderName is a key as the user sees it: in Unicode, levels separated by '/',
// "INBOX" for the inbox. What is not modified UTF-7 stays as it is.
func FolderName(key string) string {
	if key == "" {
		return "INBOX"
	}
	levels := strings.Split(strings.TrimPrefix(key, "."), ".")
	for i, level := range levels {
		level = unescape(level)
		if text, err := DecodeUTF7(level); err == nil {
			level = text
		}
		levels[i] = level
	}
	return strings.Join(levels, "/")
}

// speakable says whether a client can say the name of a folder and means this one
// by it.
func speakable(key string) bool {
	if key == "" {
		return true
	}
	name := FolderName(key)
	if strings.Contains("/"+name+"/", "//") || strings.ContainsFunc(name, unicode.IsControl) || strings.EqualFold(name, "INBOX") {
		return false
	}
	return len(name) <= maxFolderName && FS.levelsKey(strings.Split(EncodeUTF7(name), "/")) == key
}

// maxFolderName is what Dovecot takes (MAILBOX_LIST_NAME_MAX_LENGTH is 4096 and
// its levels 255), less what stands before it in a directory.
const maxFolderName = 200

// unescape undoes escapeLevel (mailbox_list_unescape_name_params).
func unescape(level string) string {
	var out strings.Builder
	for i := 0; i < len(level); i++ {
		var c byte
		if level[i] == escape && i+2 < len(level) && hex(level[i+1], &c) && hex(level[i+2], &c) {
			out.WriteByte(c)
			i += 2
		} else {
			out.WriteByte(level[i])
		}
	}
	return out.String()
}

// hex shifts a hexadecimal digit into n.
func hex(digit byte, n *byte) bool {
	switch {
	case digit >= '0' && digit <= '9':
		*n = *n<<4 | (digit - '0')
	case digit|0x20 >= 'a' && digit|0x20 <= 'f':
		*n = *n<<4 | (digit | 0x20 - 'a' + 10)
	default:
		return false
	}
	return true
}

// folderDir says whether a directory below the root is one that holds a folder
// or leads to one.
func (l Layout) folderDir(dir string) bool {
	if l == FS {
		for level := range strings.SplitSeq(dir, "/") {
			if level == "cur" || level == "new" || level == "tmp" {
				return false
			}
		}
		return true
	}
	// "..DOVECOT-TRASHED" is a folder on its way out (maildir_delete_trash_dir).
	return dir == "" || dir[0] == '.' && path.Base(dir) == dir && !strings.HasPrefix(dir, "..")
}

// Reaches says whether something of a mailbox may be in a directory below its root,
// and in all above that.
func (l Layout) Reaches(dir string) bool {
	for dir != "" {
		if !l.Enters(dir) {
			return false
		}
		dir, _ = split(dir)
	}
	return true
}

// Enters says whether something of a mailbox may be in a directory below its
// root. List looks into these only.
func (l Layout) Enters(dir string) bool {
	name := path.Base(dir)
	return l == FS || name[0] == '.' || name == "cur" || name == "new"
}
