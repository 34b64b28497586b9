package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"mailstack/accounts"
	layout "mailstack/stack"
)

// strongHash is how mailstack keeps a password.
func strongHash(password string) (string, error) {
	hash, err := accounts.HashPassword(accounts.NewSecret(password))
	return hash.Reveal(), err
}

// database is a connection to the stack's, as its administrator, past the rules
// of package accounts: a million accounts one by one would take an hour.
func (s *stack) database() (*sql.DB, error) {
	secret, err := layout.ReadSecret(s.layout(), layout.AdminSecret)
	if err != nil {
		return nil, err
	}
	config := mysql.NewConfig()
	config.Net, config.Addr = "unix", s.layout().Socket("mysql", "mysqld.sock")
	config.User, config.Passwd, config.DBName = accounts.DefaultUser, secret.Reveal(), accounts.DefaultDatabase
	config.Collation, config.Logger = "utf8mb4_bin", &mysql.NopLogger{}
	// In the order of the keys nothing has to be read again. The rows are right.
	config.Params = map[string]string{"unique_checks": "0", "foreign_key_checks": "0", "check_constraint_checks": "0"}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// rowsAtOnce bounds a transaction: its undo log, and the time between two
// answers.
const rowsAtOnce = 20_000

// inPieces runs a statement for all numbers below n, which it takes from the
// table numbers. https://mariadb.com/docs/server/server-usage/storage-engines/sequence-storage-engine
func inPieces(ctx context.Context, db *sql.DB, n int, statement string, args ...any) error {
	for from := 0; from < n; from += rowsAtOnce {
		numbers := fmt.Sprintf(" FROM seq_%d_to_%d", from, min(n, from+rowsAtOnce)-1)
		if _, err := db.ExecContext(ctx, statement+numbers, args...); err != nil {
			return fmt.Errorf("insert rows %d to %d: %w", from, from+rowsAtOnce, err)
		}
	}
	return nil
}

// addAccounts makes n accounts, named as target.user does. domain is an
// expression with the account's number, seq.
func addAccounts(ctx context.Context, db *sql.DB, n int, domain, hash string) error {
	return inPieces(ctx, db, n, `
		INSERT INTO account (address, localpart, domain, password, generation, created, changed)
		SELECT CONCAT('u', LPAD(seq, 7, '0'), '@', `+domain+`), CONCAT('u', LPAD(seq, 7, '0')), `+domain+`, ?, 1, UTC_TIMESTAMP(), UTC_TIMESTAMP()`, hash)
}

// manyDomains is how many there are for the many accounts.
const manyDomains = 1000

// addMany makes n accounts in many domains, an alias for every other account,
// and each domain's postmaster, abuse and root.
func addMany(ctx context.Context, db *sql.DB, n int, postmaster, hash string) error {
	domain := fmt.Sprintf("CONCAT('d', LPAD(seq * %d DIV %d, 3, '0'), '.example')", manyDomains, n)
	err := inPieces(ctx, db, manyDomains, `INSERT INTO domain (name, created) SELECT CONCAT('d', LPAD(seq, 3, '0'), '.example'), UTC_TIMESTAMP()`)
	if err != nil {
		return err
	}
	for _, local := range []string{"abuse", "postmaster", "root"} {
		err := inPieces(ctx, db, manyDomains, `INSERT INTO alias (address, target, domain, system_alias)
			SELECT CONCAT(?, '@d', LPAD(seq, 3, '0'), '.example'), ?, CONCAT('d', LPAD(seq, 3, '0'), '.example'), 1`, local, postmaster)
		if err != nil {
			return err
		}
	}
	if err := addAccounts(ctx, db, n, domain, hash); err != nil {
		return err
	}
	domain = fmt.Sprintf("CONCAT('d', LPAD(seq * 2 * %d DIV %d, 3, '0'), '.example')", manyDomains, n)
	return inPieces(ctx, db, n/2, `INSERT INTO alias (address, target, domain)
		SELECT CONCAT('a', LPAD(seq * 2, 7, '0'), '@', `+domain+`), CONCAT('u', LPAD(seq * 2, 7, '0'), '@', `+domain+`), `+domain)
}

// oneOfMany is the address of an account that addMany made.
func oneOfMany(i, n int) string { return fmt.Sprintf("u%07d@d%03d.example", i, i*manyDomains/n) }
