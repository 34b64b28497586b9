package source

import (
	"context"
	"fmt"
	"strings"

	"mailstack/migrate"
	"mailstack/migrate/remote"
)

// LocateOptions says what cannot be found out by looking.
type LocateOptions struct {
	// Layout is where every account's mail lies, as Dovecot's mail_location with
	// its variables ("maildir:/srv/mail/%d/%n:LAYOUT=fs"). "": as Dovecot says.
	Layout string
	// Progress is told how many places were looked at, of which an account may have
	// several; may be nil.
	Progress func(done, total int)
}

// Stores is what was seen where accounts have their mail.
type Stores struct {
	ByAddress map[string]Seen
	// Asked: Dovecot itself said where. If not, its configuration and the tables
	// did.
	Asked bool
	// Given: LocateOptions.Layout said where, whatever Dovecot says.
	Given bool
}

// Seen is what was seen of one account's store.
type Seen struct {
	// State is "maildir"; "absent" where nothing was delivered yet; or why the
	// store cannot be copied.
	State   State
	Problem string // for people, "" where State is Maildir or Absent

	UID, GID      int    // owner of the Maildir; -1 not known
	Real          string // its path without links
	Messages      int64
	Subscriptions bool
	// Odd messages are stored otherwise than they were sent: compressed, encrypted,
	// or with a size that Dovecot got wrong.
	Odd                   int64
	Compressed, Encrypted bool
	// Dotted and Plain are messages in folders as "maildir++" and "fs" name them.
	Dotted, Plain int64
	// Outside is where the active Sieve script leads, if that is not in the
	// account's own directory: it is not copied.
	Outside string
	// Elsewhere is where there is mail as Dovecot says, and Control where the
	// control files of this mail are, if a layout was given that says otherwise.
	Elsewhere, Control string
}

// State of a store.
type State int

// The states there are.
const (
	Unknown  State = iota // where it is could not be found out
	Absent                // there is nothing at that path
	Found                 // a Maildir
	Unusable              // something else, or it cannot be read
)

// Locate finds each account's mail and fills in its Store. It reports what it
// found account by account; its error is for what concerns all.
func Locate(ctx context.Context, host *remote.Host, facts *Facts, list *Listing, o LocateOptions) (*Stores, error) {
	l := &locator{facts: facts, list: list, o: o, stores: &Stores{ByAddress: map[string]Seen{}, Given: o.Layout != ""}, told: map[string]answer{}}
	if err := l.ask(ctx, host); err != nil {
		return nil, err
	}
	if o.Layout == "" {
		l.guess()
	} else if err := l.fixed(); err != nil {
		return nil, err
	}
	if err := l.survey(ctx, host); err != nil {
		return nil, err
	}
	return l.stores, nil
}

type locator struct {
	facts  *Facts
	list   *Listing
	o      LocateOptions
	stores *Stores
	told   map[string]answer // what Dovecot said, by address
	places []place           // candidates
}

// place is where an account's mail may be.
type place struct {
	account int // index in the listing
	home    string
	inner   Location      // as Dovecot knows it, without variables
	store   migrate.Store // as the host does
}

// raw is an account's address as the old server writes it, in lower case as
// Dovecot makes it (auth_username_format).
func (l *locator) raw(address string) string {
	return strings.ToLower(first(l.list.columns[address].raw, address))
}

// fixed takes the layout that was given. What Dovecot says is looked at beside it:
// with a wrong layout, mail or UIDs would be left behind.
func (l *locator) fixed() error {
	location := parseLocation(l.o.Layout)
	if location.Driver != "maildir" || location.Path == "" || len(location.Odd) > 0 {
		return &problem{
			fmt.Sprintf("layout %q is not maildir:PATH with LAYOUT=fs, CONTROL=PATH or INDEX=PATH", l.o.Layout),
			"for example: --layout 'maildir:/var/vmail/%d/%n/Maildir'",
		}
	}
	for i, account := range l.list.Accounts {
		u := user{name: l.raw(account.Address)}
		told, known := l.told[account.Address]
		if home, err := u.resolve(first(told.home, l.facts.Dovecot.Home)); err == nil {
			u.home = home
		}
		p, err := l.at(i, u, location)
		if err != nil {
			return &problem{"layout: " + err.Error(), "for example: --layout 'maildir:/var/vmail/%d/%n/Maildir'"}
		}
		l.places = append(l.places, p)
		if !known {
			continue
		}
		word, err := l.at(i, u, overridden(l.facts.Dovecot.Mail, told.mail))
		if err == nil && (word.store.Maildir != p.store.Maildir || word.store.Control != p.store.Control) {
			l.places = append(l.places, word)
		}
	}
	return nil
}

// at makes paths of a location: as Dovecot knows them, and as the host does.
func (l *locator) at(account int, u user, location Location) (place, error) {
	p := place{account: account, home: u.home, inner: location, store: migrate.Store{Layout: first(location.Layout, "maildir++")}}
	for _, f := range []struct {
		inner, outer *string
		setting      string
		needed       bool
	}{
		{&p.inner.Path, &p.store.Maildir, first(location.Path, "~/Maildir"), true},
		{&p.inner.Control, &p.store.Control, location.Control, true},
		{&p.inner.Index, &p.store.Index, location.Index, false},
		{new(string), &p.store.Sieve, l.facts.Dovecot.Sieve, false},
		{new(string), &p.store.Scripts, l.facts.Dovecot.Scripts, false},
	} {
		path, err := u.resolve(f.setting)
		if err != nil && f.needed {
			return p, err
		}
		*f.inner, *f.outer = path, l.facts.outside(path)
		if f.needed && path != "" && *f.outer == "" {
			return p, fmt.Errorf("%s is inside container %s only, in no volume", clean(path), l.facts.Dovecot.Container)
		}
	}
	inbox := l.facts.Dovecot.Inbox
	p.store.Separator, p.store.Prefix = inbox.Separator, inbox.Prefix
	if p.store.Separator == 0 {
		p.store.Separator = map[bool]byte{true: '.', false: '/'}[p.store.Layout == "maildir++"]
	}
	return p, nil
}

// unplaced are accounts that nothing is known of yet, by index.
func (l *locator) unplaced() (list []int) {
	placed := map[int]bool{}
	for _, p := range l.places {
		placed[p.account] = true
	}
	for i, account := range l.list.Accounts {
		if _, noted := l.stores.ByAddress[account.Address]; !noted && !placed[i] {
			list = append(list, i)
		}
	}
	return list
}
