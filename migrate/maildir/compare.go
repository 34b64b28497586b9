package maildir

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// State is a mailbox as it is on one side.
type State struct {
	*Tree
	Data map[string][]byte // what control files hold, by path
	Sums map[ID]Sum        // of messages that were read
	// Octets are sizes with CRLF of messages that were counted.
	Octets map[ID]int64
}

// ID names a message of a mailbox.
type ID struct{ Key, Base string }

// Sum is a SHA-256.
type Sum [sha256.Size]byte

// Kind is a kind of Difference.
type Kind string

// The kinds of differences there are.
const (
	FolderMissing Kind = "folder-missing" // there, not here
	FolderExtra   Kind = "folder-extra"   // here, not there
	Missing       Kind = "missing"        // messages that are there, not here
	Extra         Kind = "extra"          // messages that are here, not there
	Size          Kind = "size"           // octets of messages
	Time          Kind = "time"           // internal dates
	Flags         Kind = "flags"
	Keywords      Kind = "keywords"
	Recent        Kind = "recent"  // in new on one side, in cur on the other
	Content       Kind = "content" // checksums of messages
	UIDValidity   Kind = "uidvalidity"
	UIDNext       Kind = "uidnext"
	UIDs          Kind = "uids"
	Subscriptions Kind = "subscriptions"
	ControlFile   Kind = "control"    // a control file, where nothing else tells of it
	Script        Kind = "sieve"      // a Sieve script, or which one is active
	Encoded       Kind = "encoded"    // messages are stored compressed or encrypted
	FalseSize     Kind = "false-size" // their names state another size than messages have
)

// Difference is one thing in which two sides of a mailbox differ.
type Difference struct {
	Kind   Kind   `json:"kind"`
	Folder string `json:"folder,omitempty"` // as users see it, "" for the mailbox
	Count  int    `json:"count"`            // of messages, or 1
	Detail string `json:"detail"`           // one line for a person
	Key    string `json:"-"`
	// There and Here are files that differ although both have them, by their
	// paths: they have to be copied again, whatever their sizes and dates say.
	There []string `json:"-"`
	Here  []string `json:"-"`
}

func (d Difference) String() string {
	if d.Folder == "" {
		return d.Detail
	}
	return d.Folder + ": " + d.Detail
}

// maxNamed bounds the messages that a difference names.
const maxNamed = 3

// Compare says in what the mailbox here differs from the one there, folder by
// folder.
func Compare(there, here State) []Difference {
	var all []Difference
	mine := make(map[string]*Folder)
	for i := range here.Folders {
		mine[here.Folders[i].Key] = &here.Folders[i]
	}
	for i := range there.Folders {
		f := &there.Folders[i]
		g := mine[f.Key]
		if g == nil {
			all = append(all, f.difference(FolderMissing, 1, fmt.Sprintf("the folder is missing here, with %d messages", len(f.Messages))))
			continue
		}
		delete(mine, f.Key)
		c := comparison{there: there, here: here, f: f, g: g, found: map[Kind]*finding{}}
		c.messages()
		c.controls()
		all = append(all, c.differences()...)
	}
	for _, key := range slices.Sorted(maps.Keys(mine)) {
		g := mine[key]
		all = append(all, g.difference(FolderExtra, 1, fmt.Sprintf("the folder is only here, with %d messages", len(g.Messages))))
	}
	return all
}

func (f *Folder) difference(kind Kind, count int, detail string) Difference {
	return Difference{Kind: kind, Folder: FolderName(f.Key), Key: f.Key, Count: count, Detail: detail}
}

// comparison compares a folder f there with the folder g here.
type comparison struct {
	there, here State
	f, g        *Folder
	found       map[Kind]*finding
}

// finding is what is known of a kind of difference.
type finding struct {
	count       int
	detail      string // of the first ones
	there, here []string
}

// note adds something found. detail is said of the first few.
func (c *comparison) note(kind Kind, detail string) {
	f := c.found[kind]
	if f == nil {
		f = &finding{}
		c.found[kind] = f
	}
	f.count++
	switch {
	case f.count == 1:
		f.detail = detail
	case f.count <= maxNamed:
		f.detail += "; " + detail
	case f.count == maxNamed+1:
		f.detail += "; …"
	}
}

