package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// The mirror holds what was copied, at the paths that it has on the old server,
// in a directory of the mail volume that no container sees: rsync runs as root,
// and where it writes nobody may be able to put a link. What is in it is then
// linked into the mail store (place.go), which costs no room.
//
// It needs no knowledge of layouts: any file of any mailbox may be copied by any
// rsync.

// tree is a directory whose subdirectories are opened by their paths and stay
// open for a while.
type tree struct {
	root *dir
	open map[string]*dir
}

// maxOpen bounds the directories that a tree keeps open.
const maxOpen = 64

func newTree(root *dir) *tree { return &tree{root, make(map[string]*dir)} }

// at returns the directory at a path. It is the tree's to close.
func (t *tree) at(p string, open func(*dir, string) (*dir, error)) (*dir, error) {
	if d := t.open[p]; d != nil {
		return d, nil
	}
	d, err := open(t.root, p)
	if err != nil {
		return nil, err
	}
	if len(t.open) >= maxOpen {
		t.close()
	}
	t.open[p] = d
	return d, nil
}

// close closes what is open but the root.
func (t *tree) close() {
	for p, d := range t.open {
		d.close()
		delete(t.open, p)
	}
}

// remove removes files, and the directories that get empty by it are left.
func (t *tree) remove(paths []string) error {
	for _, p := range paths {
		parent, name := cutLast(p)
		d, err := t.at(parent, (*dir).descend)
		if err != nil {
			return err
		}
		if err := d.removeAll(name); err != nil {
			return err
		}
	}
	return nil
}

// rename renames files, into directories that are made where they are missing.
func (t *tree) rename(all []renaming, o owner) error {
	for _, r := range all {
		fromDir, from := cutLast(r.from)
		toDir, to := cutLast(r.to)
		d, err := t.root.descend(fromDir)
		if err != nil {
			return err
		}
		e, err := t.at(toDir, func(d *dir, p string) (*dir, error) { return d.create(p, o) })
		if err == nil {
			err = d.rename(from, e, to)
		}
		d.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// makeDirs makes the directories of files.
func (t *tree) makeDirs(files []item, o owner) error {
	made := make(map[string]bool)
	for _, f := range files {
		parent, _ := cutLast(f.path)
		if made[parent] {
			continue
		}
		d, err := t.root.create(parent, o)
		if err != nil {
			return err
		}
		d.close()
		made[parent] = true
	}
	return nil
}

// inMirror is an absolute path of the old server in the mirror.
func inMirror(p string) string { return strings.TrimPrefix(p, "/") }

// wanted is what the mirror has to hold of a mailbox.
func (m *mailbox) wanted() []item {
	var want []item
	for i := range m.there.Folders {
		f := &m.there.Folders[i]
		for _, message := range f.Messages {
			want = append(want, item{
				path: inMirror(f.Path(m.there.Root, message)), size: message.Size, sec: message.Time, message: true,
			})
		}
		for _, c := range f.Controls {
			want = append(want, item{path: inMirror(c.Path), size: c.Size, sec: c.Time.Unix(), nsec: int32(c.Time.Nanosecond())})
		}
	}
	for _, s := range m.sieve.files {
		want = append(want, item{path: inMirror(s.path), size: s.size, sec: s.time.Unix(), nsec: int32(s.time.Nanosecond())})
	}
	return want
}

// mirrored is what the mirror holds of a mailbox. Below its root, directories that
// are no folders of its are left alone: another mailbox may lie there.
func (t *tree) mirrored(m *mailbox, want []item) ([]item, error) {
	root := inMirror(m.there.Root)
	have, err := t.below(root, m.layout().Enters)
	if err != nil {
		return nil, fmt.Errorf("look at what was copied of %s: %w", m.Address, err)
	}
	found := make(map[string]bool, len(have))
	for _, h := range have {
		found[h.path] = true
	}
	for _, w := range want {
		if w.message || found[w.path] {
			continue
		}
		// Control files and scripts may be elsewhere. One that is gone on the old
		// server stays in the mirror, from where nothing takes it.
		if h, err := t.stat(w.path); err == nil {
			have = append(have, h)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return have, nil
}

// below is all files below a directory; none where it is not there.
func (t *tree) below(root string, into func(string) bool) ([]item, error) {
	d, err := t.root.descend(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	all, err := d.walk(into)
	var items []item
	for _, e := range all {
		if e.Type != 'd' {
			items = append(items, item{
				path: strings.TrimPrefix(root+"/"+e.Path, "/"), size: e.Size, sec: e.Sec, nsec: e.Nsec, message: isMessagePath(e.Path),
			})
		}
	}
	return items, err
}

func (t *tree) stat(p string) (item, error) {
	parent, name := cutLast(p)
	d, err := t.at(parent, (*dir).descend)
	if err != nil {
		return item{}, err
	}
	st, err := d.stat(name)
	return item{path: p, size: st.Size, sec: st.Mtim.Sec, nsec: int32(st.Mtim.Nsec)}, err
}

// isMessagePath says whether a path is one of a message.
func isMessagePath(p string) bool {
	dir, name := cutLast(p)
	_, sub := cutLast(dir)
	return (sub == "cur" || sub == "new") && name[0] != '.'
}
