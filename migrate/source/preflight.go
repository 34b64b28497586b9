package source

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mailstack/migrate"
)

// Level of a check.
type Level int

// The levels there are.
const (
	OK   Level = iota
	Warn       // it can be moved, and somebody should know
	Fail       // it cannot
)

// String is "ok", "warn" or "fail".
func (l Level) String() string { return [...]string{"ok", "warn", "fail"}[l] }

// Check is one thing that was looked at before anything is copied. Text and
// Remedy are one line each.
type Check struct {
	Name   string
	Level  Level
	Text   string
	Remedy string // what to do; "" where there is nothing to do
}

// Needs is what the new server has.
type Needs struct {
	FreeBytes int64 // where mail will lie; -1 not known
	// BroughtBytes is how much of the mail is there already, by an earlier run.
	BroughtBytes int64
	Rsync        error // what is wrong with the rsync here
	// OctetsPerSecond is what comes from the old server, see Speed; 0 not known.
	OctetsPerSecond float64
	Chosen          bool // the list is not of all accounts there
}

// Preflight says whether the old server can be moved, check by check, always in
// the same order. list and stores are nil where it did not come to that.
func Preflight(f *Facts, list *Listing, stores *Stores, n Needs) []Check {
	p := &preflight{f: f, list: list, stores: stores}
	p.host()
	p.rsync(n)
	p.dovecot()
	p.folders()
	p.pop3()
	if list != nil {
		p.accounts()
		p.passwords()
	}
	if list != nil && stores != nil {
		p.found(n.Chosen)
		p.given()
		p.layout()
		p.falseSizes()
		p.size(n)
		p.time(n)
		p.sieve()
	}
	p.mail()
	if list != nil && len(list.Left) > 0 {
		p.add("left", Warn, fmt.Sprintf("%s not carried over; the first: %s", count(len(list.Left), "thing is", "things are"), list.Left[0]),
			"look through the list: some of it may have to be made by hand")
	}
	return p.checks
}

type preflight struct {
	f      *Facts
	list   *Listing
	stores *Stores
	checks []Check
}

