package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"mailstack/migrate/maildir"

	"golang.org/x/sys/unix"
)

// placer puts what was copied where Dovecot looks for it:
// <domain>/<localpart>/Maildir, as a Maildir++ whatever it was. Messages are
// linked, as nobody changes them; other files, which Dovecot appends to, are
// copied. What is there and was not on the old server is removed.
type placer struct {
	mirror *tree
	store  *dir // the mail store
	owner  owner
	id     string // of this migration
	since  time.Time
	homes  *sync.Mutex // held while directories of domains are made
}

// Names in an account's home. The paths are those of images/dovecot/config.
const (
	maildirName  = "Maildir"
	scriptsName  = "sieve"
	activeScript = ".dovecot.sieve"
	// marker says that the mail here is a copy, and of which migration: only
	// such mail is ever removed. It is there until the last pass has been
	// verified.
	marker = ".mailstack-copy"
)

// OccupiedError is mail that no migration has brought.
type OccupiedError struct {
	Address string
	Path    string
}

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("place mail of %s: there is mail in %s that this migration has not brought", e.Address, e.Path)
}

// Hint says what to do.
func (e *OccupiedError) Hint() string {
	return "move " + e.Path + " aside, or leave the account out of the migration"
}

// place puts a mailbox in its place.
func (p *placer) place(m *mailbox) error {
	home, err := p.home(m)
	if err != nil {
		return fmt.Errorf("place mail of %s: %w", m.Address, err)
	}
	defer home.close()
	if err := p.claim(home, m); err != nil {
		return err
	}
	err = p.placeMail(home, m)
	if err == nil {
		err = p.placeScripts(home, m)
	}
	if errors.Is(err, unix.EXDEV) {
		err = fmt.Errorf("%w (the volume's content is on a file system of its own)", err)
	}
	if err != nil {
		return fmt.Errorf("place mail of %s: %w", m.Address, err)
	}
	return nil
}

// home opens the account's home, and makes it if it is not there.
func (p *placer) home(m *mailbox) (*dir, error) {
	p.homes.Lock()
	defer p.homes.Unlock()
	return p.store.follow(m.domain+"/"+m.local, func(d *dir, name string) (*dir, error) {
		sub, err := d.ensure(name, p.owner)
		if err == nil {
			if err = sub.belongs(p.owner); err != nil {
				sub.close()
			}
		}
		return sub, err
	})
}

// claim marks the home as a copy's, and refuses mail that is none.
func (p *placer) claim(home *dir, m *mailbox) error {
	if p.marked(home) {
		return nil
	}
	t := newTree(home)
	defer t.close()
	have, err := t.below(maildirName, everywhere)
	if err != nil {
		return fmt.Errorf("place mail of %s: %w", m.Address, err)
	}
	if slices.ContainsFunc(have, func(i item) bool { return i.message }) {
		return &OccupiedError{m.Address, home.name(maildirName)}
	}
	return home.write(marker, strings.NewReader(p.id+"\n"), p.owner, p.since)
}

func (p *placer) marked(home *dir) bool {
	f, err := home.open(marker)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 100))
	return err == nil && string(text) == p.id+"\n"
}

// placed is what the mail store has to hold of a mailbox: directories and files,
// below the home. Content is that of files that are not copied as they are.
type placed struct {
	dirs    map[string]bool
	items   []item
	content map[string][]byte
}

