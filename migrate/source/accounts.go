package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// catalogue are the columns of databases, by database and table. Databases are
// named as they are, tables and columns in lower case.
type catalogue map[string]map[string][]string

// columnsOf asks a server which databases, tables and columns there are. Only
// tables whose name may say something are listed: a web server's database may
// have a hundred thousand columns.
func columnsOf(ctx context.Context, d Dumper, more []string) (catalogue, error) {
	names := "mailbox|virtual|domain|alias|account|forwarding"
	where := "table_schema NOT IN ('mysql','sys','performance_schema','information_schema')" +
		" AND (LOWER(table_name) REGEXP '" + names + "'"
	for _, table := range more {
		where += " OR LOWER(table_name) = '" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(table) + "'"
	}
	dump, err := d.Dump(ctx, Request{Database: "information_schema", Tables: []string{"COLUMNS"}, Where: where + ")"})
	if err != nil {
		return nil, err
	}
	defer dump.Close()
	t, err := readDump(dump, func(_, column string) bool {
		return column == "table_schema" || column == "table_name" || column == "column_name"
	})
	if err != nil {
		return nil, err
	}
	c := catalogue{}
	for _, r := range t["columns"] {
		database, table := r["table_schema"], strings.ToLower(r["table_name"])
		if c[database] == nil {
			c[database] = map[string][]string{}
		}
		c[database][table] = append(c[database][table], strings.ToLower(r["column_name"]))
	}
	return c, nil
}

// AccountOptions says what cannot be found out by looking.
type AccountOptions struct {
	Database string   // "": the one that looks like it
	Mapping  *Mapping // nil: one of the schemas that are known
}

// ReadAccounts reads who has mail from a database. facts say which database and
// how hashes without a scheme are meant; it may be that of a stopped server.
func ReadAccounts(ctx context.Context, d Dumper, facts *Facts, o AccountOptions) (*Listing, error) {
	var more []string
	if o.Mapping != nil {
		more = slices.Sorted(maps.Keys(o.Mapping.columns()))
		o.Database = first(o.Database, o.Mapping.Database)
	}
	c, err := columnsOf(ctx, d, more)
	if err != nil {
		return nil, fmt.Errorf("list the tables of the old server: %w", err)
	}
	f, err := choose(c, facts, o)
	if err != nil {
		return nil, err
	}
	have := c[f.database]
	wanted := f.wanted(have)
	r := Request{Database: f.database}
	for _, table := range slices.Sorted(maps.Keys(wanted)) {
		r.Tables = append(r.Tables, f.prefix+table)
	}
	dump, err := d.Dump(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("read the accounts of the old server: %w", err)
	}
	defer dump.Close()
	t, err := readDump(dump, func(table, column string) bool {
		return slices.Contains(wanted[strings.TrimPrefix(table, f.prefix)], column)
	})
	if err != nil {
		return nil, fmt.Errorf("read the accounts of the old server: %w", err)
	}
	plain := tables{}
	for table, rows := range t {
		plain[strings.TrimPrefix(table, f.prefix)] = rows
	}
	listing := f.mapping.read(plain, facts.Dovecot.DefaultScheme)
	listing.Database = f.database
	return listing, nil
}

// choose finds the database and its schema.
func choose(c catalogue, facts *Facts, o AccountOptions) (found, error) {
	if o.Database != "" && c[o.Database] == nil {
		return found{}, &problem{
			fmt.Sprintf("the old server has no database %q with tables for accounts; it has %s", o.Database, enumerate(slices.Sorted(maps.Keys(c)))),
			"name another (--database), or its tables (--map)",
		}
	}
	var all []found
	for _, database := range slices.Sorted(maps.Keys(c)) {
		if o.Database != "" && database != o.Database {
			continue
		}
		if o.Mapping != nil {
			if len(o.Mapping.missing(c[database])) == 0 {
				all = append(all, found{database: database, mapping: *o.Mapping})
			}
			continue
		}
		if f, ok := recognise(database, c[database]); ok {
			all = append(all, f)
		}
	}
	if len(all) > 1 {
		// The one that Dovecot and Postfix use.
		if used := slices.DeleteFunc(slices.Clone(all), func(f found) bool {
			return !slices.ContainsFunc(facts.SQL, func(s Connection) bool { return s.Database == f.database })
		}); len(used) > 0 {
			all = used
		}
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(all) > 1:
		var names []string
		for _, f := range all {
			names = append(names, f.database)
		}
		return found{}, &problem{
			"several databases of the old server may hold the accounts: " + enumerate(names), "name one: --database",
		}
	}
	return found{}, nothingFound(c, o)
}

// nothingFound says what was looked for.
func nothingFound(c catalogue, o AccountOptions) error {
	databases := slices.Sorted(maps.Keys(c))
	if o.Mapping == nil {
		return &problem{
			"no database of the old server has the tables of PostfixAdmin, ISPmail, iRedMail, ViMbAdmin, mailcow or mailstack (looked at: " +
				enumerate(databases) + ")",
			"say which tables and columns hold the accounts: --map FILE",
		}
	}
	var wrong []error
	for _, database := range databases {
		if o.Database == "" || o.Database == database {
			wrong = append(wrong, fmt.Errorf("database %s lacks %s", clean(database), enumerate(o.Mapping.missing(c[database]))))
		}
	}
	if len(wrong) == 0 {
		wrong = append(wrong, fmt.Errorf("there is no table %s", enumerate(slices.Sorted(maps.Keys(o.Mapping.columns())))))
	}
	return &problem{"the mapping fits no database of the old server: " + clean(errors.Join(wrong...).Error()), "correct the file of --map"}
}

func enumerate(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	const most = 10
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return clean(text)
}
