package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Whoever owns a mailbox on the old server may put a link in the place of a
// directory, after it was listed, and have root read /etc there as his folder.
// Neither rsync(1), tar(1) nor sha256sum(1) can be told to open each part of a path
// without following it. So directories are looked at before and after: whoever has
// put something in the place of an entry has changed the directory that it is in,
// and the time of that change (st_ctime, inode(7)) is none that he can set.
//
// What was copied out of a directory that stayed as it was is proven. The rest
// cannot be written by its owner here (unproven) until its content has been
// compared with what is there, out of directories that stayed as they were.

// Modes of a message's file here.
const (
	unproven = 0o400
	proven   = 0o600
)

// stamp is a directory at a moment.
type stamp struct {
	id      string // device and inode
	changed string // when an entry of it did, or its owner or mode
	// ours: it belongs to root there or to whom we log in as, who can read
	// everything that we can.
	ours           bool
	shared, sticky bool // others than its owner may write to it
}

// stamps are directories by their absolute paths.
type stamps map[string]stamp

// stampDirs is a script that looks at directories whose paths come by standard
// input, each ended by NUL. One that is not there is left out.
const stampDirs = `LC_ALL=C; export LC_ALL
printf "%s\0" "$(id -u)"
xargs -0 sh -c 'find "$@" -maxdepth 0 -type d -printf "%D %i %C@ %U %m %p\0" 2>/dev/null' sh
exit 0`

// look looks at directories of the old server and all above them.
func look(ctx context.Context, from Remote, slot int, dirs []string) (stamps, error) {
	var list bytes.Buffer
	for _, dir := range ancestry(dirs) {
		list.WriteString(dir + "\x00")
	}
	stream, err := from.Stream(ctx, slot, &list, "sh", "-c", stampDirs)
	if err != nil {
		return nil, fmt.Errorf("look at directories of %s: %w", from.Target(), err)
	}
	defer stream.Close()
	s, err := readStamps(stream)
	if err != nil {
		return nil, fmt.Errorf("look at directories of %s: %w", from.Target(), err)
	}
	return s, nil
}

func readStamps(r io.Reader) (stamps, error) {
	records := bufio.NewReader(r)
	self, err := records.ReadString(0)
	if err != nil {
		return nil, err
	}
	s := make(stamps)
	for {
		record, err := records.ReadString(0)
		if errors.Is(err, io.EOF) && record == "" {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		fields := strings.SplitN(strings.TrimSuffix(record, "\x00"), " ", 6)
		if len(fields) != 6 {
			return nil, fmt.Errorf("%.200q is no directory", record)
		}
		mode, err := strconv.ParseUint(fields[4], 8, 16)
		if err != nil {
			return nil, fmt.Errorf("%.200q has no mode", record)
		}
		s[fields[5]] = stamp{
			id: fields[0] + " " + fields[1], changed: fields[2], ours: fields[3] == "0" || fields[3]+"\x00" == self,
			shared: mode&(unix.S_IWGRP|unix.S_IWOTH) != 0, sticky: mode&unix.S_ISVTX != 0,
		}
	}
}

// ancestry is directories and all above them, each after what it is in: so none is
// looked at through one that is looked at later.
func ancestry(dirs []string) []string {
	seen := make(map[string]bool)
	for _, dir := range dirs {
		for ; !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
		}
	}
	all := make([]string, 0, len(seen))
	for dir := range seen {
		all = append(all, dir)
	}
	slices.Sort(all)
	return all
}

// steady says whether a directory and what is in it have been the same at every
// moment between two looks.
func (s stamps) steady(after stamps, dir string) bool {
	return s.same(after, dir) && s.kept(after, dir, false)
}

// same says whether a path has led to the same directory, without a link.
func (s stamps) same(after stamps, dir string) bool {
	now, before := after[dir], s[dir]
	if before.id == "" || before.id != now.id {
		return false
	}
	parent := path.Dir(dir)
	return parent == dir || s.same(after, parent) && s.kept(after, parent, before.ours && now.ours)
}

// kept says whether an entry of a directory has stayed, which is ours or not.
func (s stamps) kept(after stamps, dir string, ours bool) bool {
	before, now := s[dir], after[dir]
	safe := func(d stamp) bool { return d.ours && (!d.shared || d.sticky && ours) }
	return before.changed == now.changed || safe(before) && safe(now)
}

// prove makes those messages of a chunk writable to their owner here that come out
// of directories that stayed as they were.
func (c *copier) prove(k chunk, before, after stamps) error {
	steady := make(map[string]bool)
	for _, dir := range k.dirs() {
		steady[dir] = before.steady(after, dir)
	}
	t := newTree(c.mirror)
	defer t.close()
	for _, f := range k.files {
		parent, name := cutLast(f.path)
		if !f.message || !steady["/"+parent] {
			continue
		}
		d, err := t.at(parent, (*dir).descend)
		if err == nil {
			// Nobody but root can have put a link there.
			err = d.fail("prove", name, unix.Fchmodat(d.fd(), name, proven, 0))
		}
		// It was gone there before it could be copied.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// prove makes a message in the mail store writable to its owner.
func (d *dir) prove(name string) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(proven), f.Close())
}

// dirs are the directories of the old server that a chunk comes from.
func (k chunk) dirs() []string {
	var all []string
	for _, f := range k.files {
		parent, _ := cutLast(f.path)
		if dir := "/" + parent; len(all) == 0 || all[len(all)-1] != dir {
			all = append(all, dir)
		}
	}
	return all
}

// dirs are the directories of the old server that a mailbox's files are in.
func (m *mailbox) dirs() []string {
	var all []string
	for i := range m.there.Folders {
		f := &m.there.Folders[i]
		for _, message := range f.Messages {
			if dir := path.Dir(f.Path(m.there.Root, message)); len(all) == 0 || all[len(all)-1] != dir {
				all = append(all, dir)
			}
		}
		for _, c := range f.Controls {
			all = append(all, path.Dir(c.Path))
		}
	}
	for _, s := range m.sieve.files {
		all = append(all, path.Dir(s.path))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// entrances are the directories of the old server that change when a message of a
// mailbox or a folder comes or goes.
func (m *mailbox) entrances() []string {
	all := []string{m.Store.Maildir}
	if m.there == nil {
		return all
	}
	for i := range m.there.Folders {
		dir := path.Join(m.there.Root, m.there.Folders[i].Dir)
		all = append(all, dir, path.Join(dir, "new"), path.Join(dir, "cur"))
	}
	return all
}

// Settle looks at the old server once more, before accounts are opened: what came
// into a mailbox there after the last pass began to compare it would be left
// behind. Such a mailbox gets a problem in the pass's report.
func (m *Migration) Settle(ctx context.Context, report *Report) error {
	var dirs []string
	for _, b := range m.boxes {
		dirs = append(dirs, b.entrances()...)
	}
	now, err := look(ctx, m.From, 0, dirs)
	if err != nil {
		return err
	}
	for i, b := range m.boxes {
		r := &report.Mailboxes[i]
		for _, dir := range b.entrances() {
			if r.Problem == "" && b.compared[dir] != now[dir] {
				r.Problem = dir + " on the old server was changed after both sides had been compared: something still writes there; stop it, and run this again"
			}
		}
	}
	return nil
}

// changedIn is the first directory of a mailbox that has not stayed as it was; ""
// if there is none.
func (s stamps) changedIn(after stamps, m *mailbox) string {
	for _, dir := range m.dirs() {
		if !s.steady(after, dir) {
			return dir
		}
	}
	return ""
}
