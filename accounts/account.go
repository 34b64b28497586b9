package accounts

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
)

// Account is a mailbox with a login.
type Account struct {
	Address    string    `json:"address"`
	Unicode    string    `json:"unicode"` // as people write it; may equal Address
	Domain     string    `json:"domain"`
	Scheme     string    `json:"scheme"`      // of the password hash, "ARGON2ID"
	Generation uint32    `json:"generation"`  // changes whenever logins made before must end
	QuotaBytes int64     `json:"quota_bytes"` // 0: none
	Enabled    bool      `json:"enabled"`     // may log in and send; mail is taken in anyway
	System     bool      `json:"system"`      // the stack's own
	Moving     bool      `json:"moving"`      // being brought over from another host; see Move
	Created    time.Time `json:"created"`     // UTC
	Changed    time.Time `json:"changed"`     // UTC
}

// NewAccount is an account to be made.
type NewAccount struct {
	Address   Address // from ParseAccount
	Hash      Secret  // {SCHEME}hash, from HashPassword or another mail host
	AllowWeak bool    // Hash may be a weak one, see WeakHash
	// KeepHash is BeginMove's: Hash is for who has none yet. Somebody may have got a
	// password here between two runs.
	KeepHash   bool
	QuotaBytes int64 // 0: none
	Disabled   bool
}

// AddAccount makes an account in a domain that exists.
func (db *DB) AddAccount(ctx context.Context, n NewAccount) error {
	address, err := ParseAccount(n.Address.String())
	if err != nil {
		return err
	}
	if err := errors.Join(checkHash(n.Hash, n.AllowWeak), checkQuota(n.QuotaBytes)); err != nil {
		return err
	}
	return db.write(ctx, "add account "+address.String(), func(tx *sql.Tx) error {
		if err := needFree(ctx, tx, address); err != nil {
			return err
		}
		if err := insertAccount(ctx, tx, address, n, false); err != nil {
			return err
		}
		// An account named postmaster takes the place of the stack's alias.
		_, err := reconcileAliases(ctx, tx, address.Domain)
		return err
	})
}

// CheckFree says why AddAccount would refuse the address, before anybody is
// asked for a password.
func (db *DB) CheckFree(ctx context.Context, address Address) error {
	return db.explain("check address "+address.String(), needFree(ctx, db.sql, address))
}

// needFree refuses an address that is an account's or an explicit alias's, or
// in a domain that nobody added.
// It cannot be both: whether mail for it stays, goes on or does both would
// depend on which table is asked first.
func needFree(ctx context.Context, db querier, address Address) error {
	if err := needDomain(ctx, db, address.Domain); err != nil {
		return err
	}
	kind, system, err := lookUp(ctx, db, address)
	switch {
	case err != nil:
		return err
	case kind == isAccount && system:
		return refuse(ErrExists, "", "%s belongs to the stack itself", address)
	case kind == isAccount:
		return refuse(ErrExists, "mailstack account show "+address.String(), "account %s exists already", address)
	case kind == isAlias && !system:
		return refuse(ErrExists, "mailstack alias remove "+address.String(), "%s is an alias already", address)
	}
	return nil
}