// again says that a file has to be copied again because of what was found.
func (c *comparison) again(kind Kind, there, here string) {
	f := c.found[kind]
	f.there, f.here = append(f.there, there), append(f.here, here)
}

// controlAgain says so of a control file.
func (c *comparison) controlAgain(kind Kind, name string) {
	if a, b := c.f.control(name), c.g.control(name); a != nil && b != nil {
		c.again(kind, a.Path, b.Path)
	}
}

func (c *comparison) differences() []Difference {
	var all []Difference
	for _, kind := range slices.Sorted(maps.Keys(c.found)) {
		f := c.found[kind]
		detail := f.detail
		if text := kind.plural(); text != "" {
			detail = fmt.Sprintf(text, f.count) + ": " + detail
		}
		d := c.f.difference(kind, f.count, detail)
		d.There, d.Here = f.there, f.here
		all = append(all, d)
	}
	return all
}

// plural is how many messages are spoken of.
func (k Kind) plural() string {
	switch k {
	case Missing:
		return "messages missing here, %d"
	case Extra:
		return "messages only here, %d"
	case Size:
		return "messages of another size, %d"
	case Time:
		return "messages of another date, %d"
	case Flags:
		return "messages with other flags, %d"
	case Keywords:
		return "messages with other keywords, %d"
	case Recent:
		return "messages in cur instead of new or the other way round, %d"
	case Content:
		return "messages with other content, %d"
	case UIDs:
		return "messages with another UID, %d"
	}
	return ""
}

// messages compares message by message.
func (c *comparison) messages() {
	words, mineWords := c.there.keywords(c.f), c.here.keywords(c.g)
	here := identify(c.g)
	ids := identify(c.f)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		m := ids[id]
		n, found := here[id]
		if !found {
			c.note(Missing, quoteName(m.Name))
			continue
		}
		delete(here, id)
		c.message(m, n, words, mineWords)
	}
	for _, id := range slices.Sorted(maps.Keys(here)) {
		c.note(Extra, quoteName(here[id].Name))
	}
}

func (c *comparison) message(m, n Message, words, mineWords map[byte]string) {
	differs := func(kind Kind, there, here any) {
		c.note(kind, fmt.Sprintf("%s has %v there, %v here", quoteName(m.Base()), there, here))
	}
	if m.Size != n.Size {
		differs(Size, m.Size, n.Size)
	}
	if m.Time != n.Time {
		differs(Time, m.Time, n.Time)
	}
	if a, b := m.Flags(), n.Flags(); a != b {
		differs(Flags, fmt.Sprintf("%q", a), fmt.Sprintf("%q", b))
	}
	if a, b := named(m, words), named(n, mineWords); a != b {
		differs(Keywords, fmt.Sprintf("%q", a), fmt.Sprintf("%q", b))
		c.controlAgain(Keywords, keywordsName)
	}
	if m.New != n.New {
		c.note(Recent, quoteName(m.Base()))
	}
	id := ID{c.f.Key, m.Base()}
	if a, found := c.there.Sums[id]; found && a != c.here.Sums[id] {
		c.note(Content, quoteName(m.Base()))
		c.again(Content, c.f.Path(c.there.Root, m), c.g.Path(c.here.Root, n))
	}
}

// identify gives each message of a folder an identity: its base name, with a
// number for every further file of the same.
func identify(f *Folder) map[string]Message {
	ids := make(map[string]Message, len(f.Messages))
	for _, m := range f.Messages {
		id := m.Base()
		for n := 2; ; n++ {
			if _, taken := ids[id]; !taken {
				break
			}
			id = fmt.Sprintf("%s:%d", m.Base(), n)
		}
		ids[id] = m
	}
	return ids
}

