package source

import (
	"regexp"
	"slices"
	"strings"
)

// read makes sense of doveconf's output. files are the database configurations
// that 2.3 keeps apart, by path.
func (d *Dovecot) read(files map[string]string) {
	top := &d.settings
	modern := top.get("dovecot_config_version") != "" || strings.HasPrefix(d.Version, "2.4")
	if modern {
		d.Mail = locationOf24(top)
	} else {
		d.Mail = parseLocation(top.get("mail_location"))
	}
	d.Home = top.get("mail_home")
	d.Plugins = slices.Clone(top.list("mail_plugins"))
	for _, protocol := range top.of("protocol") {
		d.Plugins = append(d.Plugins, protocol.list("mail_plugins")...)
	}
	for i := range d.Plugins {
		d.Plugins[i] = clean(d.Plugins[i])
	}
	slices.Sort(d.Plugins)
	d.Plugins = slices.DeleteFunc(slices.Compact(d.Plugins), func(p string) bool { return strings.HasPrefix(p, "$") })
	d.readNamespaces(modern)
	d.readSieve(modern)
	d.readAuth(modern, files)
}

// readNamespaces finds the one that the inbox is in, and whether there is mail
// outside it.
func (d *Dovecot) readNamespaces(modern bool) {
	found := false
	for _, ns := range d.settings.of("namespace") {
		name := clean(ns.name)
		if name == "" {
			name = clean(ns.get("prefix"))
		}
		own := ns.get("location")
		if modern {
			own = ns.get("mail_path")
		}
		kind := ns.get("type")
		switch {
		case kind == "shared" || kind == "public":
			d.Shared = append(d.Shared, name)
		case ns.get("inbox") == "yes" && !found:
			found = true
			d.Inbox = Namespace{Name: name, Prefix: clean(ns.get("prefix"))}
			if separator := ns.get("separator"); len(separator) == 1 {
				d.Inbox.Separator = separator[0]
			}
			if own == "" {
				continue
			}
			if modern {
				d.Mail = locationOf24(merged(&d.settings, ns))
			} else {
				d.Mail = parseLocation(own)
			}
		case own != "":
			d.Others = append(d.Others, name)
		}
	}
}

// merged is a block's settings over those around it.
func merged(outer, inner *section) *section {
	return &section{settings: append(slices.Clone(outer.settings), inner.settings...)}
}

// readSieve finds the users' scripts. Pigeonhole's defaults:
// https://doc.dovecot.org/2.3/configuration_manual/sieve/configuration/.
func (d *Dovecot) readSieve(modern bool) {
	if !slices.Contains(d.Plugins, "sieve") {
		return
	}
	setting, dir, active := "", "", ""
	if modern {
		for _, script := range d.settings.of("sieve_script") {
			if kind := script.get("type"); kind == "" || kind == "personal" {
				setting = first(script.get("path"), script.get("sieve_script_path"))
				active = first(script.get("active_path"), script.get("sieve_script_active_path"))
				break
			}
		}
	} else {
		for _, plugin := range d.settings.of("plugin") {
			setting, dir = plugin.get("sieve"), plugin.get("sieve_dir")
		}
		setting = strings.TrimPrefix(first(setting, "file:~/sieve;active=~/.dovecot.sieve"), "file:")
		options := strings.Split(setting, ";")
		setting = options[0]
		for _, option := range options[1:] {
			if value, found := strings.CutPrefix(option, "active="); found {
				active = value
			}
		}
	}
	switch {
	case active != "":
		d.Sieve, d.Scripts = active, setting
	case strings.HasSuffix(setting, ".sieve"): // the script itself
		d.Sieve, d.Scripts = setting, dir
	case setting != "":
		d.Sieve, d.Scripts = "~/.dovecot.sieve", setting
	}
}

// first is the first of its arguments that says something.
func first(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// readAuth finds where Dovecot asks for passwords, and of what scheme hashes
// are that do not say.
func (d *Dovecot) readAuth(modern bool, files map[string]string) {
	for _, kind := range []string{"passdb", "userdb"} {
		for _, block := range d.settings.of(kind) {
			driver := clean(first(block.get("driver"), block.name))
			if kind == "userdb" {
				d.UserDB = append(d.UserDB, driver)
				d.readFields(modern, driver, block, files)
				continue
			}
			d.PassDB = append(d.PassDB, driver)
			if d.DefaultScheme != "" || block.get("master") == "yes" {
				continue
			}
			d.DefaultScheme = strings.ToUpper(defaultScheme(modern, driver, block, files))
		}
	}
}

// readFields takes homes and locations that a user database gives to everybody:
// args of the static one, default_fields and override_fields of any
// (https://doc.dovecot.org/2.3/configuration_manual/authentication/user_databases_userdb/).
func (d *Dovecot) readFields(modern bool, driver string, block *section, files map[string]string) {
	fields := block.get("override_fields") + " " + block.get("default_fields")
	if driver == "static" {
		fields += " " + block.get("args")
	}
	home, mail := "", ""
	for field := range strings.FieldsSeq(fields) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "home":
			home = first(home, value)
		case "mail":
			mail = first(mail, value)
		}
	}
	for _, block := range block.of("fields") {
		home = first(home, block.get("home"), block.get("home:default"))
	}
	query := block.get("query")
	if c, found := fileConnection(block.get("args"), files[block.get("args")]); found && driver == "sql" {
		query = c.Query
	}
	if m := homeInQuery.FindStringSubmatch(query); m != nil {
		home = first(home, m[1])
	}
	d.Home = first(d.Home, home)
	if mail != "" && !modern {
		d.Mail = parseLocation(mail)
	}
}

// homeInQuery is a home in a query that is the same for all but for variables:
// '/var/vmail/%d/%n' AS home.
var homeInQuery = regexp.MustCompile("(?i)'(/[^']*)'\\s+AS\\s+['\"`]?home\\b")

// The defaults are those of db-sql.c, db-passwd-file.c (2.3) and of
// auth-settings.c (2.4).
func defaultScheme(modern bool, driver string, block *section, files map[string]string) string {
	if modern {
		scheme := first(block.get("default_password_scheme"), block.get("passdb_default_password_scheme"))
		if driver == "passwd-file" {
			return first(scheme, "CRYPT")
		}
		return first(scheme, "PLAIN")
	}
	args := block.get("args")
	switch driver {
	case "sql":
		c, found := fileConnection(args, files[args])
		if !found {
			return ""
		}
		return first(c.Scheme, "MD5")
	case "passwd-file":
		for word := range strings.FieldsSeq(args) {
			if scheme, found := strings.CutPrefix(word, "scheme="); found {
				return clean(scheme)
			}
		}
		return "CRYPT"
	}
	return ""
}
