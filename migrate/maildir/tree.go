package maildir

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// Tree is what a Maildir holds, as far as its listing says.
type Tree struct {
	Root   string // absolute, without links
	Layout Layout
	// Folders are sorted by key, the inbox first. A folder is there even where it
	// holds nothing.
	Folders []Folder
	// Left is what is no mail data and was left out, one line each, for a person.
	Left []string
	// Broken is what Dovecot would not show to its owner, one line each.
	Broken []string

	hidden []Folder // whose name another one has
}

// Folder is a folder of a Tree.
type Folder struct {
	Key string // see Layout.Key
	Dir string // below the root, "" for the inbox
	// Messages are sorted by name, those in new behind those in cur.
	Messages []Message
	Controls []Control // sorted by name
}

// Control is a file that is mail data beside the messages.
type Control struct {
	Name string
	Path string // absolute
	Size int64  // octets
	Time time.Time
}

// maxLeft bounds the lines of Tree.Left and Tree.Broken.
const maxLeft = 20

// ReadTree makes a tree of the entries of a root, which next returns until
// io.EOF.
func ReadTree(root string, layout Layout, next func() (Entry, error)) (*Tree, error) {
	b := builder{Tree: &Tree{Root: root, Layout: layout}, folders: map[string]*Folder{"": {}}}
	for {
		e, err := next()
		if err == io.EOF {
			return b.tree(), nil
		}
		if err != nil {
			return nil, err
		}
		b.add(e)
	}
}

// AddControls takes the control files from a directory of their own (Dovecot's
// mail_control_path), whose entries next returns until io.EOF. Those in the
// Maildir itself are of an earlier time and are dropped.
func (t *Tree) AddControls(root string, next func() (Entry, error)) error {
	apart, err := ReadTree(root, t.Layout, next)
	if err != nil {
		return err
	}
	controls := make(map[string][]Control)
	for _, f := range apart.Folders {
		controls[f.Key] = append(controls[f.Key], f.Controls...)
	}
	// The inbox's are in .INBOX, those of the whole beside it.
	for _, f := range apart.hidden {
		controls[f.Key] = append(controls[f.Key], f.Controls...)
	}
	for i := range t.Folders {
		f := &t.Folders[i]
		f.Controls = slices.DeleteFunc(f.Controls, func(c Control) bool {
			return c.Name != "dovecot-acl" && c.Name != "maildirfolder"
		})
		f.Controls = append(f.Controls, controls[f.Key]...)
		f.sort()
	}
	return nil
}

// builder makes a Tree.
type builder struct {
	*Tree
	folders map[string]*Folder // by directory
	left    int
}

func (b *builder) add(e Entry) {
	parent, name := split(e.Path)
	folder, sub := split(parent)
	switch {
	case isOther(name):
	case e.Type == 'd':
		b.addDir(e.Path, parent, name)
	case (sub == "cur" || sub == "new") && b.Layout.folderDir(folder):
		switch {
		case e.Type != 'f':
			b.leave(e, "not a regular file")
		case name[0] == '.':
			// Half a delivery, or a file that NFS keeps.
		default:
			f := b.folder(folder)
			f.Messages = append(f.Messages, Message{Name: name, New: sub == "new", Size: e.Size, Time: e.Sec})
		}
	case sub == "tmp" && b.Layout.folderDir(folder):
	case b.Layout.folderDir(parent) && isControl(name, parent == ""):
		if e.Type != 'f' {
			b.leave(e, "not a regular file")
			return
		}
		f := b.folder(parent)
		f.Controls = append(f.Controls, Control{Name: name, Path: path.Join(b.Root, e.Path), Size: e.Size, Time: e.ModTime()})
	default:
		b.leave(e, "no mail")
	}
}

// addDir notes a folder. In a Maildir++ its directory is enough.
func (b *builder) addDir(dir, parent, name string) {
	switch {
	case name == "tmp" && b.Layout.folderDir(parent):
	case (name == "cur" || name == "new") && b.Layout.folderDir(parent):
		b.folder(parent)
	case b.Layout == FS && b.Layout.folderDir(dir):
	case b.Layout == PlusPlus && b.Layout.folderDir(dir):
		b.folder(dir)
	default:
		b.leave(Entry{Path: dir + "/"}, "not a folder")
	}
}

func (b *builder) folder(dir string) *Folder {
	f := b.folders[dir]
	if f == nil {
		f = &Folder{Dir: dir, Key: b.Layout.Key(dir)}
		b.folders[dir] = f
	}
	return f
}

func (b *builder) leave(e Entry, why string) {
	b.left++
	if b.left <= maxLeft {
		b.Left = append(b.Left, fmt.Sprintf("%.200q: %s", e.Path, why))
	}
}

// tree sorts everything. Of two folders with one name Dovecot would show one:
// it is the one that comes first, the inbox before a folder of its name.
func (b *builder) tree() *Tree {
	if b.left > maxLeft {
		b.Left = append(b.Left, fmt.Sprintf("and %d more", b.left-maxLeft))
	}
	seen := make(map[string]string)
	dirs := make([]string, 0, len(b.folders))
	for dir := range b.folders {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		f := b.folders[dir]
		if first, found := seen[f.Key]; found {
			if len(f.Messages) > 0 {
				b.broken(fmt.Sprintf("folder %.200q: %d messages under the name of %.200q", dir, len(f.Messages), first))
			}
			b.hidden = append(b.hidden, *f)
			continue
		}
		seen[f.Key] = dir
		f.sort()
		for _, m := range f.Messages {
			if !m.Served() {
				b.broken(fmt.Sprintf("%.200q: a name with a line's end", path.Join(dir, m.Name)))
			}
		}
		b.Folders = append(b.Folders, *f)
	}
	slices.SortFunc(b.Folders, func(a, b Folder) int { return cmp.Compare(a.Key, b.Key) })
	return b.Tree
}

func (b *builder) broken(line string) {
	if len(b.Broken) < maxLeft {
		b.Broken = append(b.Broken, line)
	}
}

func (f *Folder) sort() {
	slices.SortFunc(f.Messages, func(a, b Message) int {
		if a.New != b.New {
			if b.New {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	slices.SortFunc(f.Controls, func(a, b Control) int { return strings.Compare(a.Name, b.Name) })
}

// split is path.Split without the slash.
func split(p string) (dir, name string) {
	slash := strings.LastIndexByte(p, '/')
	if slash < 0 {
		return "", p
	}
	return p[:slash], p[slash+1:]
}

// Path is where a message of the folder is, below the root of its tree.
func (f *Folder) Path(root string, m Message) string {
	sub := "cur"
	if m.New {
		sub = "new"
	}
	return path.Join(root, f.Dir, sub, m.Name)
}
