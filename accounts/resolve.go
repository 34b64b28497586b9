package accounts

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
)

// addressKind is what an address is in the tables.
type addressKind int

const (
	isNothing  addressKind = iota // in a hosted domain, nobody's
	isAccount                     // an account's
	isAlias                       // an alias's
	isCatchAll                    // nobody's, taken by its domain's @domain
	isExternal                    // in no hosted domain
)

// lookUp says what exactly this address is: isAccount, isAlias or isNothing.
// system says whether it is the stack's own.
func lookUp(ctx context.Context, db querier, address Address) (kind addressKind, system bool, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT ?, system_account FROM account WHERE address = ?
		UNION ALL (SELECT ?, system_alias FROM alias WHERE address = ? ORDER BY system_alias LIMIT 1)
		LIMIT 1`, isAccount, address.String(), isAlias, address.String()).Scan(&kind, &system)
	if errors.Is(err, sql.ErrNoRows) {
		return isNothing, false, nil
	}
	return kind, system, err
}

// resolve says where mail for address goes, as Postfix does: an account or
// alias of that address, of its base, then the catch-all of its domain. next
// is the address whose alias rows say how it goes on.
func resolve(ctx context.Context, db querier, address Address) (kind addressKind, next Address, err error) {
	var hosted bool
	if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM domain WHERE name = ?)`, address.Domain).Scan(&hosted); err != nil {
		return isNothing, address, err
	}
	if !hosted {
		return isExternal, address, nil
	}
	base := address.Base()
	kind, _, err = lookUp(ctx, db, base)
	if err != nil || kind != isNothing {
		return kind, base, err
	}
	all := Address{Domain: address.Domain}
	if kind, _, err = lookUp(ctx, db, all); err != nil || kind == isNothing {
		return isNothing, base, err
	}
	return isCatchAll, all, nil
}

// checkLoop follows the mail for address through every alias and refuses if it
// comes by the same alias twice on one way: Postfix would bounce it.
func checkLoop(ctx context.Context, db querier, address Address) error {
	w := walk{ctx: ctx, db: db, done: map[Address]bool{}}
	return w.from(address)
}

// walk is a depth-first search through aliases.
type walk struct {
	ctx  context.Context
	db   querier
	path []Address        // from the start to here
	done map[Address]bool // aliases seen to lead to no circle
}

func (w *walk) from(address Address) error {
	kind, next, err := resolve(w.ctx, w.db, address)
	if err != nil || kind != isAlias && kind != isCatchAll || w.done[next] {
		return err
	}
	if i := slices.Index(w.path, next); i >= 0 {
		circle := []string{}
		for _, step := range append(w.path[i:], next) {
			circle = append(circle, step.String())
		}
		return refuse(ErrInvalid, "", "aliases would lead in a circle: %s", strings.Join(circle, " -> "))
	}
	targets, err := queryStrings(w.ctx, w.db, `SELECT target FROM alias WHERE address = ?`, next.String())
	if err != nil {
		return err
	}
	w.path = append(w.path, next)
	for _, text := range targets {
		target, err := ParseAddress(text)
		if err != nil {
			continue // not from here; nothing leads on from it
		}
		if err := w.from(target); err != nil {
			return err
		}
	}
	w.path = w.path[:len(w.path)-1]
	w.done[next] = true
	return nil
}

// Dangling lists aliases with only those of their targets that are in a hosted
// domain and nobody's: mail for them is taken in and cannot be delivered.
// Adding refuses to make such targets; they come about when a domain is added
// that aliases already point to, and with the configured postmaster.
func (db *DB) Dangling(ctx context.Context) ([]Alias, error) {
	list, err := dangling(ctx, db.sql)
	return list, db.explain("check aliases", err)
}

func dangling(ctx context.Context, db querier) ([]Alias, error) {
	return queryAliases(ctx, db, `
		SELECT l.address, l.target, l.domain, l.system_alias
		FROM (SELECT alias.*, SUBSTRING_INDEX(target, '@', -1) AS target_domain,
		        CONCAT(SUBSTRING_INDEX(SUBSTRING_INDEX(target, '@', 1), '+', 1), '@', SUBSTRING_INDEX(target, '@', -1)) AS base
		      FROM alias) l
		JOIN domain d ON d.name = l.target_domain
		LEFT JOIN account a ON a.address = l.base
		LEFT JOIN alias x ON x.address = l.base
		LEFT JOIN alias c ON c.address = CONCAT('@', l.target_domain) AND c.address <> l.address
		WHERE a.address IS NULL AND x.address IS NULL AND c.address IS NULL
		ORDER BY l.domain, l.address, l.target`)
}
