package migrate

import (
	"fmt"

	"mailstack/migrate/maildir"
)

// local is what was read of a mailbox here.
type local struct {
	maildir.State
	// unproven are messages of which it is not known yet that they are what they
	// are there, with their paths below the home.
	unproven    map[maildir.ID][]string
	twins       map[maildir.ID]bool // of which there are several
	scripts     map[string][]byte   // by name
	active      string
	differences []maildir.Difference
}

// here lists a mailbox.
func (v *verifier) here(m *mailbox) (*local, error) {
	root, err := v.store.descend(m.domain + "/" + m.local + "/" + maildirName)
	if err != nil {
		return nil, err
	}
	defer root.close()
	all, err := root.walk(maildir.PlusPlus.Enters)
	if err != nil {
		return nil, err
	}
	l := &local{unproven: make(map[maildir.ID][]string), twins: make(map[maildir.ID]bool)}
	if l.Tree, err = maildir.ReadTree("/"+maildirName, maildir.PlusPlus, entries(all)); err != nil {
		return nil, err
	}
	modes := make(map[string]uint32)
	for _, e := range all {
		modes["/"+maildirName+"/"+e.Path] = e.Mode
	}
	seen := make(map[maildir.ID]bool)
	for i := range l.Folders {
		f := &l.Folders[i]
		for _, message := range f.Messages {
			id := maildir.ID{Key: f.Key, Base: message.Base()}
			l.twins[id], seen[id] = seen[id], true
			if p := f.Path(l.Root, message); modes[p]&^unproven == 0 {
				l.unproven[id] = append(l.unproven[id], p)
			}
		}
	}
	return l, nil
}

// read reads a mailbox that was listed, and proves what is the same there.
func (v *verifier) read(p *pair) error {
	home, err := v.store.descend(p.before.domain + "/" + p.before.local)
	if err != nil {
		return err
	}
	defer home.close()
	t := newTree(home)
	defer t.close()
	if err := p.here.readControls(t); err != nil {
		return err
	}
	if err := p.here.readMessages(t, v.Full, p.sampled); err != nil {
		return err
	}
	if err := v.prove(p, t); err != nil {
		return err
	}
	return p.here.readScripts(home, t)
}

// prove notes which messages have turned out to be what they are there. In the last
// pass any other is a difference, and copied again.
func (v *verifier) prove(p *pair, t *tree) error {
	left := maildir.Difference{Kind: maildir.Content}
	for id, files := range p.here.unproven {
		// Of several with one name it is not known which was compared.
		sum, found := p.here.Sums[id]
		if len(files) > 1 || p.here.twins[id] || !found || !p.sampled[id] || sum != p.there.Sums[id] {
			left.Count += len(files)
			left.Here = append(left.Here, files...)
			continue
		}
		parent, name := cutLast(inMirror(files[0]))
		d, err := t.at(parent, (*dir).descend)
		if err == nil {
			err = d.prove(name)
		}
		if err != nil {
			return err
		}
	}
	if left.Count > 0 && !v.live {
		left.Detail = fmt.Sprintf("messages that may be others, %d: directories on the old server were changed while they were copied", left.Count)
		p.here.differences = append(p.here.differences, left)
	}
	return nil
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