func (p *placer) placeMail(home *dir, m *mailbox) error {
	want, err := p.wantPlaced(m)
	if err != nil {
		return err
	}
	root, err := home.ensure(maildirName, p.owner)
	if err != nil {
		return err
	}
	defer root.close()
	all, err := root.walk(everywhere)
	if err != nil {
		return err
	}
	var have []item
	for _, e := range all {
		if e.Type != 'd' {
			have = append(have, item{path: e.Path, size: e.Size, sec: e.Sec, nsec: e.Nsec, message: isMessagePath(e.Path)})
		}
	}
	t := newTree(root)
	defer t.close()
	c := compareTrees(want.items, have)
	if err := t.remove(c.removes); err != nil {
		return err
	}
	t.close()
	if err := removeDirs(root, all, want.dirs); err != nil {
		return err
	}
	create := func(d *dir, p2 string) (*dir, error) { return d.create(p2, p.owner) }
	for sub := range want.dirs {
		if _, err := t.at(sub, create); err != nil {
			return err
		}
	}
	if err := t.rename(c.renames, p.owner); err != nil {
		return err
	}
	for _, i := range c.copies {
		parent, name := cutLast(i.path)
		d, err := t.at(parent, create)
		if err == nil {
			err = p.put(d, name, i, want.content[i.path])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeDirs removes directories that are no folder's.
func removeDirs(root *dir, all []maildir.Entry, want map[string]bool) error {
	for _, e := range all {
		if parent, name := cutLast(e.Path); e.Type == 'd' && !want[e.Path] && (parent == "" || want[parent]) {
			d, err := root.descend(parent)
			if err != nil {
				return err
			}
			err = d.removeAll(name)
			d.close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// put makes one file from the mirror. One that is not in the mirror was gone on the
// old server before it could be copied; whoever verifies will miss it.
func (p *placer) put(d *dir, name string, i item, content []byte) error {
	if content != nil {
		return d.write(name, bytes.NewReader(content), p.owner, i.modTime())
	}
	parent, base := cutLast(i.from)
	source, err := p.mirror.at(parent, (*dir).descend)
	if err == nil && i.message {
		if err = d.remove(name); err == nil {
			err = source.link(base, d, name)
		}
	} else if err == nil {
		var f io.ReadCloser
		if f, err = source.open(base); err == nil {
			err = d.write(name, f, p.owner, i.modTime())
			f.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// wantPlaced says where things go.
func (p *placer) wantPlaced(m *mailbox) (placed, error) {
	want := placed{dirs: make(map[string]bool), content: make(map[string][]byte)}
	for i := range m.there.Folders {
		f := &m.there.Folders[i]
		if f.Key != "" {
			want.dirs[f.Key] = true
		}
		for _, sub := range []string{"cur", "new", "tmp"} {
			want.dirs[path.Join(f.Key, sub)] = true
		}
		here := maildir.Folder{Dir: f.Key}
		for _, message := range f.Messages {
			want.items = append(want.items, item{
				path: here.Path("", message), from: inMirror(f.Path(m.there.Root, message)),
				size: message.Size, sec: message.Time, message: true,
			})
		}
		for _, c := range f.Controls {
			target := item{
				path: path.Join(f.Key, c.Name), from: inMirror(c.Path),
				size: c.Size, sec: c.Time.Unix(), nsec: int32(c.Time.Nanosecond()),
			}
			content, err := p.translated(m, c)
			if err != nil {
				return want, err
			}
			if content != nil {
				want.content[target.path] = content
				target.size = int64(len(content))
			}
			want.items = append(want.items, target)
		}
	}
	return want, nil
}

// translated is what a control file has to say here; nil: the same as there.
func (p *placer) translated(m *mailbox, c maildir.Control) ([]byte, error) {
	if c.Name != maildir.SubscriptionsName {
		return nil, nil
	}
	data, err := p.mirror.read(inMirror(c.Path), maildir.MaxControl)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	other := bytes.ContainsFunc(data, func(r rune) bool { return r >= utf8.RuneSelf || r == '~' || r == '\\' })
	if !other && m.layout() == maildir.PlusPlus {
		return nil, nil
	}
	return maildir.FormatSubscriptions(maildir.ParseSubscriptions(data, m.layout())), nil
}

// read reads a file that has at most limit octets.
func (t *tree) read(p string, limit int64) ([]byte, error) {
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
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %s: more than %d octets", d.name(name), limit)
	}
	return data, err
}
