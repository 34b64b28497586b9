package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Domain is a domain that the stack takes mail for.
type Domain struct {
	Name     string    `json:"name"`      // A-labels
	Unicode  string    `json:"unicode"`   // as people write it; may equal Name
	Accounts int       `json:"accounts"`  // without the stack's own
	Aliases  int       `json:"aliases"`   // addresses, without the stack's own
	CatchAll bool      `json:"catch_all"` // there is an alias @domain
	System   bool      `json:"system"`    // the bare host name, nobody's
	Created  time.Time `json:"created"`   // UTC
}

// AddDomain makes a domain one that the stack takes mail for, with its
// postmaster, abuse and root.
func (db *DB) AddDomain(ctx context.Context, name string) error {
	name, err := ParseDomain(name)
	if err != nil {
		return err
	}
	return db.write(ctx, "add domain "+name, func(tx *sql.Tx) error {
		system, err := domainKind(ctx, tx, name)
		switch {
		case errors.Is(err, ErrNotFound):
			_, err = tx.ExecContext(ctx, `INSERT INTO domain (name, created) VALUES (?, UTC_TIMESTAMP())`, name)
		case err == nil && system:
			// The host name becomes somebody's, with its accounts and all.
			_, err = tx.ExecContext(ctx, `UPDATE domain SET system_domain = 0, created = UTC_TIMESTAMP() WHERE name = ?`, name)
		case err == nil:
			return refuse(ErrExists, "", "domain %s exists already", name)
		}
		if err != nil {
			return err
		}
		_, err = reconcileAliases(ctx, tx, name)
		return err
	})
}

// ListDomains returns the domains in alphabetical order; system also those
// that are the stack's own.
func (db *DB) ListDomains(ctx context.Context, system bool) ([]Domain, error) {
	list, err := db.listDomains(ctx, system)
	return list, db.explain("list domains", err)
}

func (db *DB) listDomains(ctx context.Context, system bool) ([]Domain, error) {
	rows, err := db.sql.QueryContext(ctx, `
		SELECT d.name, d.system_domain, d.created, COALESCE(a.n, 0), COALESCE(l.n, 0), COALESCE(l.catch_all, 0)
		FROM domain d
		LEFT JOIN (SELECT domain, COUNT(*) AS n FROM account WHERE NOT system_account GROUP BY domain) a ON a.domain = d.name
		LEFT JOIN (SELECT domain, COUNT(DISTINCT address) AS n, MAX(address = CONCAT('@', domain)) AS catch_all
		           FROM alias WHERE NOT system_alias GROUP BY domain) l ON l.domain = d.name
		WHERE ? OR NOT d.system_domain ORDER BY d.name`, system)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	list := []Domain{}
	for rows.Next() {
		var d Domain
		if err := rows.Scan(&d.Name, &d.System, &d.Created, &d.Accounts, &d.Aliases, &d.CatchAll); err != nil {
			return nil, err
		}
		d.Unicode = UnicodeDomain(d.Name)
		list = append(list, d)
	}
	return list, rows.Err()
}

// RemoveDomain stops taking mail for a domain. It refuses while the domain
// has accounts or aliases, or aliases elsewhere deliver to it. Mail that the
// domain's mailboxes hold is left alone.
func (db *DB) RemoveDomain(ctx context.Context, name string) error {
	name, err := ParseDomain(name)
	if err != nil {
		return err
	}
	return db.write(ctx, "remove domain "+name, func(tx *sql.Tx) error {
		system, err := domainKind(ctx, tx, name)
		if err != nil {
			return err
		}
		if system {
			return refuse(ErrNotFound, "", "%s is the stack's own host name, not a domain that was added", name)
		}
		if err := domainEmpty(ctx, tx, name); err != nil {
			return err
		}
		set, err := readSettings(ctx, tx)
		if err != nil {
			return err
		}
		if set.hostname == name {
			_, err = tx.ExecContext(ctx, `UPDATE domain SET system_domain = 1 WHERE name = ?`, name)
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE domain = ?`, name); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM domain WHERE name = ?`, name)
		return err
	})
}

// domainEmpty refuses when something of a person's is in the domain.
func domainEmpty(ctx context.Context, tx *sql.Tx, name string) error {
	holds := func(what, query, advice string, args ...any) error {
		list, err := queryStrings(ctx, tx, query, args...)
		if err != nil || len(list) == 0 {
			return err
		}
		return refuse(ErrInUse, advice, "domain %s has %s: %s", name, what, enumerate(list))
	}
	return errors.Join(
		holds("accounts", `SELECT address FROM account WHERE domain = ? AND NOT system_account ORDER BY address`,
			"remove them first: mailstack account remove ADDRESS", name),
		holds("aliases", `SELECT DISTINCT address FROM alias WHERE domain = ? AND NOT system_alias ORDER BY address`,
			"remove them first: mailstack alias remove ADDRESS", name),
		holds("mail from aliases of other domains",
			`SELECT CONCAT(address, ' -> ', target) FROM alias
			 WHERE domain <> ? AND NOT system_alias AND SUBSTRING_INDEX(target, '@', -1) = ? ORDER BY 1`,
			"remove them first: mailstack alias remove ADDRESS TARGET", name, name),
	)
}

// domainKind says whether a domain is the stack's own; ErrNotFound if there is
// no such domain.
func domainKind(ctx context.Context, db querier, name string) (system bool, err error) {
	err = db.QueryRowContext(ctx, `SELECT system_domain FROM domain WHERE name = ?`, name).Scan(&system)
	if errors.Is(err, sql.ErrNoRows) {
		return false, refuse(ErrNotFound, "mailstack domain list", "there is no domain %s", name)
	}
	return system, err
}

// needDomain refuses addresses in a domain that nobody added.
func needDomain(ctx context.Context, db querier, name string) error {
	system, err := domainKind(ctx, db, name)
	if errors.Is(err, ErrNotFound) || err == nil && system {
		return refuse(ErrNotFound, "mailstack domain add "+name, "%s is not a domain of this stack yet", name)
	}
	return err
}

// enumerate joins the first few of a list.
func enumerate(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
