package source

import (
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// guess makes places of what is known. Dovecot's word is taken as it is; for
// accounts it says nothing of (those that are disabled, or all while it is
// stopped) there may be several, of which the one that exists counts.
func (l *locator) guess() {
	for i, account := range l.list.Accounts {
		a, found := l.told[account.Address]
		if !found {
			continue
		}
		l.place(i, a.home, overridden(l.facts.Dovecot.Mail, a.mail))
	}
	patterns := l.learn()
	for _, i := range l.unplaced() {
		l.candidates(i, patterns)
	}
}

// place adds where an account's mail is, or notes why that is not used.
func (l *locator) place(account int, home string, location Location) {
	address := l.list.Accounts[account].Address
	why := unsuitable(location)
	if why == "" {
		p, err := l.at(account, user{l.raw(address), home}, location)
		if err == nil {
			l.places = append(l.places, p)
			return
		}
		why = err.Error()
	}
	l.stores.ByAddress[address] = Seen{State: Unusable, Problem: why, UID: -1, GID: -1}
}

// unsuitable says why mail at a location is not copied as files.
func unsuitable(l Location) string {
	if l.Driver != "" && l.Driver != "maildir" && l.Driver != "auto" {
		return "its format is " + clean(l.Driver) + ", not Maildir"
	}
	if l.Layout != "" && l.Layout != "maildir++" && l.Layout != "fs" {
		return "the layout of its folders is " + clean(l.Layout) + ", which is not supported"
	}
	if len(l.Odd) > 0 {
		return "its location has " + enumerate(l.Odd) + ", which is not supported"
	}
	return ""
}

// overridden is the general location with what an account has of its own.
func overridden(general, own Location) Location {
	if own.Path == "" {
		return general
	}
	if own.Driver != "" { // a whole location
		return own
	}
	own.Driver, own.Odd = general.Driver, general.Odd
	own.Layout, own.Control, own.Index = first(own.Layout, general.Layout), first(own.Control, general.Control), first(own.Index, general.Index)
	return own.complete()
}

// learnt is where most accounts have their mail, with variables.
type learnt struct {
	home     string
	location Location
}

// learn makes patterns of the places that Dovecot named: where others have
// their mail, those it does not speak of have it too.
func (l *locator) learn() (patterns []learnt) {
	counts := map[string]int{}
	byKey := map[string]learnt{}
	for _, p := range l.places {
		u := user{name: l.raw(l.list.Accounts[p.account].Address)}
		location := p.inner
		location.Path, location.Control, location.Index = u.pattern(location.Path), u.pattern(location.Control), u.pattern(location.Index)
		home := u.pattern(p.home)
		if location.Path == strings.ReplaceAll(p.inner.Path, "%", "%%") {
			continue // nothing of it is this user's
		}
		key := strings.Join([]string{home, location.Path, location.Layout, location.Control, location.Index}, "\n")
		counts[key]++
		byKey[key] = learnt{home, location}
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(counts[y]-counts[x], strings.Compare(x, y))
	})
	for _, key := range keys[:min(len(keys), 3)] {
		patterns = append(patterns, byKey[key])
	}
	return patterns
}

// pattern is the inverse of expand: a path with the parts of the user's name
// replaced by variables.
func (u user) pattern(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch s {
		case u.name:
			segments[i] = "%u"
		case u.domain():
			segments[i] = "%d"
		case u.local():
			segments[i] = "%n"
		default:
			segments[i] = strings.ReplaceAll(s, "%", "%%")
		}
	}
	return strings.Join(segments, "/")
}

// candidates adds the places where an account's mail may be of which Dovecot
// says nothing: what the tables say, where others have it, what the
// configuration says.
func (l *locator) candidates(account int, patterns []learnt) {
	address := l.list.Accounts[account].Address
	c := l.list.columns[address]
	general := l.facts.Dovecot.Mail
	u := user{name: l.raw(address)}
	before := len(l.places)
	why := "where its mail lies is not known: say it (--layout)"
	add := func(home string, location Location) {
		if problem := unsuitable(location); problem != "" {
			why = problem
			return
		}
		u.home = home
		p, err := l.at(account, u, location)
		if err != nil {
			why = err.Error()
			return
		}
		if !slices.ContainsFunc(l.places[before:], func(q place) bool { return q.store.Maildir == p.store.Maildir }) {
			l.places = append(l.places, p)
		}
	}
	if problem := unsuitable(Location{Driver: c.format}); problem != "" {
		l.stores.ByAddress[address] = Seen{State: Unusable, Problem: problem, UID: -1, GID: -1}
		return
	}
	for _, home := range l.homes(c) {
		if strings.Contains(c.maildir, ":") {
			add(home, overridden(general, parseLocation(c.maildir)))
		} else if home != "" {
			add(home, general)
		}
	}
	for _, p := range l.rooted(c.maildir) {
		// The column is the home that a relative mail_location is in, or the Maildir.
		if strings.HasPrefix(general.Path, "~/") {
			add(p, general)
		}
		own := general
		own.Path = strings.ReplaceAll(p, "%", "%%")
		add(p, own)
	}
	for _, pattern := range patterns {
		home, _ := user{name: u.name}.expand(pattern.home)
		add(home, pattern.location)
	}
	home, _ := user{name: u.name}.resolve(l.facts.Dovecot.Home)
	if general.Path != "" && (home != "" || !strings.HasPrefix(general.Path, "~")) {
		add(home, general)
	}
	if len(l.places) == before {
		l.stores.ByAddress[address] = Seen{State: Unknown, Problem: why, UID: -1, GID: -1}
	}
}

// homes are what the column of homes may mean.
func (l *locator) homes(c columns) []string {
	if c.home == "" {
		return []string{""}
	}
	return l.rooted(c.home)
}

// rooted makes a column's path absolute: below each directory where mail may
// be, if it is not absolute already.
func (l *locator) rooted(column string) (paths []string) {
	if column == "" || strings.Contains(column, ":") {
		return nil
	}
	if strings.HasPrefix(column, "/") {
		return []string{path.Clean(column)}
	}
	if slices.Contains(strings.Split(column, "/"), "..") {
		return nil
	}
	for _, base := range l.bases() {
		paths = append(paths, path.Join(base, column))
	}
	return paths
}

// inQuotes are the absolute paths in a query: CONCAT('/var/vmail/', maildir).
var inQuotes = regexp.MustCompile(`'(?:maildir:)?(/[^'%:]*)'`)

// bases are the directories that relative paths in a table may be below.
func (l *locator) bases() (bases []string) {
	add := func(base string) {
		if checked, err := checkPath(base); err == nil && !slices.Contains(bases, checked) && len(bases) < 10 {
			bases = append(bases, checked)
		}
	}
	for _, c := range l.facts.SQL {
		for _, m := range inQuotes.FindAllStringSubmatch(c.Query, 10) {
			add(m[1])
		}
	}
	for _, setting := range []string{l.facts.Dovecot.Mail.Path, l.facts.Dovecot.Home} {
		if fixed, _, variable := strings.Cut(setting, "%"); variable {
			add(path.Dir(fixed + "x"))
		}
	}
	add(l.facts.MTA.MailboxBase)
	return bases
}