func (p *preflight) add(name string, level Level, text, remedy string) {
	p.checks = append(p.checks, Check{name, level, text, remedy})
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (p *preflight) host() {
	if p.f.UID == 0 {
		p.add("rights", OK, "everything can be read there", "")
	} else {
		p.add("rights", Warn, fmt.Sprintf("ssh logs in as uid %d, which may not read everybody's mail", p.f.UID), "log in as root, or use --sudo")
	}
	if p.f.OS != "" {
		p.add("system", OK, p.f.OS, "")
	}
}

// rsync looks at both ends.
func (p *preflight) rsync(n Needs) {
	old := migrate.CheckRsyncVersion(p.f.Target, "rsync version "+p.f.Rsync)
	switch {
	case p.f.Rsync == "":
		p.add("rsync", Fail, "rsync is not installed there", "install it there: apt-get install rsync")
	case old != nil:
		p.add("rsync", Fail, clean(old.Error()), "install a newer rsync there, or "+byIMAP)
	case n.Rsync != nil:
		p.add("rsync", Fail, clean(n.Rsync.Error()), "install it here: apt-get install rsync")
	default:
		p.add("rsync", OK, "rsync "+p.f.Rsync, "")
	}
}

func (p *preflight) dovecot() {
	d := &p.f.Dovecot
	in := ""
	if d.Container != "" {
		in = " in container " + d.Container
	}
	switch {
	case d.Version == "" && len(p.f.Boxes) > 1:
		p.add("dovecot", Fail, "several containers may be the one that runs Dovecot: "+enumerate(p.f.Boxes), "name it: --container")
	case d.Version == "":
		p.add("dovecot", Warn, "no Dovecot was found there", "if it is in a container, name it (--container); if the server is another one, "+byIMAP)
	case d.Error != "":
		p.add("dovecot", Warn, "Dovecot "+d.Version+in+" does not read its configuration: "+d.Error, "correct it, or say where mail lies (--layout)")
	default:
		p.add("dovecot", OK, "Dovecot "+d.Version+in, "")
	}
	if why := unsuitable(d.Mail); why != "" {
		p.add("format", Fail, "mail there cannot be copied as files: "+why, byIMAP)
	} else if d.Mail.Driver == "maildir" {
		p.add("format", OK, "Maildir ("+d.Mail.Layout+")", "")
	}
	if slices.Contains(d.Plugins, "mail_crypt") || len(d.settings.of("crypt")) > 0 {
		p.add("encryption", Fail, "mail there is encrypted (mail_crypt): only Dovecot there can read the files", byIMAP)
	}
	if slices.Contains(d.Plugins, "zlib") || slices.Contains(d.Plugins, "mail_compress") {
		p.compression()
	}
}

func (p *preflight) compression() {
	if p.stores == nil {
		p.add("compression", Warn, "messages there may be compressed (zlib, mail_compress); such files only Dovecot there can read", byIMAP)
		return
	}
	if n := p.seen(func(s Seen) bool { return s.Compressed }); n > 0 {
		p.add("compression", Fail, count(n, "account has", "accounts have")+" compressed messages (zlib, mail_compress): only Dovecot there can read the files",
			byIMAP+", which reads them uncompressed; or copy the others only (--only)")
		return
	}
	p.add("compression", OK, "messages may be compressed there, but none is", "")
}

func (p *preflight) folders() {
	d := &p.f.Dovecot
	if d.Inbox.Prefix != "" || d.Inbox.Separator != 0 {
		separator := string(d.Inbox.Separator)
		if d.Inbox.Separator == 0 {
			separator = "of the layout"
		}
		p.add("folders", OK, fmt.Sprintf("folders there begin with %q, separator %s; here with nothing, separator /", d.Inbox.Prefix, separator), "")
	}
	if len(d.Others) > 0 {
		p.add("namespaces", Warn, "mail in these namespaces lies elsewhere and is not copied: "+enumerate(d.Others), byIMAP)
	}
	if len(d.Shared) > 0 {
		p.add("shared", Warn, "what is shared there is not shared here (namespaces "+enumerate(d.Shared)+"); each owner's mail is copied", "")
	}
}

func (p *preflight) accounts() {
	l := p.list
	from := l.Schema
	if l.Database != "" {
		from += ", database " + clean(l.Database)
	}
	disabled := 0
	for _, account := range l.Accounts {
		if account.Disabled {
			disabled++
		}
	}
	text := fmt.Sprintf("%s, %s, %s (%s)", count(len(l.Accounts), "account", "accounts"), count(len(l.Aliases), "alias", "aliases"),
		count(len(l.Domains), "domain", "domains"), from)
	if disabled > 0 {
		text += fmt.Sprintf("; %d disabled", disabled)
	}
	if len(l.Accounts) == 0 {
		p.add("accounts", Fail, "there are no accounts ("+from+")", "if they are elsewhere: --database, --map or --container")
		return
	}
	p.add("accounts", OK, text, "")
}

func (p *preflight) passwords() {
	var good, refused []string
	n := 0
	for _, s := range p.list.Schemes {
		text := fmt.Sprintf("%s %d", first(s.Scheme, "none"), s.Count)
		if s.Refused {
			refused = append(refused, text)
			n += s.Count
		} else {
			good = append(good, text)
		}
	}
	if len(good) > 0 {
		p.add("passwords", OK, "carried over: "+enumerate(good), "")
	}
	if n > 0 {
		p.add("new-passwords", Warn, fmt.Sprintf("%s a new password, as Dovecot 2.4 does not verify what there is: %s",
			count(n, "account needs", "accounts need"), enumerate(refused)), "mailstack account passwd; hashes like MD5 come along with --allow-weak-hashes, until the first login replaces them")
	}
}

// seen counts accounts.
func (p *preflight) seen(is func(Seen) bool) (n int) {
	for _, s := range p.stores.ByAddress {
		if is(s) {
			n++
		}
	}
	return n
}

func (p *preflight) found(chosen bool) {
	n := 0
	var absent []string
	wrong, places := map[string][]string{}, map[string][]string{}
	for _, account := range p.list.Accounts {
		switch s := p.stores.ByAddress[account.Address]; s.State {
		case Found:
			n++
			places[s.Real] = append(places[s.Real], account.Address)
		case Absent:
			absent = append(absent, account.Address)
		default:
			if s.Elsewhere != "" {
				continue // see given
			}
			wrong[s.Problem] = append(wrong[s.Problem], account.Address)
		}
	}
	by := p.by()
	// Accounts that somebody chose may well have no mail yet.
	if n == 0 && len(absent) > 0 && len(absent) == len(p.list.Accounts) && !chosen {
		p.add("stores", Fail, fmt.Sprintf("there is no mail of any account (%s): nothing is in %s", by, clean(p.list.Accounts[0].Store.Maildir)),
			"if a disk is not mounted there, mount it; else say where mail lies (--layout)")
		return
	}
	p.add("stores", OK, fmt.Sprintf("mail of %s found (%s)%s", count(n, "account", "accounts"), by, p.owners()), "")
	if len(absent) > 0 {
		p.add("no-mail", Warn, count(len(absent), "account has", "accounts have")+" no mail there: "+enumerate(absent),
			"if there should be some: say where it lies (--layout)")
	}
	if len(wrong) > 0 {
		total := 0
		var texts []string
		for _, why := range slices.Sorted(maps.Keys(wrong)) {
			total += len(wrong[why])
			texts = append(texts, why+" ("+enumerate(wrong[why])+")")
		}
		const most = 3
		text := strings.Join(texts[:min(len(texts), most)], "; ") + more(len(texts)-most)
		p.add("unusable", Fail, "mail of "+count(total, "account", "accounts")+" cannot be copied: "+text, byIMAP+", for these or for all")
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		if who := places[place]; len(who) > 1 {
			p.add("same-mail", Fail, enumerate(who)+" have the same mail ("+clean(place)+"), which may be a link to somebody else's",
				"look at it; if it is meant, move one of them (--only) and make the others aliases")
		}
	}
}

// owners says whose the files are there; here they are all the mail server's.
func (p *preflight) owners() string {
	seen := map[string]bool{}
	for _, s := range p.stores.ByAddress {
		if s.State == Found && s.UID >= 0 {
			seen[fmt.Sprintf("%d:%d", s.UID, s.GID)] = true
		}
	}
	if len(seen) == 0 {
		return ""
	}
	return "; it belongs there to " + enumerate(slices.Sorted(maps.Keys(seen)))
}

// falseSizes says which accounts would have to wait in the end.
func (p *preflight) falseSizes() {
	var who []string
	for _, account := range p.list.Accounts {
		if s := p.stores.ByAddress[account.Address]; s.State == Found && s.Odd > 0 {
			who = append(who, account.Address)
		}
	}
	if len(who) > 0 {
		p.add("false-sizes", Warn, "there are messages whose file names state another size (,S=) than they have, which Dovecot cannot show: "+enumerate(who),
			"rename these files there, without ,S= and ,W=: their accounts are opened only then")
	}
}

func (p *preflight) size(n Needs) {
	var files, bytes int64
	for _, account := range p.list.Accounts {
		files += account.Store.Files
		bytes += account.Store.Bytes
	}
	mebibytes := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	text := fmt.Sprintf("%s in %d files", mebibytes(bytes), files)
	if brought := min(n.BroughtBytes, bytes); brought > 0 {
		text += fmt.Sprintf(", of which %s are here already", mebibytes(brought))
		bytes -= brought
	}
	switch {
	case n.FreeBytes < 0:
		p.add("size", OK, text, "")
	case bytes > n.FreeBytes:
		p.add("size", Fail, fmt.Sprintf("%s, and %s are free here", text, mebibytes(n.FreeBytes)), "make room, or give mail a larger disk ([data] vmail)")
	case bytes > n.FreeBytes/10*9:
		p.add("size", Warn, fmt.Sprintf("%s, and only %s are free here", text, mebibytes(n.FreeBytes)), "make room, or give mail a larger disk ([data] vmail)")
	default:
		p.add("size", OK, fmt.Sprintf("%s; %s are free here", text, mebibytes(n.FreeBytes)), "")
	}
}

// time says how long the first copy takes. Those after it bring only what is new.
func (p *preflight) time(n Needs) {
	if n.OctetsPerSecond <= 0 {
		return
	}
	var all migrate.Amount
	for _, account := range p.list.Accounts {
		all.Messages += account.Store.Files
		all.Bytes += account.Store.Bytes
	}
	about := all.Time(n.OctetsPerSecond)
	text := "under a minute"
	if about >= time.Minute {
		text = "about " + strings.TrimSuffix(about.Round(time.Minute).String(), "0s")
	}
	p.add("time", OK, fmt.Sprintf("%s for the first copy, at %.0f MiB/s as ssh has it now", text, n.OctetsPerSecond/(1<<20)), "")
}

func (p *preflight) sieve() {
	n := 0
	var outside []string
	for _, account := range p.list.Accounts {
		if account.Store.Sieve != "" {
			n++
		}
		if s := p.stores.ByAddress[account.Address]; s.Outside != "" {
			outside = append(outside, account.Address)
		}
	}
	if n > 0 {
		p.add("sieve", OK, count(n, "account has", "accounts have")+" an active Sieve script", "")
	}
	if len(outside) > 0 {
		p.add("sieve-links", Warn, "the active Sieve script is a link out of the account's own directory, and not copied: "+enumerate(outside), "look at it, and put it in place by hand")
	}
}

// mail is about what is on its way and what signs it.
func (p *preflight) mail() {
	m := p.f.MTA
	switch {
	case m.Queue > 0:
		p.add("queue", Warn, fmt.Sprintf("%s waits in the queue of the old server (%s)", count(m.Queue, "message", "messages"), m.Name),
			"the old server goes on delivering it; the last copy waits for that, or, from Postfix, takes over what is for the accounts")
	case m.Queue == 0:
		p.add("queue", OK, "the queue is empty ("+m.Name+")", "")
	}
	if m.Delimiter != "" && m.Delimiter != "+" {
		p.add("delimiter", Warn, fmt.Sprintf("addresses are extended by %q there, here by + only", m.Delimiter), "whoever uses such addresses needs aliases")
	}
	if len(p.f.DKIM) > 0 {
		p.add("dkim", Warn, "mail is signed there ("+strings.Join(p.f.DKIM[:1], "")+more(len(p.f.DKIM)-1)+"); the keys are not taken over", "remove its records from the DNS when the old server is gone")
	}
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