func insertAccount(ctx context.Context, tx *sql.Tx, address Address, n NewAccount, system bool) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO account (address, localpart, domain, password, generation, quota_bytes, enabled, system_account, created, changed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(), UTC_TIMESTAMP())`,
		address.String(), address.Local, address.Domain, n.Hash.Reveal(), firstGeneration(),
		n.QuotaBytes, !n.Disabled, system)
	return err
}

// firstGeneration is random, so that an account that is removed and made
// again does not come to a generation its namesake had: a submission session
// of the old one would be good again.
func firstGeneration() uint32 {
	var random [4]byte
	_, _ = rand.Read(random[:])                      // never fails: crypto/rand ends the program instead
	return binary.BigEndian.Uint32(random[:])>>1 + 1 // room for as many changes
}

func checkQuota(bytes int64) error {
	if bytes < 0 {
		return refuse(ErrInvalid, "", "a quota cannot be negative")
	}
	return nil
}

// AccountFilter selects accounts.
type AccountFilter struct {
	Domain string  // only this one; A-labels
	System bool    // the stack's own too
	After  Address // only those that sort behind this one
	Limit  int     // most to return; 0: all
}

const accountColumns = `address, localpart, domain, password, generation, quota_bytes, enabled, system_account, moving <> '', created, changed`

// ListAccounts returns accounts by domain, then local part.
func (db *DB) ListAccounts(ctx context.Context, f AccountFilter) ([]Account, error) {
	if f.Limit <= 0 {
		f.Limit = math.MaxInt32
	}
	list, err := queryAccounts(ctx, db.sql, `SELECT `+accountColumns+` FROM account
		WHERE (? = '' OR domain = ?) AND (? OR NOT system_account)
		  AND (domain > ? OR domain = ? AND localpart > ?)
		ORDER BY domain, localpart LIMIT ?`,
		f.Domain, f.Domain, f.System, f.After.Domain, f.After.Domain, f.After.Local, f.Limit)
	return list, db.explain("list accounts", err)
}

// AccountDetail is an account and what delivers to it.
type AccountDetail struct {
	Account
	Aliases []string `json:"aliases"` // addresses whose mail it gets, the stack's own included
}

// ShowAccount returns one account; ErrNotFound if there is none.
func (db *DB) ShowAccount(ctx context.Context, address Address) (AccountDetail, error) {
	detail, err := db.showAccount(ctx, address)
	return detail, db.explain("show account "+address.String(), err)
}

func (db *DB) showAccount(ctx context.Context, address Address) (detail AccountDetail, err error) {
	list, err := queryAccounts(ctx, db.sql, `SELECT `+accountColumns+` FROM account WHERE address = ?`, address.String())
	if err != nil {
		return detail, err
	}
	if len(list) == 0 {
		return detail, noAccount(address)
	}
	detail.Account = list[0]
	detail.Aliases, err = queryStrings(ctx, db.sql,
		`SELECT address FROM alias WHERE target = ? ORDER BY domain, address`, address.String())
	if detail.Aliases == nil {
		detail.Aliases = []string{}
	}
	return detail, err
}

func noAccount(address Address) error {
	return refuse(ErrNotFound, "mailstack account list", "there is no account %s", address)
}

func queryAccounts(ctx context.Context, db *sql.DB, query string, args ...any) ([]Account, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	list := []Account{}
	for rows.Next() {
		var a Account
		var local, hash string
		if err := rows.Scan(&a.Address, &local, &a.Domain, &hash, &a.Generation, &a.QuotaBytes,
			&a.Enabled, &a.System, &a.Moving, &a.Created, &a.Changed); err != nil {
			return nil, err
		}
		a.Unicode = local + "@" + UnicodeDomain(a.Domain)
		a.Scheme = hashScheme(hash)
		list = append(list, a)
	}
	return list, rows.Err()
}

// SetPassword gives an account a new password. Logins with the old one and
// sessions made with it are ended by the next FinishPending.
func (db *DB) SetPassword(ctx context.Context, address Address, hash Secret) error {
	if err := CheckHash(hash); err != nil {
		return err
	}
	return db.write(ctx, "set password of "+address.String(), func(tx *sql.Tx) error {
		if _, _, err := personalAccount(ctx, tx, address); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE account
			SET password = ?, generation = generation + 1, changed = UTC_TIMESTAMP() WHERE address = ?`,
			hash.Reveal(), address.String())
		return errors.Join(err, markPending(ctx, tx, address.String()))
	})
}

// AccountChange is what to change of an account; nil leaves it.
type AccountChange struct {
	QuotaBytes *int64 // 0: none
	Enabled    *bool
}

// SetAccount changes an account and says whether anything is different now.
// Any change ends the account's sessions with the next FinishPending: a
// disabled account's because it may have none, others' because a session
// keeps the quota it began with.
func (db *DB) SetAccount(ctx context.Context, address Address, change AccountChange) (changed bool, err error) {
	if change.QuotaBytes != nil {
		if err := checkQuota(*change.QuotaBytes); err != nil {
			return false, err
		}
	}
	err = db.write(ctx, "change account "+address.String(), func(tx *sql.Tx) error {
		quota, enabled, err := personalAccount(ctx, tx, address)
		if err != nil {
			return err
		}
		newQuota, newEnabled, bump := quota, enabled, 0
		if change.QuotaBytes != nil {
			newQuota = *change.QuotaBytes
		}
		if change.Enabled != nil {
			newEnabled = *change.Enabled
		}
		changed = newQuota != quota || newEnabled != enabled
		if !changed {
			return nil
		}
		if newEnabled != enabled {
			bump = 1
		}
		_, err = tx.ExecContext(ctx, `UPDATE account
			SET quota_bytes = ?, enabled = ?, generation = generation + ?, changed = UTC_TIMESTAMP() WHERE address = ?`,
			newQuota, newEnabled, bump, address.String())
		return errors.Join(err, markPending(ctx, tx, address.String()))
	})
	return changed && err == nil, err
}

