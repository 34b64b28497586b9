package migrate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"mailstack/migrate/maildir"
)

// Verify says how much is read to compare both sides. Names, sizes, dates, flags
// and control files are compared in any case.
type Verify struct {
	// Sample is how many messages of each mailbox are compared octet by octet, by
	// their checksums, chosen by chance.
	Sample int
	// Full compares all.
	Full bool
}

// verifyBatch is how many mailboxes are compared at once by a worker.
const verifyBatch = 100

// verifier compares mailboxes there and here.
type verifier struct {
	from  Remote
	store *dir
	Verify
	// live: people use the old server meanwhile.
	live bool
}

// verify compares mailboxes that were placed. Results are in the order of boxes;
// an error is one of the connection.
func (v *verifier) verify(ctx context.Context, boxes []*mailbox, workers int, meter *meter) ([]Result, error) {
	results := make([]Result, len(boxes))
	var ready []int
	for i, m := range boxes {
		results[i] = m.result()
		if m.problem == nil {
			ready = append(ready, i)
		}
	}
	done := counter{tell: meter.mailboxes}
	err := forEachSlot(ctx, workers, batches(ready, verifyBatch), func(ctx context.Context, slot int, batch []int) error {
		again := make([]*mailbox, len(batch))
		for i, index := range batch {
			again[i] = boxes[index].again()
		}
		states, err := v.there(ctx, slot, again)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		for i, index := range batch {
			results[index] = v.compare(boxes[index], again[i], states[i])
		}
		done.add(len(batch))
		return nil
	})
	return results, err
}

// sighting is what was read of a mailbox on the old server.
type sighting struct {
	maildir.State
	sampled map[maildir.ID]bool
}

// there reads mailboxes on the old server. One that cannot be read has a problem.
func (v *verifier) there(ctx context.Context, slot int, again []*mailbox) ([]sighting, error) {
	if err := scanSome(ctx, v.from, slot, again); err != nil {
		return nil, err
	}
	states := make([]sighting, len(again))
	chosen := make([]map[maildir.ID]string, len(again))
	files, messages := make(map[string]int64), make(map[string]int64)
	for i, m := range again {
		if m.problem != nil {
			continue
		}
		for k := range m.there.Folders {
			for _, c := range m.there.Folders[k].Controls {
				files[c.Path] = maxOf(c.Size)
			}
		}
		for _, s := range m.sieve.files {
			files[s.path] = maxOf(s.size)
		}
		chosen[i] = v.choose(m)
		for _, p := range chosen[i] {
			messages[p] = 0
		}
	}
	data, err := fetch(ctx, v.from, slot, files)
	if err != nil {
		return nil, err
	}
	found, err := sums(ctx, v.from, slot, messages)
	if err != nil {
		return nil, err
	}
	for i, m := range again {
		if m.problem != nil {
			continue
		}
		states[i] = sighting{
			State:   maildir.State{Tree: m.there, Data: data, Sums: make(map[maildir.ID]maildir.Sum)},
			sampled: make(map[maildir.ID]bool),
		}
		for id, p := range chosen[i] {
			states[i].sampled[id] = true
			// On a server at rest, one that cannot be read is a difference.
			if sum, ok := found[p]; ok || !v.live {
				states[i].Sums[id] = sum
			}
		}
	}
	return states, nil
}

// maxOf is how large a file of a size may be when it is read a moment later.
func maxOf(size int64) int64 { return min(size+1<<20, maildir.MaxControl) }

// choose picks the messages whose content is compared, with their paths.
func (v *verifier) choose(m *mailbox) map[maildir.ID]string {
	all := make(map[maildir.ID]string)
	var ids []maildir.ID
	for i := range m.there.Folders {
		f := &m.there.Folders[i]
		for _, message := range f.Messages {
			id := maildir.ID{Key: f.Key, Base: message.Base()}
			if _, found := all[id]; !found {
				all[id] = f.Path(m.there.Root, message)
				ids = append(ids, id)
			}
		}
	}
	if !v.Full {
		rand.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
		for _, id := range ids[min(v.Sample, len(ids)):] {
			delete(all, id)
		}
	}
	return all
}

// compare compares a mailbox. before is it when it was copied.
func (v *verifier) compare(before, now *mailbox, there sighting) Result {
	r := before.result()
	if now.problem != nil {
		r.Problem = now.problem.Error()
		return r
	}
	here, err := v.here(before, there)
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	r.Folders = folderResults(there.State, here.State)
	r.Expected = here.Expected()
	all := slices.Concat(maildir.Compare(there.State, here.State), here.differences, compareScripts(now, there.Data, here))
	changed := changedFolders(before, now)
	for _, d := range all {
		if v.live && (changed[d.Key] || d.Kind == maildir.Script && before.sieve.changed(now.sieve)) {
			r.Changing = append(r.Changing, d)
		} else {
			r.Differences = append(r.Differences, d)
		}
	}
	return r
}

// local is what was read of a mailbox here.
type local struct {
	maildir.State
	scripts     map[string][]byte // by name
	active      string
	differences []maildir.Difference
}

