package source

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mailstack/accounts"
	"mailstack/migrate"
)

// Listing is who has mail on the old server, and what its tables say of where.
type Listing struct {
	migrate.Directory
	Database string // it was read from; "" where it was files
	Schemes  []SchemeCount
	// columns are what the tables say of a store, by address.
	columns map[string]columns
}

// SchemeCount is how many accounts have a password of a scheme.
type SchemeCount struct {
	Scheme string // "" for those that have none
	Count  int
	// Refused: Dovecot 2.4 does not verify it; those accounts need new passwords.
	Refused bool
}

// columns are what a table says of an account's store.
type columns struct {
	raw     string // the address as the old server writes it
	home    string // absolute, or below a directory that only Dovecot's configuration names
	maildir string // the same, or a whole mail_location
	format  string // "maildir", "mdbox", …; "" not said
}

// builder puts a directory together and keeps out what cannot be carried over.
type builder struct {
	list     Listing
	scheme   string          // of hashes that name none
	open     bool            // there is no list of domains: those of the addresses count
	domains  map[string]bool // name: whether it is in use there
	skipped  map[string]bool // domains that are not moved
	accounts map[string]int  // index by address
	aliases  map[string]*migrate.Alias
}

func newBuilder(schema, scheme string) *builder {
	return &builder{
		list:    Listing{Directory: migrate.Directory{Schema: schema}, columns: map[string]columns{}},
		scheme:  scheme,
		domains: map[string]bool{}, skipped: map[string]bool{}, accounts: map[string]int{}, aliases: map[string]*migrate.Alias{},
	}
}

// left notes what is not carried over.
func (b *builder) left(what, why string, args ...any) {
	switch n := len(b.list.Left); {
	case n < maxLeft:
		b.list.Left = append(b.list.Left, clean(what)+": "+fmt.Sprintf(why, args...))
	case n == maxLeft:
		b.list.Left = append(b.list.Left, fmt.Sprintf("and more than %d others", maxLeft))
	}
}

// because is the reason in an error of package accounts, which quotes what the
// line begins with.
func because(err error) string {
	var invalid *accounts.AddressError
	if errors.As(err, &invalid) {
		return clean(invalid.Reason)
	}
	return clean(err.Error())
}

// domain adds one; active says whether the old server takes mail for it.
func (b *builder) domain(name string, active bool) {
	if name == "" || name == "ALL" { // PostfixAdmin's, for whoever administers all
		return
	}
	domain, err := accounts.ParseDomain(name)
	if err != nil {
		b.left("domain "+name, "%s", because(err))
		return
	}
	if _, found := b.domains[domain]; found {
		return
	}
	b.domains[domain] = active
	if !active {
		b.left("domain "+domain, "it is switched off there, and taken over with its accounts disabled: `mailstack domain remove` ends it")
	}
}

// skipDomain adds one that mail is not delivered for.
func (b *builder) skipDomain(name, why string) {
	b.left("domain "+name, "%s", why)
	if domain, err := accounts.ParseDomain(name); err == nil {
		b.skipped[domain] = true
	}
}

// hosted says whether a domain is one of the old server's. An address in a
// domain that is not listed makes it one where that is how the server has it,
// or where it is an account's.
func (b *builder) hosted(domain string, adopt bool) bool {
	if b.skipped[domain] {
		return false
	}
	if _, found := b.domains[domain]; !found && (adopt || b.open) {
		b.domains[domain] = true
		if !b.open {
			b.left("domain "+domain, "it is missing from the list of domains there, and taken over for its accounts")
		}
	}
	_, found := b.domains[domain]
	return found
}

// account adds a mailbox as a row has it.
func (b *builder) account(address, stored string, quota int64, active bool, c columns) {
	parsed, err := accounts.ParseAccount(address)
	if err != nil {
		b.left("account "+address, "%s", because(err))
		return
	}
	key := parsed.String()
	if earlier, found := b.accounts[key]; found {
		why := "the same account twice"
		if other := b.list.columns[b.list.Accounts[earlier].Address].raw; other != address {
			why = fmt.Sprintf("the same as %s but for capital letters; the first is taken over", clean(other))
		}
		b.left("account "+address, "%s", why)
		return
	}
	if !b.hosted(parsed.Domain, true) {
		b.left("account "+key, "its domain is not moved")
		return
	}
	hash, reason := normalHash(stored, b.scheme)
	if reason != "" {
		b.left("password of "+key, "%s; it needs a new one (mailstack account passwd)", reason)
	} else if !verifiable(hash) {
		b.left("password of "+key, "Dovecot does not verify scheme %s any more; it needs a new one (mailstack account passwd)", clean(schemeOf(hash)))
	}
	c.raw = strings.TrimSpace(address)
	b.list.columns[key] = c
	b.accounts[key] = len(b.list.Accounts)
	b.list.Accounts = append(b.list.Accounts, migrate.Account{
		Address: key, Hash: hash, QuotaBytes: max(quota, 0), Disabled: !active || !b.domains[parsed.Domain],
	})
}

