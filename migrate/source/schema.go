package source

import (
	"maps"
	"slices"
	"strings"
)

// schema is one that is told by its tables and columns.
type schema struct {
	// key is a table whose name may have something in front, as all others have
	// then (PostfixAdmin's database_prefix).
	key     string
	needs   map[string][]string // columns by table
	mapping func(has func(table, column string) bool) Mapping
}

// schemas are looked for in this order: the first three grew out of the
// fourth.
var schemas = []schema{
	// https://github.com/mailcow/mailcow-dockerized/blob/master/data/web/inc/init_db.inc.php
	{"mailbox", map[string][]string{
		"mailbox": {"username", "password", "quota", "kind", "attributes", "active"},
		"alias":   {"address", "goto", "active"}, "domain": {"domain", "active"},
	}, func(has func(string, string) bool) Mapping {
		m := postfixAdminLike("mailcow", has)
		m.Accounts.Maildir = ""
		m.adjust = adjustMailcow
		return m
	}},
	// https://github.com/iredmail/iRedMail/blob/master/samples/iredmail/iredmail.mysql
	{"mailbox", map[string][]string{
		"mailbox": {"username", "password", "quota", "storagebasedirectory", "storagenode", "maildir"}, "domain": {"domain"},
	}, iRedMail},
	// https://github.com/opensolutions/ViMbAdmin/tree/master/doctrine2/xml
	{"mailbox", map[string][]string{
		"mailbox": {"username", "password", "quota", "homedir", "maildir", "domain_id"},
		"alias":   {"address", "goto"}, "domain": {"id", "domain"},
	}, func(has func(string, string) bool) Mapping {
		m := postfixAdminLike("vimbadmin", has)
		m.Accounts.Home = "homedir"
		return m
	}},
	// https://github.com/postfixadmin/postfixadmin/blob/master/public/upgrade.php
	{"mailbox", map[string][]string{
		"mailbox": {"username", "password", "maildir"}, "alias": {"address", "goto"}, "domain": {"domain"},
	}, func(has func(string, string) bool) Mapping { return postfixAdminLike("postfixadmin", has) }},
	// https://workaround.org/ispmail-bookworm/ and the guides of earlier years,
	// whose columns differ.
	{"virtual_users", map[string][]string{
		"virtual_users": {"password"}, "virtual_domains": {"id", "name"},
	}, ispmail},
	{"account", map[string][]string{
		"account": {"address", "password", "quota_bytes", "enabled", "system_account"},
		"alias":   {"address", "target", "system_alias"}, "domain": {"name", "system_domain"},
	}, func(func(string, string) bool) Mapping {
		return Mapping{
			name:     "mailstack",
			Accounts: AccountMap{Table: "account", Address: "address", Password: "password", Quota: "quota_bytes", Active: "enabled", Home: "home"},
			Domains:  DomainMap{Table: "domain", Name: "name"},
			Aliases:  AliasMap{Table: "alias", Address: "address", Targets: "target"},
			adjust: func(_ *builder, t tables) {
				// What every stack makes for itself.
				t.without("account", "system_account")
				t.without("alias", "system_alias")
				t.without("domain", "system_domain")
				for _, r := range t["account"] {
					local, domain, _ := strings.Cut(r["address"], "@")
					r["home"] = "/var/vmail/" + domain + "/" + local
				}
			},
		}
	}},
}

// without drops the rows of a table in which a column says yes.
func (t tables) without(table, column string) {
	t[table] = slices.DeleteFunc(t[table], func(r row) bool { return truth(r[column]) })
}

func postfixAdminLike(name string, has func(table, column string) bool) Mapping {
	m := Mapping{
		name:     name,
		Accounts: AccountMap{Table: "mailbox", Address: "username", Password: "password", Maildir: "maildir"},
		Domains:  DomainMap{Table: "domain", Name: "domain"},
		Aliases:  AliasMap{Table: "alias", Address: "address", Targets: "goto"},
	}
	// Older versions do not have all.
	optional := func(target *string, table, column string) {
		if has(table, column) {
			*target = column
		}
	}
	optional(&m.Accounts.Quota, "mailbox", "quota")
	optional(&m.Accounts.Active, "mailbox", "active")
	optional(&m.Domains.Active, "domain", "active")
	optional(&m.Domains.backupMX, "domain", "backupmx")
	optional(&m.Aliases.Active, "alias", "active")
	if has("alias_domain", "alias_domain") && has("alias_domain", "target_domain") {
		m.AliasDomains = AliasDomainMap{Table: "alias_domain", From: "alias_domain", To: "target_domain"}
		optional(&m.AliasDomains.Active, "alias_domain", "active")
	}
	return m
}

// adjustMailcow drops what is no mailbox: rooms and other things that can be
// booked; and hashes that nobody logs in with.
func adjustMailcow(b *builder, t tables) {
	t["mailbox"] = slices.DeleteFunc(t["mailbox"], func(r row) bool {
		kind := r["kind"]
		if slices.Contains([]string{"location", "thing", "group"}, kind) {
			b.left("account "+r["username"], "a resource of the calendar (%s), no mailbox", kind)
			return true
		}
		return false
	})
	for _, r := range t["mailbox"] {
		if by := r["authsource"]; by != "" && by != "mailcow" {
			r["password"] = ""
		}
	}
}

