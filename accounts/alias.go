package accounts

import (
	"context"
	"database/sql"
	"errors"
	"slices"
)

// Alias hands the mail of an address on.
type Alias struct {
	Address string   `json:"address"` // @domain: everything in it that is nobody's
	Targets []string `json:"targets"`
	Domain  string   `json:"domain"` // of Address
	System  bool     `json:"system"` // the stack's own
}

// maxTargets is Postfix's virtual_alias_expansion_limit: mail to an alias with
// more is deferred for ever.
const maxTargets = 1000

// AliasFilter selects aliases.
type AliasFilter struct {
	Domain string // only this one; A-labels
	System bool   // the stack's own too
}

// ListAliases returns aliases by domain, then address.
func (db *DB) ListAliases(ctx context.Context, f AliasFilter) ([]Alias, error) {
	list, err := queryAliases(ctx, db.sql, `SELECT address, target, domain, system_alias FROM alias
		WHERE (? = '' OR domain = ?) AND (? OR NOT system_alias) ORDER BY domain, address, target`,
		f.Domain, f.Domain, f.System)
	return list, db.explain("list aliases", err)
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// queryAliases groups rows of address, target, domain and system_alias that
// come sorted by address.
func queryAliases(ctx context.Context, db querier, query string, args ...any) ([]Alias, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	list := []Alias{}
	for rows.Next() {
		var a Alias
		var target string
		if err := rows.Scan(&a.Address, &target, &a.Domain, &a.System); err != nil {
			return nil, err
		}
		if last := len(list) - 1; last >= 0 && list[last].Address == a.Address {
			list[last].Targets = append(list[last].Targets, target)
			continue
		}
		a.Targets = []string{target}
		list = append(list, a)
	}
	return list, rows.Err()
}

// AddAlias hands the mail of address on to targets, in addition to those it
// has. It refuses targets that are there already, targets in a hosted domain
// that nobody has, and targets that lead back to the address; nothing is
// changed then.
func (db *DB) AddAlias(ctx context.Context, address Address, targets ...Address) error {
	address, err := ParseAlias(address.String())
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return refuse(ErrInvalid, "", "alias %s needs a target", address)
	}
	return db.write(ctx, "add alias "+address.String(), func(tx *sql.Tx) error {
		if err := needDomain(ctx, tx, address.Domain); err != nil {
			return err
		}
		kind, system, err := lookUp(ctx, tx, address)
		if err != nil {
			return err
		}
		if kind == isAccount {
			return refuse(ErrExists, "a Sieve script of the account can forward its mail (redirect)",
				"%s is an account: an address is an account or an alias, never both", address)
		}
		if kind == isAlias && system {
			if _, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE address = ? AND system_alias`, address.String()); err != nil {
				return err
			}
		}
		if err := insertTargets(ctx, tx, address, targets); err != nil {
			return err
		}
		return checkTargets(ctx, tx, address, targets)
	})
}

func insertTargets(ctx context.Context, tx *sql.Tx, address Address, targets []Address) error {
	have, err := queryStrings(ctx, tx, `SELECT target FROM alias WHERE address = ?`, address.String())
	if err != nil {
		return err
	}
	var problems []error
	for _, target := range targets {
		if slices.Contains(have, target.String()) {
			problems = append(problems, refuse(ErrExists, "", "alias %s -> %s exists already", address, target))
			continue
		}
		have = append(have, target.String())
		if _, err := tx.ExecContext(ctx, `INSERT INTO alias (address, target, domain) VALUES (?, ?, ?)`,
			address.String(), target.String(), address.Domain); err != nil {
			return err
		}
	}
	if len(have) > maxTargets {
		problems = append(problems, refuse(ErrInvalid, "", "alias %s would have %d targets, the most is %d", address, len(have), maxTargets))
	}
	return errors.Join(problems...)
}

// checkTargets looks at an alias as it is after the change.
func checkTargets(ctx context.Context, tx *sql.Tx, address Address, targets []Address) error {
	var problems []error
	for _, target := range targets {
		kind, next, err := resolve(ctx, tx, target)
		if err != nil {
			return err
		}
		if kind == isNothing || kind == isCatchAll && next == address {
			problems = append(problems, refuse(ErrNotFound, "mailstack account add "+target.Base().String(),
				"target %s does not exist, and its domain is one of this stack", target))
		}
		if kind == isAccount {
			if _, system, err := lookUp(ctx, tx, next); err != nil || system {
				problems = append(problems, errors.Join(err, refuse(ErrNotFound, "", "target %s belongs to the stack itself", target)))
			}
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return checkLoop(ctx, tx, address)
}

// RemoveAlias takes targets from an alias, or the whole alias when none are
// named. It refuses when that leaves other aliases that deliver to nobody.
func (db *DB) RemoveAlias(ctx context.Context, address Address, targets ...Address) error {
	return db.write(ctx, "remove alias "+address.String(), func(tx *sql.Tx) error {
		kind, system, err := lookUp(ctx, tx, address)
		switch {
		case err != nil:
			return err
		case kind == isAlias && system:
			return refuse(ErrInUse, "an account or alias of the same address takes its place",
				"%s belongs to the stack itself: every domain must have it", address)
		case kind != isAlias:
			return refuse(ErrNotFound, "mailstack alias list", "there is no alias %s", address)
		}
		return removeChecked(ctx, tx, address, func() error {
			return deleteTargets(ctx, tx, address, targets)
		})
	})
}

func deleteTargets(ctx context.Context, tx *sql.Tx, address Address, targets []Address) error {
	if len(targets) == 0 {
		_, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE address = ?`, address.String())
		return err
	}
	var problems []error
	for _, target := range targets {
		result, err := tx.ExecContext(ctx, `DELETE FROM alias WHERE address = ? AND target = ?`, address.String(), target.String())
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err == nil && n == 0 {
			problems = append(problems, refuse(ErrNotFound, "mailstack alias list", "alias %s has no target %s", address, target))
		}
	}
	return errors.Join(problems...)
}

// removeChecked runs remove, which takes address away, and refuses if mail
// that had a place before would have none after, or would run in a circle.
func removeChecked(ctx context.Context, tx *sql.Tx, address Address, remove func() error) error {
	before, err := dangling(ctx, tx)
	if err != nil {
		return err
	}
	if err := remove(); err != nil {
		return err
	}
	if _, err := reconcileAliases(ctx, tx, address.Domain); err != nil {
		return err
	}
	after, err := dangling(ctx, tx)
	if err != nil {
		return err
	}
	if err := refuseDangling(address, before, after); err != nil {
		return err
	}
	return checkLoop(ctx, tx, address)
}

func refuseDangling(address Address, before, after []Alias) error {
	known := map[aliasRow]bool{}
	for _, alias := range before {
		for _, target := range alias.Targets {
			known[aliasRow{alias.Address, target, alias.Domain}] = true
		}
	}
	var people []string
	var system bool
	for _, alias := range after {
		for _, target := range alias.Targets {
			switch {
			case known[aliasRow{alias.Address, target, alias.Domain}]:
			case alias.System:
				system = true
			default:
				people = append(people, alias.Address+" -> "+target)
			}
		}
	}
	switch {
	case system:
		return refuse(ErrInUse, "name another postmaster in mailstack.toml and run mailstack up first",
			"%s gets the mail for postmaster, abuse and root", address)
	case len(people) > 0:
		return refuse(ErrInUse, "remove them first: mailstack alias remove ADDRESS [TARGET]",
			"aliases deliver to %s: %s", address, enumerate(people))
	}
	return nil
}