// alias adds targets to an alias. An address without a local part is a
// catch-all, however the old server writes it.
func (b *builder) alias(address string, targets []string, active bool) {
	address = strings.TrimSpace(address)
	if !strings.Contains(address, "@") && address != "" {
		address = "@" + address // iRedMail
	}
	parsed, err := accounts.ParseAlias(address)
	if err != nil {
		b.left("alias "+address, "%s", because(err))
		return
	}
	key := parsed.String()
	if !b.hosted(parsed.Domain, false) {
		b.left("alias "+key, "its domain is not one of the server's, or not moved")
		return
	}
	alias := b.aliases[key]
	if alias == nil {
		alias = &migrate.Alias{Address: key, Disabled: true}
		b.aliases[key] = alias
	}
	// It is several rows in some schemas, and works if one does.
	alias.Disabled = alias.Disabled && !active
	for _, target := range targets {
		if target = strings.TrimSpace(target); target == "" {
			continue
		}
		parsed, why := parseTarget(target)
		if why != "" {
			b.left("alias "+key+" -> "+target, "%s", why)
			continue
		}
		if !slices.Contains(alias.Targets, parsed) {
			alias.Targets = append(alias.Targets, parsed)
		}
	}
}

// parseTarget takes the address that an alias leads to.
func parseTarget(target string) (address, why string) {
	switch {
	case strings.HasPrefix(target, "|"), strings.HasPrefix(target, `"|`):
		return "", "it feeds a program, which is not taken over"
	case strings.HasPrefix(target, "/"), strings.HasPrefix(target, ":include:"):
		return "", "it leads to a file, which is not taken over"
	case strings.Contains(target, "@autoreply."):
		return "", "it answers for somebody who is away: write that in Sieve (vacation)"
	case strings.HasSuffix(target, "@localhost"):
		return "", "it means something to that server only"
	case strings.HasPrefix(target, "@"):
		return "", "a whole domain as a target is not supported"
	case !strings.Contains(target, "@"):
		return "", "a name without a domain is not supported"
	}
	parsed, err := accounts.ParseAddress(target)
	if err != nil {
		return "", because(err)
	}
	return parsed.String(), ""
}

// aliasDomain writes one domain's aliases for another: there are no alias
// domains here.
func (b *builder) aliasDomain(from, to string, active bool) {
	source, errFrom := accounts.ParseDomain(from)
	target, errTo := accounts.ParseDomain(to)
	what := "alias-domain " + from + " -> " + to
	switch {
	case errFrom != nil:
		b.left(what, "%s", because(errFrom))
		return
	case errTo != nil:
		b.left(what, "%s", because(errTo))
		return
	case !active:
		b.left(what, "it is switched off there")
		return
	}
	if listed, found := b.domains[target]; !found || !listed || b.skipped[target] || b.skipped[source] {
		b.left(what, "%s is not moved", target)
		return
	}
	b.domains[source] = true
	n := 0
	add := func(address string, unused bool) {
		local, domain, _ := strings.Cut(address, "@")
		mirrored := local + "@" + source
		_, isAccount := b.accounts[mirrored]
		if domain != target || isAccount || b.aliases[mirrored] != nil || unused {
			return
		}
		b.aliases[mirrored] = &migrate.Alias{Address: mirrored, Targets: []string{address}}
		n++
	}
	for _, account := range b.list.Accounts {
		add(account.Address, false)
	}
	for _, address := range slices.Sorted(maps.Keys(b.aliases)) {
		alias := b.aliases[address]
		if local, domain, _ := strings.Cut(address, "@"); local == "" && domain == target && !alias.Disabled {
			// A catch-all cannot lead to another: it leads where that one does.
			if all := "@" + source; b.aliases[all] == nil {
				b.aliases[all] = &migrate.Alias{Address: all, Targets: slices.Clone(alias.Targets)}
				n++
			}
			continue
		}
		add(address, alias.Disabled || len(alias.Targets) == 0)
	}
	b.left(what, "taken over as %d aliases; a new account needs an alias of its own", n)
}

// finish drops what would be refused or lose mail, and puts everything in
// order.
func (b *builder) finish() *Listing {
	b.forwards()
	b.drop()
	b.list.Domains = slices.Sorted(maps.Keys(b.domains))
	slices.SortFunc(b.list.Accounts, func(x, y migrate.Account) int { return cmp.Compare(x.Address, y.Address) })
	b.list.Aliases = ordered(b.aliases)
	b.countSchemes()
	return &b.list
}

func (b *builder) countSchemes() {
	counts := map[string]SchemeCount{}
	for _, account := range b.list.Accounts {
		scheme := clean(schemeOf(account.Hash))
		c := counts[scheme]
		c.Scheme, c.Refused = scheme, scheme == "" || c.Refused || !verifiable(account.Hash)
		c.Count++
		counts[scheme] = c
	}
	b.list.Schemes = slices.SortedFunc(maps.Values(counts), func(x, y SchemeCount) int {
		return cmp.Or(-cmp.Compare(x.Count, y.Count), cmp.Compare(x.Scheme, y.Scheme))
	})
}