// iRedMail keeps the targets of aliases in a table of their own (since 0.9.8),
// quotas in MiB, and the path of a home in three columns.
func iRedMail(has func(table, column string) bool) Mapping {
	m := postfixAdminLike("iredmail", has)
	m.Accounts.QuotaUnit = "MiB"
	m.Accounts.Home, m.Accounts.Maildir = "maildir", "mailboxfolder"
	if has("mailbox", "mailboxformat") {
		m.Accounts.format = "mailboxformat"
	}
	if !has("mailbox", "mailboxfolder") {
		m.Accounts.Maildir = ""
	}
	moved := has("forwardings", "forwarding") && has("forwardings", "address")
	if moved {
		m.Aliases = AliasMap{Table: "forwardings", Address: "address", Targets: "forwarding"}
		if has("forwardings", "active") {
			m.Aliases.Active = "active"
		}
	}
	m.adjust = func(b *builder, t tables) {
		for _, r := range t["mailbox"] {
			r["maildir"] = strings.Join([]string{r["storagebasedirectory"], r["storagenode"], r["maildir"]}, "/")
			folder := first(r["mailboxfolder"], "Maildir")
			r["mailboxfolder"] = "maildir:~/" + strings.Trim(folder, "/")
		}
		off := map[string]bool{}
		for _, r := range t["alias"] {
			if active, found := r["active"]; found && !truth(active) {
				off[r["address"]] = true
			}
		}
		t["forwardings"] = slices.DeleteFunc(t["forwardings"], func(r row) bool {
			if off[r["address"]] {
				r["active"] = "0"
			}
			if truth(r["is_maillist"]) {
				b.left("mailing list "+r["address"], "lists (mlmmj) are not taken over")
				return true
			}
			return false
		})
	}
	return m
}

// ispmail finds the columns of the guide's several editions.
func ispmail(has func(table, column string) bool) Mapping {
	pick := func(table string, columns ...string) string {
		for _, column := range columns {
			if has(table, column) {
				return column
			}
		}
		return ""
	}
	m := Mapping{
		name: "ispmail",
		Accounts: AccountMap{
			Table: "virtual_users", Password: "password", Quota: pick("virtual_users", "quota"),
			Active: pick("virtual_users", "active", "enabled", "is_active"), Maildir: pick("virtual_users", "maildir"),
		},
		Domains: DomainMap{
			Table: "virtual_domains", ID: "id", Name: "name", Active: pick("virtual_domains", "active", "enabled", "is_active"),
		},
	}
	if m.Accounts.Address = pick("virtual_users", "email"); m.Accounts.Address == "" {
		m.Accounts.Local = pick("virtual_users", "user", "loginuser", "username", "name")
		m.Accounts.Domain = pick("virtual_users", "domain_id", "virtual_domain_id")
	}
	if has("virtual_aliases", "source") && has("virtual_aliases", "destination") {
		m.Aliases = AliasMap{
			Table: "virtual_aliases", Address: "source", Targets: "destination", Active: pick("virtual_aliases", "active", "enabled", "is_active"),
		}
		// The first editions have only the local part in source.
		if domain := pick("virtual_aliases", "domain_id"); domain != "" {
			m.Aliases.Local, m.Aliases.Domain = "source", domain
		}
	}
	return m
}

// found is a schema in a database.
type found struct {
	database string
	prefix   string // of the names of all tables
	mapping  Mapping
}

// extras are columns that no mapping names and its adjust needs.
var extras = map[string]map[string][]string{
	"mailcow":   {"mailbox": {"kind", "authsource"}},
	"iredmail":  {"mailbox": {"storagebasedirectory", "storagenode"}, "alias": {"address", "active"}, "forwardings": {"is_maillist"}},
	"mailstack": {"account": {"system_account"}, "alias": {"system_alias"}, "domain": {"system_domain"}},
}

// recognise finds the schema of a database, given its columns by table, all in
// lower case.
func recognise(database string, have map[string][]string) (found, bool) {
	for _, s := range schemas {
		for _, table := range slices.Sorted(maps.Keys(have)) {
			prefix, isKey := strings.CutSuffix(table, s.key)
			has := func(table, column string) bool { return slices.Contains(have[prefix+table], column) }
			if !isKey || !s.fits(has) {
				continue
			}
			m := s.mapping(has)
			if m.Accounts.Address != "" || m.Accounts.Local != "" && m.Accounts.Domain != "" {
				return found{database, prefix, m}, true
			}
		}
	}
	return found{}, false
}

func (s schema) fits(has func(table, column string) bool) bool {
	for table, columns := range s.needs {
		for _, column := range columns {
			if !has(table, column) {
				return false
			}
		}
	}
	return true
}

// wanted are the tables and columns to be read, without the prefix: those of
// the mapping, and of extras those that are there.
func (f found) wanted(have map[string][]string) map[string][]string {
	wanted := f.mapping.columns()
	for table, columns := range extras[f.mapping.name] {
		for _, column := range columns {
			if slices.Contains(have[f.prefix+table], column) && !slices.Contains(wanted[table], column) {
				wanted[table] = append(wanted[table], column)
			}
		}
	}
	return wanted
}