func (v *verifier) here(m *mailbox, there sighting) (*local, error) {
	home, err := v.store.descend(m.domain + "/" + m.local)
	if err != nil {
		return nil, err
	}
	defer home.close()
	root, err := home.sub(maildirName)
	if err != nil {
		return nil, err
	}
	defer root.close()
	all, err := root.walk(maildir.PlusPlus.Enters)
	if err != nil {
		return nil, err
	}
	l := &local{}
	l.Tree, err = maildir.ReadTree("/"+maildirName, maildir.PlusPlus, entries(all))
	if err != nil {
		return nil, err
	}
	t := newTree(home)
	defer t.close()
	if err := l.readControls(t); err != nil {
		return nil, err
	}
	if err := l.readMessages(t, v.Full, there.sampled); err != nil {
		return nil, err
	}
	return l, l.readScripts(home, t)
}

func (l *local) readControls(t *tree) error {
	l.Data = make(map[string][]byte)
	for i := range l.Folders {
		for _, c := range l.Folders[i].Controls {
			data, err := t.read(inMirror(c.Path), maildir.MaxControl)
			if err != nil {
				return err
			}
			l.Data[c.Path] = data
		}
	}
	return nil
}

func (l *local) readScripts(home *dir, t *tree) (err error) {
	var names []string
	if names, l.active, err = scriptsHere(home); err != nil {
		return err
	}
	l.scripts = make(map[string][]byte)
	for _, name := range names {
		if l.scripts[name], err = t.read(scriptsName+"/"+name, maildir.MaxControl); err != nil {
			return err
		}
	}
	return nil
}

// compareScripts compares the Sieve scripts.
func compareScripts(now *mailbox, there map[string][]byte, here *local) []maildir.Difference {
	if now.Store.Sieve == "" && now.Store.Scripts == "" {
		return nil
	}
	var text, again []string
	for _, s := range now.sieve.files {
		data, found := here.scripts[s.name]
		delete(here.scripts, s.name)
		switch {
		case !found:
			text = append(text, fmt.Sprintf("%.200q is missing here", s.name))
		case string(data) != now.translated(string(there[s.path])):
			text = append(text, fmt.Sprintf("%.200q differs", s.name))
			again = append(again, s.path)
		}
	}
	for name := range here.scripts {
		text = append(text, fmt.Sprintf("%.200q is only here", name))
	}
	if now.sieve.active != here.active {
		text = append(text, fmt.Sprintf("%.200q is active there, %.200q here", now.sieve.active, here.active))
	}
	if len(text) == 0 {
		return nil
	}
	return []maildir.Difference{{
		Kind: maildir.Script, Count: len(text), Detail: "Sieve scripts: " + strings.Join(text, "; "), There: again,
	}}
}

func (s scripts) changed(now scripts) bool {
	return s.active != now.active || !slices.Equal(s.files, now.files)
}

// changedFolders are the keys of folders that changed on the old server between
// two scans, and "" for the subscriptions beside the inbox.
func changedFolders(before, now *mailbox) map[string]bool {
	old := make(map[string]*maildir.Folder)
	for i := range before.there.Folders {
		old[before.there.Folders[i].Key] = &before.there.Folders[i]
	}
	changed := make(map[string]bool)
	for i := range now.there.Folders {
		f := &now.there.Folders[i]
		o := old[f.Key]
		delete(old, f.Key)
		changed[f.Key] = o == nil || !slices.Equal(o.Messages, f.Messages) || !slices.Equal(o.Controls, f.Controls)
	}
	for key := range old {
		changed[key] = true
	}
	return changed
}

// sumFile reads a message and returns its checksum and its size with CRLF.
func sumFile(t *tree, p string) (sum maildir.Sum, octets int64, head []byte, err error) {
	parent, name := cutLast(p)
	d, err := t.at(parent, (*dir).descend)
	if err != nil {
		return sum, 0, nil, err
	}
	f, err := d.open(name)
	if err != nil {
		return sum, 0, nil, err
	}
	defer f.Close()
	hash := sha256.New()
	counter := &crlfCounter{}
	if _, err := io.Copy(io.MultiWriter(hash, counter), f); err != nil {
		return sum, 0, nil, err
	}
	hash.Sum(sum[:0])
	return sum, counter.octets, counter.head, nil
}

// crlfCounter counts octets as if every line ended in CRLF.
type crlfCounter struct {
	octets int64
	last   byte
	head   []byte // the first octets
}

func (c *crlfCounter) Write(p []byte) (int, error) {
	if n := headSize - len(c.head); n > 0 {
		c.head = append(c.head, p[:min(n, len(p))]...)
	}
	c.octets += int64(len(p))
	for rest := p; ; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		before := c.last
		if at := len(p) - len(rest) + i; at > 0 {
			before = p[at-1]
		}
		if before != '\r' {
			c.octets++
		}
		rest = rest[i+1:]
	}
	if len(p) > 0 {
		c.last = p[len(p)-1]
	}
	return len(p), nil
}
