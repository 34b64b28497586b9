package source

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Mapping says which tables and columns tell who has mail. The built-in schemas
// are values of it; a file in TOML (--map) can hold another:
//
//	database = "mail"            # needed if there are several
//	scheme   = "SHA512-CRYPT"    # of hashes that do not begin with {SCHEME}
//
//	[accounts]
//	table      = "users"
//	address    = "email"         # or, in two columns:
//	#local     = "login"
//	#domain    = "domain_id"     # a name, or the id of a row of [domains]
//	password   = "password"
//	quota      = "quota"
//	quota_unit = "MiB"           # bytes (default), KiB, MiB, GiB
//	active     = "enabled"       # 0, n, no, false, f, off or empty: disabled
//	home       = "home"          # absolute, or below where Dovecot keeps mail
//	maildir    = "maildir"       # the same, or a whole mail_location
//
//	[domains]
//	table  = "domains"
//	name   = "name"
//	id     = "id"
//	active = "enabled"
//
//	[aliases]
//	table   = "aliases"
//	address = "source"           # or local and domain, as above
//	targets = "destination"      # one address, or several with commas between
//	active  = "enabled"
//
//	[alias_domains]
//	table  = "alias_domains"
//	from   = "alias_domain"
//	to     = "target_domain"
//	active = "enabled"
//
// Only [accounts] with table, password and an address is needed.
type Mapping struct {
	Database     string         `toml:"database"`
	Scheme       string         `toml:"scheme"`
	Accounts     AccountMap     `toml:"accounts"`
	Domains      DomainMap      `toml:"domains"`
	Aliases      AliasMap       `toml:"aliases"`
	AliasDomains AliasDomainMap `toml:"alias_domains"`

	name string
	// adjust changes rows before they are read, for what columns alone do not say;
	// may be nil.
	adjust func(b *builder, t tables)
}

// AccountMap is the table of accounts.
type AccountMap struct {
	Table     string `toml:"table"`
	Address   string `toml:"address"`
	Local     string `toml:"local"`
	Domain    string `toml:"domain"`
	Password  string `toml:"password"`
	Quota     string `toml:"quota"`
	QuotaUnit string `toml:"quota_unit"`
	Active    string `toml:"active"`
	Home      string `toml:"home"`
	Maildir   string `toml:"maildir"`
	format    string
}

// DomainMap is the table of domains.
type DomainMap struct {
	Table    string `toml:"table"`
	Name     string `toml:"name"`
	ID       string `toml:"id"`
	Active   string `toml:"active"`
	backupMX string
}

// AliasMap is the table of aliases.
type AliasMap struct {
	Table   string `toml:"table"`
	Address string `toml:"address"`
	Local   string `toml:"local"`
	Domain  string `toml:"domain"`
	Targets string `toml:"targets"`
	Active  string `toml:"active"`
}

// AliasDomainMap is the table of domains that stand for another.
type AliasDomainMap struct {
	Table  string `toml:"table"`
	From   string `toml:"from"`
	To     string `toml:"to"`
	Active string `toml:"active"`
}

var quotaUnits = map[string]int64{"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// maxMapFile is how large a file of --map may be.
const maxMapFile = 64 << 10

// ParseMapping reads a file of --map. Its error names all that is wrong.
func ParseMapping(file string, in io.Reader) (*Mapping, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxMapFile+1))
	if err == nil && len(text) > maxMapFile {
		err = fmt.Errorf("it is larger than %d bytes", maxMapFile)
	}
	m := &Mapping{name: "map"}
	var meta toml.MetaData
	if err == nil {
		meta, err = toml.Decode(string(text), m)
	}
	if err != nil {
		return nil, &problem{fmt.Sprintf("read %s: %v", file, err), ""}
	}
	var wrong []string
	for _, key := range meta.Undecoded() {
		wrong = append(wrong, "unknown key "+key.String())
	}
	need := func(key, value string) {
		if value == "" {
			wrong = append(wrong, key+" is missing")
		}
	}
	addressed := func(key, address, local, domain string) {
		if (address == "") == (local == "" && domain == "") || (local == "") != (domain == "") {
			wrong = append(wrong, key+" needs either address or local and domain")
		}
	}
	need("accounts.table", m.Accounts.Table)
	need("accounts.password", m.Accounts.Password)
	addressed("accounts", m.Accounts.Address, m.Accounts.Local, m.Accounts.Domain)
	if _, known := quotaUnits[m.Accounts.QuotaUnit]; !known {
		wrong = append(wrong, fmt.Sprintf("accounts.quota_unit %q is not bytes, KiB, MiB or GiB", m.Accounts.QuotaUnit))
	}
	if m.Domains != (DomainMap{}) {
		need("domains.table", m.Domains.Table)
		need("domains.name", m.Domains.Name)
	}
	if m.Aliases != (AliasMap{}) {
		need("aliases.table", m.Aliases.Table)
		need("aliases.targets", m.Aliases.Targets)
		addressed("aliases", m.Aliases.Address, m.Aliases.Local, m.Aliases.Domain)
	}
	if m.AliasDomains != (AliasDomainMap{}) {
		need("alias_domains.table", m.AliasDomains.Table)
		need("alias_domains.from", m.AliasDomains.From)
		need("alias_domains.to", m.AliasDomains.To)
	}
	if len(wrong) > 0 {
		return nil, &problem{fmt.Sprintf("read %s: %s", file, strings.Join(wrong, "\nread "+file+": ")), ""}
	}
	return m, nil
}

