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
		both := make([]*pair, len(batch))
		for i, index := range batch {
			both[i] = v.list(boxes[index])
		}
		if err := v.there(ctx, slot, both); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		for i, index := range batch {
			results[index] = v.compare(both[i])
		}
		done.add(len(batch))
		return nil
	})
	return results, err
}

// pair is a mailbox on both sides.
type pair struct {
	before *mailbox // when it was copied
	now    *mailbox // on the old server
	there  maildir.State
	// changedIn is a directory there that did not stay as it was while it was
	// read, "" where all did.
	changedIn string
	here      *local
	err       error // of reading here
	// sampled are the messages that are compared octet by octet, true where their
	// directories stayed as they were.
	sampled map[maildir.ID]bool
}

// list lists a mailbox here.
func (v *verifier) list(m *mailbox) *pair {
	p := &pair{before: m, now: m.again(), sampled: make(map[maildir.ID]bool)}
	p.here, p.err = v.here(m)
	return p
}

// there reads mailboxes on the old server. One that cannot be read has a problem.
func (v *verifier) there(ctx context.Context, slot int, both []*pair) error {
	var again []*mailbox
	var dirs []string
	for _, p := range both {
		again = append(again, p.now)
		dirs = append(append(dirs, p.before.dirs()...), p.before.entrances()...)
	}
	before, err := look(ctx, v.from, slot, dirs)
	if err != nil {
		return err
	}
	for _, p := range both {
		p.before.compared = before
	}
	if err := scanSome(ctx, v.from, slot, again); err != nil {
		return err
	}
	both = slices.DeleteFunc(slices.Clone(both), func(p *pair) bool { return p.now.problem != nil || p.err != nil })
	chosen := make([]map[maildir.ID]string, len(both))
	files, messages := make(map[string]int64), make(map[string]int64)
	for i, p := range both {
		for k := range p.now.there.Folders {
			for _, c := range p.now.there.Folders[k].Controls {
				files[c.Path] = maxOf(c.Size)
			}
		}
		for _, s := range p.now.sieve.files {
			files[s.path] = maxOf(s.size)
		}
		chosen[i] = v.choose(p.now, p.here.unproven)
		for _, path := range chosen[i] {
			messages[path] = 0
		}
	}
	data, err := fetch(ctx, v.from, slot, files)
	if err != nil {
		return err
	}
	found, err := sums(ctx, v.from, slot, messages)
	if err != nil {
		return err
	}
	after, err := look(ctx, v.from, slot, dirs)
	if err != nil {
		return err
	}
	for i, p := range both {
		p.there = maildir.State{Tree: p.now.there, Data: data, Sums: make(map[maildir.ID]maildir.Sum)}
		p.changedIn = before.changedIn(after, p.now)
		for id, path := range chosen[i] {
			p.sampled[id] = before.steady(after, dirOf(path))
			// On a server at rest, one that cannot be read is a difference.
			if sum, ok := found[path]; ok || !v.live {
				p.there.Sums[id] = sum
			}
		}
	}
	return nil
}

func dirOf(p string) string { dir, _ := cutLast(p); return dir }

// maxOf is how large a file of a size may be when it is read a moment later.
func maxOf(size int64) int64 { return min(size+1<<20, maildir.MaxControl) }

// choose picks the messages whose content is compared, with their paths: those that
// are not proven yet, and a sample of the others.
func (v *verifier) choose(m *mailbox, unproven map[maildir.ID][]string) map[maildir.ID]string {
	all := make(map[maildir.ID]string)
	var ids []maildir.ID
	for i := range m.there.Folders {
		f := &m.there.Folders[i]
		for _, message := range f.Messages {
			id := maildir.ID{Key: f.Key, Base: message.Base()}
			if _, found := all[id]; found {
				continue
			}
			all[id] = f.Path(m.there.Root, message)
			if _, asked := unproven[id]; !asked {
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

// compare compares a mailbox.
func (v *verifier) compare(p *pair) Result {
	r := p.before.result()
	switch err := p.err; {
	case p.now.problem != nil:
		r.Problem = p.now.problem.Error()
		return r
	case err == nil:
		p.err = v.read(p)
	}
	if p.err != nil {
		r.Problem = p.err.Error()
		return r
	}
	r.Folders = folderResults(p.there, p.here.State)
	r.Expected = p.here.Expected()
	all := slices.Concat(maildir.Compare(p.there, p.here.State), p.here.differences, compareScripts(p.now, p.there.Data, p.here))
	changed := changedFolders(p.before, p.now)
	for _, d := range all {
		if v.live && (p.changedIn != "" || changed[d.Key] || d.Kind == maildir.Script && p.before.sieve.changed(p.now.sieve)) {
			r.Changing = append(r.Changing, d)
		} else {
			r.Differences = append(r.Differences, d)
		}
	}
	if !v.live && p.changedIn != "" {
		r.Problem = p.changedIn + " on the old server was changed while both sides were compared"
	}
	return r
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
