package migrate

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"mailstack/migrate/maildir"
)

// mailbox is an account's mail on its way.
type mailbox struct {
	Account
	domain, local string
	// there is what the old server has, by the last scan; nil before it.
	there *maildir.Tree
	sieve scripts
	// missing: there is no Maildir there. Until the first message comes, there
	// need not be one.
	missing bool
	// problem keeps the mailbox from being copied.
	problem error
	// notes are for the report: what was left out, and why.
	notes []string
	// compared are the directories there when the comparison began.
	compared stamps
}

// scripts are an account's Sieve scripts.
type scripts struct {
	files []script
	// active is the name of the active one, "" if none is.
	active string
}

// script is a Sieve script.
type script struct {
	name string // of its file, with .sieve
	path string // absolute, on the old server
	size int64
	time time.Time
}

// loneScript is what an active script is called that lies in no directory of
// scripts: Pigeonhole's own name for one (sieve-file-storage-active.c).
const loneScript = "dovecot.orig.sieve"

func newMailbox(a Account) *mailbox {
	m := &mailbox{Account: a}
	local, domain, found := strings.Cut(a.Address, "@")
	if !found || !isName(local) || !isName(domain) || strings.HasPrefix(domain, ".") {
		m.problem = fmt.Errorf("%q is not the address of an account", a.Address)
		return m
	}
	m.local, m.domain = local, domain
	switch s := a.Store; {
	case s.Maildir == "":
		m.problem = errors.New("it is not known where its mail is")
	case s.Layout != string(maildir.PlusPlus) && s.Layout != string(maildir.FS):
		m.problem = fmt.Errorf("folders are laid out as %q, which is not known", s.Layout)
	default:
		for _, p := range []string{s.Maildir, s.Control, s.Sieve, s.Scripts} {
			if p != "" && (p[0] != '/' || path.Clean(p) != p || p == "/" || strings.ContainsAny(p, "\x00\n")) {
				m.problem = fmt.Errorf("%q is not a path for mail", p)
			}
		}
	}
	return m
}

// isName says whether something may be the name of a directory, and is not hidden
// from anybody.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00\n")
}

// again is the same mailbox, to be scanned anew.
func (m *mailbox) again() *mailbox {
	return &mailbox{Account: m.Account, domain: m.domain, local: m.local}
}

func (m *mailbox) layout() maildir.Layout { return maildir.Layout(m.Store.Layout) }

// roots are what maildir.List is asked for: pairs of a kind and a path.
func (m *mailbox) roots() [][2]string {
	roots := [][2]string{{m.Store.Layout, m.Store.Maildir}}
	if m.Store.Control != "" {
		roots = append(roots, [2]string{m.Store.Layout, m.Store.Control})
	}
	if m.Store.Scripts != "" {
		roots = append(roots, [2]string{"flat", m.Store.Scripts})
	}
	if m.Store.Sieve != "" {
		roots = append(roots, [2]string{"file", m.Store.Sieve})
	}
	return roots
}

// read reads the listings of the roots. What is wrong with this mailbox alone is
// its problem; an error is one of the connection.
func (m *mailbox) read(r *maildir.Reader) error {
	m.there, m.sieve, m.missing, m.problem, m.notes = nil, scripts{}, false, nil, nil
	root, err := r.Root()
	switch {
	case errors.Is(err, maildir.ErrNoRoot):
		m.missing = true
		m.notes = append(m.notes, "no mail yet: "+m.Store.Maildir+" is not there")
		m.there, _ = maildir.ReadTree(m.Store.Maildir, m.layout(), entries(nil))
	case errors.Is(err, maildir.ErrClosed):
		m.problem = fmt.Errorf("%s on the old server: %w", m.Store.Maildir, err)
	case err != nil:
		return err
	default:
		m.there, err = maildir.ReadTree(root, m.layout(), r.Next)
		if err := m.incomplete(m.Store.Maildir, err); err != nil {
			return err
		}
	}
	if m.Store.Control != "" {
		if err := m.readControls(r); err != nil {
			return err
		}
	}
	if m.Store.Scripts != "" {
		if err := m.readScripts(r); err != nil {
			return err
		}
	}
	if m.Store.Sieve != "" {
		return m.readActive(r)
	}
	return nil
}

// incomplete makes a root that was not listed whole the mailbox's problem.
func (m *mailbox) incomplete(asked string, err error) error {
	if !errors.Is(err, maildir.ErrIncomplete) {
		return err
	}
	m.there = nil
	m.problem = errors.Join(m.problem, fmt.Errorf("%s on the old server: %w", asked, err))
	return nil
}

// optional reads a root that need not be there.
func (m *mailbox) optional(r *maildir.Reader, asked string) (root string, all []maildir.Entry, err error) {
	root, err = r.Root()
	if errors.Is(err, maildir.ErrNoRoot) {
		return "", nil, nil
	}
	if errors.Is(err, maildir.ErrClosed) {
		m.problem = errors.Join(m.problem, fmt.Errorf("%s on the old server: %w", asked, err))
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	for {
		e, err := r.Next()
		if err == io.EOF {
			return root, all, nil
		}
		if err != nil {
			return "", nil, m.incomplete(asked, err)
		}
		all = append(all, e)
	}
}

func (m *mailbox) readControls(r *maildir.Reader) error {
	root, all, err := m.optional(r, m.Store.Control)
	if err != nil || root == "" || m.there == nil {
		return err
	}
	return m.there.AddControls(root, entries(all))
}

func (m *mailbox) readScripts(r *maildir.Reader) error {
	root, all, err := m.optional(r, m.Store.Scripts)
	for _, e := range all {
		if strings.HasSuffix(e.Path, ".sieve") && e.Path[0] != '.' && e.Type == 'f' {
			m.sieve.files = append(m.sieve.files, script{e.Path, path.Join(root, e.Path), e.Size, e.ModTime()})
		}
	}
	slices.SortFunc(m.sieve.files, func(a, b script) int { return strings.Compare(a.name, b.name) })
	return err
}

// readActive finds out which script is active. A link counts where it leads to
// one of the scripts: anything else may be anybody's file.
func (m *mailbox) readActive(r *maildir.Reader) error {
	at, all, err := m.optional(r, m.Store.Sieve)
	if err != nil || len(all) != 1 {
		return err
	}
	switch e := all[0]; e.Type {
	case maildir.TargetType:
		for _, s := range m.sieve.files {
			target := e.Path
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(at), target)
			}
			if target == s.path || target == path.Join(m.Store.Scripts, s.name) || path.Base(target) == s.name && path.Dir(e.Path) == "sieve" {
				m.sieve.active = s.name
				return nil
			}
		}
		m.notes = append(m.notes, fmt.Sprintf("Sieve: %s is a link to %.200q, which is not one of the account's scripts", m.Store.Sieve, e.Path))
	case 'f':
		for _, s := range m.sieve.files {
			if s.path == at {
				m.sieve.active = s.name
				return nil
			}
		}
		m.sieve.files = append(m.sieve.files, script{loneScript, at, e.Size, e.ModTime()})
		m.sieve.active = loneScript
	}
	return nil
}

// size is how much mail there is.
func (m *mailbox) size() Amount {
	var a Amount
	if m.there == nil {
		return a
	}
	for i := range m.there.Folders {
		for _, message := range m.there.Folders[i].Messages {
			a.Messages++
			a.Bytes += message.Size
		}
	}
	return a
}

// Amount is an amount of mail.
type Amount struct {
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

func (a *Amount) add(b Amount) {
	a.Messages += b.Messages
	a.Bytes += b.Bytes
}