// columns are those that the mapping names, by table, in lower case.
func (m *Mapping) columns() map[string][]string {
	named := map[string][]string{}
	add := func(table string, columns ...string) {
		if table == "" {
			return
		}
		table = strings.ToLower(table)
		for _, column := range columns {
			if column = strings.ToLower(column); column != "" && !slices.Contains(named[table], column) {
				named[table] = append(named[table], column)
			}
		}
	}
	a, d, l, x := m.Accounts, m.Domains, m.Aliases, m.AliasDomains
	add(a.Table, a.Address, a.Local, a.Domain, a.Password, a.Quota, a.Active, a.Home, a.Maildir, a.format)
	add(d.Table, d.Name, d.ID, d.Active, d.backupMX)
	add(l.Table, l.Address, l.Local, l.Domain, l.Targets, l.Active)
	add(x.Table, x.From, x.To, x.Active)
	return named
}

// missing are the columns that the mapping names and the database does not
// have.
func (m *Mapping) missing(have map[string][]string) (missing []string) {
	named := m.columns()
	for _, table := range slices.Sorted(maps.Keys(named)) {
		if _, found := have[table]; !found {
			missing = append(missing, "table "+table)
			continue
		}
		for _, column := range named[table] {
			if !slices.Contains(have[table], column) {
				missing = append(missing, "column "+table+"."+column)
			}
		}
	}
	return missing
}

// get is a column's value, "" for NULL and for a column that is not mapped.
func (r row) get(column string) string { return r[strings.ToLower(column)] }

// read turns tables into a listing.
func (m *Mapping) read(t tables, scheme string) *Listing {
	b := newBuilder(m.name, first(strings.ToUpper(m.Scheme), scheme))
	b.open = m.Domains.Table == ""
	if m.adjust != nil {
		m.adjust(b, t)
	}
	ids := map[string]string{}
	for _, r := range t[strings.ToLower(m.Domains.Table)] {
		name := r.get(m.Domains.Name)
		if m.Domains.ID != "" {
			ids[r.get(m.Domains.ID)] = name
		}
		if m.Domains.backupMX != "" && truth(r.get(m.Domains.backupMX)) {
			b.skipDomain(name, "the server is only its backup MX")
			continue
		}
		b.domain(name, m.Domains.Active == "" || truth(r.get(m.Domains.Active)))
	}
	address := func(r row, whole, local, domain string) string {
		text := r.get(whole)
		if whole != "" && (local == "" || strings.Contains(text, "@")) {
			return text
		}
		if whole == "" {
			text = r.get(local)
		}
		in := r.get(domain)
		if name, found := ids[in]; found {
			in = name
		} else if _, err := strconv.Atoi(in); err == nil {
			in = "(no domain with id " + in + ")"
		}
		return text + "@" + in
	}
	for _, r := range t[strings.ToLower(m.Accounts.Table)] {
		a := m.Accounts
		b.account(address(r, a.Address, a.Local, a.Domain), r.get(a.Password), quota(r.get(a.Quota), quotaUnits[a.QuotaUnit]),
			a.Active == "" || truth(r.get(a.Active)), columns{
				home: r.get(a.Home), maildir: r.get(a.Maildir), format: strings.ToLower(r.get(a.format)),
			})
	}
	for _, r := range t[strings.ToLower(m.Aliases.Table)] {
		l := m.Aliases
		b.alias(address(r, l.Address, l.Local, l.Domain), strings.FieldsFunc(r.get(l.Targets), func(c rune) bool {
			return c == ',' || c == '\n' || c == '\r'
		}), l.Active == "" || truth(r.get(l.Active)))
	}
	for _, r := range t[strings.ToLower(m.AliasDomains.Table)] {
		x := m.AliasDomains
		b.aliasDomain(r.get(x.From), r.get(x.To), x.Active == "" || truth(r.get(x.Active)))
	}
	return b.finish()
}

// truth reads what schemas write for yes and no: 1, y, t, a bit. mailcow's 2 is
// an account that takes mail and lets nobody in.
func truth(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "2", "n", "no", "f", "false", "off", "\x00", "disabled", "inactive":
		return false
	}
	return true
}

// quota is bytes; what is no number, or negative, is none.
func quota(value string, unit int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || n <= 0 || unit <= 0 {
		return 0
	}
	if n > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return n * unit
}
