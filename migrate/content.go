package migrate

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"mailstack/migrate/maildir"
)

// maxCounted is how many octets of a mailbox are read to count them, where file
// names do not state their size with CRLF; beyond, it is left unknown.
const maxCounted = 256 << 20

// maxHeads is how many messages of a mailbox are looked at to find out whether
// they are stored compressed.
const maxHeads = 1000

// headSize is how much of a message says how it is stored, in octets.
const headSize = 12

// encodings are how stored messages begin that are not just text: Dovecot's
// mail_compress (zlib) and mail_crypt plugins, src/plugins/mail-crypt and
// src/lib-compression.
var encodings = []struct {
	name string
	head []byte
}{
	{"gzip", []byte{0x1f, 0x8b, 8}},
	{"bzip2", []byte("BZh91AY&SY")},
	{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{"LZ4", []byte("Dovecot-LZ4\r")},
	{"mail_crypt", []byte("CRYPTED\x03\x07")},
}

func encodingOf(head []byte) string {
	for _, e := range encodings {
		if bytes.HasPrefix(head, e.head) {
			return e.name
		}
	}
	return ""
}

// readMessages reads the content of messages here: of those that are compared, of
// those whose size with CRLF nothing states, and the beginning of those that are
// not as large as their names state.
func (l *local) readMessages(t *tree, full bool, sampled map[maildir.ID]bool) error {
	l.Sums, l.Octets = make(map[maildir.ID]maildir.Sum), make(map[maildir.ID]int64)
	r := contentReader{local: l, tree: t, full: full, sampled: sampled, encoded: make(map[string]int)}
	for i := range l.Folders {
		f := &l.Folders[i]
		r.list, _ = maildir.ParseUIDList(l.Control(f, maildir.UIDListName))
		for _, m := range f.Messages {
			if err := r.read(f, m); err != nil {
				return err
			}
		}
	}
	l.falseSizes(r.falsely)
	for name, count := range r.encoded {
		l.differences = append(l.differences, maildir.Difference{
			Kind: maildir.Encoded, Count: count,
			Detail: fmt.Sprintf("messages stored with %s, which this server cannot read, at least %d", name, count),
		})
	}
	return nil
}

// falseSizes notes messages whose names state another size than they have. Dovecot
// believes the name, and breaks off when the owner reads such a message and, where the
// name states no size with CRLF, when anybody asks for the octets of the folder
// (istream-mail.c). It would rename the file, but reads it first, and breaks off again
// (maildir_mail_remove_sizes_from_filename in maildir-mail.c).
func (l *local) falseSizes(names []string) {
	if len(names) == 0 {
		return
	}
	text := strings.Join(names[:min(len(names), maxNamedHere)], ", ")
	if len(names) > maxNamedHere {
		text += ", …"
	}
	l.differences = append(l.differences, maildir.Difference{
		Kind: maildir.FalseSize, Count: len(names),
		Detail: fmt.Sprintf("messages that Dovecot cannot show, at least %d: their file names state another size (,S=) than they have; "+
			"rename them there, without ,S= and ,W=: %s", len(names), text),
	})
}

// maxNamedHere bounds the messages that a difference names.
const maxNamedHere = 3

// contentReader reads messages.
type contentReader struct {
	*local
	tree           *tree
	full           bool
	sampled        map[maildir.ID]bool // has those that are compared
	list           maildir.UIDList     // of the folder
	encoded        map[string]int      // by encoding
	falsely        []string            // paths of messages whose size is not what their names state
	counted, heads int64
}

func (r *contentReader) read(f *maildir.Folder, m maildir.Message) error {
	id := maildir.ID{Key: f.Key, Base: m.Base()}
	p := inMirror(f.Path(r.Root, m))
	_, named := m.VirtualSize()
	_, listed := r.list.Virtual[id.Base]
	size, stated := m.StatedSize()
	unknown := !named && !listed
	if unknown {
		r.counted += m.Size
	}
	_, sampled := r.sampled[id]
	switch _, again := r.Sums[id]; {
	case sampled && !again, unknown && (r.full || r.counted <= maxCounted):
		sum, octets, head, err := sumFile(r.tree, p)
		if err != nil {
			return err
		}
		if !again {
			r.Sums[id], r.Octets[id] = sum, octets
		}
		// One that is as large as it was is as it was.
		if !stated || size != m.Size {
			r.note(p, stated, head)
		}
	case stated && size != m.Size && r.heads < maxHeads:
		r.heads++
		head, err := readHead(r.tree, p)
		if err != nil {
			return err
		}
		r.note(p, stated, head)
	}
	return nil
}

// note notes a message that is not known to be as large as its name states.
func (r *contentReader) note(p string, stated bool, head []byte) {
	if name := encodingOf(head); name != "" {
		r.encoded[name]++
	} else if stated {
		r.falsely = append(r.falsely, fmt.Sprintf("%.200q", strings.TrimPrefix(p, maildirName+"/")))
	}
}

func readHead(t *tree, p string) ([]byte, error) {
	parent, name := cutLast(p)
	d, err := t.at(parent, (*dir).descend)
	if err != nil {
		return nil, err
	}
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, headSize))
}