// named are a message's keywords by name, sorted and separated by blanks.
func named(m Message, words map[byte]string) string {
	var names []string
	for _, letter := range []byte(m.keywordLetters()) {
		name := words[letter]
		if name == "" {
			name = "(" + string(letter) + ")" // nobody sees it
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// controls compares the control files of a folder: by what they mean and, where
// that is the same, octet by octet.
func (c *comparison) controls() {
	c.uidLists()
	for _, control := range c.f.Controls {
		a, b := c.there.Control(c.f, control.Name), c.here.Control(c.g, control.Name)
		switch control.Name {
		case SubscriptionsName:
			c.subscriptions(a, b)
		case UIDListName:
			if c.found[UIDValidity] == nil && c.found[UIDNext] == nil && c.found[UIDs] == nil && !bytes.Equal(a, b) {
				c.note(ControlFile, "dovecot-uidlist differs")
				c.controlAgain(ControlFile, control.Name)
			}
		case keywordsName:
			if c.found[Keywords] == nil && !bytes.Equal(a, b) {
				c.note(ControlFile, "dovecot-keywords differs")
				c.controlAgain(ControlFile, control.Name)
			}
		default:
			if c.g.control(control.Name) == nil || !bytes.Equal(a, b) {
				c.note(ControlFile, control.Name+" differs")
				c.controlAgain(ControlFile, control.Name)
			}
		}
	}
	for _, control := range c.g.Controls {
		if c.f.control(control.Name) == nil {
			c.note(ControlFile, control.Name+" is only here")
		}
	}
}

func (c *comparison) uidLists() {
	if c.f.control(UIDListName) == nil {
		return
	}
	a, errA := ParseUIDList(c.there.Control(c.f, UIDListName))
	b, errB := ParseUIDList(c.here.Control(c.g, UIDListName))
	if errA != nil || errB != nil {
		return // they are compared octet by octet
	}
	if a.Validity != b.Validity {
		c.note(UIDValidity, fmt.Sprintf("UIDVALIDITY is %d there, %d here", a.Validity, b.Validity))
	}
	if a.Next != b.Next {
		c.note(UIDNext, fmt.Sprintf("the next UID is %d there, %d here", a.Next, b.Next))
	}
	for _, m := range c.f.Messages {
		if base := m.Base(); a.UIDs[base] != b.UIDs[base] {
			c.note(UIDs, fmt.Sprintf("%s has %d there, %d here", quoteName(base), a.UIDs[base], b.UIDs[base]))
		}
	}
	for _, kind := range []Kind{UIDValidity, UIDNext, UIDs} {
		if c.found[kind] != nil {
			c.controlAgain(kind, UIDListName)
		}
	}
}

// subscriptions compares by name: the file is another where the layout is.
func (c *comparison) subscriptions(there, here []byte) {
	a, b := ParseSubscriptions(there, c.there.Layout), ParseSubscriptions(here, c.here.Layout)
	var text []string
	for _, key := range a {
		if _, found := slices.BinarySearch(b, key); !found {
			text = append(text, fmt.Sprintf("%q only there", FolderName(key)))
		}
	}
	for _, key := range b {
		if _, found := slices.BinarySearch(a, key); !found {
			text = append(text, fmt.Sprintf("%q only here", FolderName(key)))
		}
	}
	if len(text) > 0 {
		c.note(Subscriptions, "subscriptions differ: "+strings.Join(text[:min(len(text), maxNamed)], ", "))
		c.controlAgain(Subscriptions, SubscriptionsName)
	}
}

// control returns a folder's control file, nil if there is none.
func (f *Folder) control(name string) *Control {
	i, found := slices.BinarySearchFunc(f.Controls, name, func(c Control, name string) int { return cmp.Compare(c.Name, name) })
	if !found {
		return nil
	}
	return &f.Controls[i]
}

// Control returns what a folder's control file holds, nil if there is none.
func (s State) Control(f *Folder, name string) []byte {
	if c := f.control(name); c != nil {
		return s.Data[c.Path]
	}
	return nil
}

func (s State) keywords(f *Folder) map[byte]string { return ParseKeywords(s.Control(f, keywordsName)) }

// quoteName makes a file's name safe to print.
func quoteName(name string) string {
	if len(name) > 120 {
		name = name[:120] + "…"
	}
	return fmt.Sprintf("%q", name)
}