// personalAccount reads an account that a person may change.
func personalAccount(ctx context.Context, tx *sql.Tx, address Address) (quota int64, enabled bool, err error) {
	var system bool
	err = tx.QueryRowContext(ctx, `SELECT quota_bytes, enabled, system_account FROM account WHERE address = ?`,
		address.String()).Scan(&quota, &enabled, &system)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, noAccount(address)
	case err == nil && system:
		return 0, false, refuse(ErrInUse, "mailstack up looks after it", "%s belongs to the stack itself", address)
	}
	return quota, enabled, err
}

// RemoveAccount ends an account: its address is refused from now on, its
// sessions end with the next FinishPending. Its mail is not touched. It
// refuses while aliases would be left that deliver to nobody.
func (db *DB) RemoveAccount(ctx context.Context, address Address) error {
	return db.write(ctx, "remove account "+address.String(), func(tx *sql.Tx) error {
		if _, _, err := personalAccount(ctx, tx, address); err != nil {
			return err
		}
		return removeChecked(ctx, tx, address, func() error {
			_, err := tx.ExecContext(ctx, `DELETE FROM account WHERE address = ?`, address.String())
			return errors.Join(err, markPending(ctx, tx, address.String()))
		})
	})
}

// Counts is how much there is, without the stack's own.
type Counts struct {
	Domains  int `json:"domains"`
	Accounts int `json:"accounts"`
	Disabled int `json:"disabled"` // of the accounts
	Aliases  int `json:"aliases"`  // addresses
}

// Count counts, which takes seconds where there are a million. The first alias of
// each address counts: with DISTINCT a temporary table would take what the server
// has for them in memory.
func (db *DB) Count(ctx context.Context) (c Counts, err error) {
	err = db.sql.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM domain WHERE NOT system_domain),
		(SELECT COUNT(*) FROM alias WHERE NOT system_alias AND NOT EXISTS (SELECT 1 FROM alias AS earlier
			WHERE earlier.address = alias.address AND earlier.target < alias.target AND NOT earlier.system_alias)),
		COUNT(*), COALESCE(SUM(NOT enabled), 0) FROM account WHERE NOT system_account`).
		Scan(&c.Domains, &c.Aliases, &c.Accounts, &c.Disabled)
	return c, db.explain("count accounts", err)
}

// Inhabited says whether people have accounts. It looks into each table that
// lookups need and counts nothing.
func (db *DB) Inhabited(ctx context.Context) (people bool, err error) {
	var other [3]bool
	err = db.sql.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM account WHERE system_account = 0),
		EXISTS (SELECT 1 FROM mailbox), EXISTS (SELECT 1 FROM alias), EXISTS (SELECT 1 FROM domain)`).
		Scan(&people, &other[0], &other[1], &other[2])
	return people, db.explain("look for accounts", err)
}

// addressesAtOnce bounds a query about addresses.
const addressesAtOnce = 500

// Unclaimed are those of the addresses that no account has, and none had that is
// just being removed.
func (db *DB) Unclaimed(ctx context.Context, addresses []string) ([]string, error) {
	claimed := make(map[string]bool, len(addresses))
	for some := range slices.Chunk(addresses, addressesAtOnce) {
		args := make([]any, len(some))
		for i, address := range some {
			args[i] = address
		}
		among := " WHERE address IN (?" + strings.Repeat(", ?", len(some)-1) + ")"
		known, err := queryStrings(ctx, db.sql, "SELECT address FROM account"+among+" UNION ALL SELECT address FROM pending_end"+among, slices.Concat(args, args)...)
		if err != nil {
			return nil, db.explain("look for accounts", err)
		}
		for _, address := range known {
			claimed[address] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return claimed[a] }), nil
}
