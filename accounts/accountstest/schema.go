package accountstest

import (
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailstack/accounts"

	"github.com/go-sql-driver/mysql"
)

func testMigrate(_ *testing.T, e *env) {
	current, latest, err := e.db.Version(e.ctx)
	e.ok(err)
	e.equal(current, 0)
	if _, err := e.db.ListDomains(e.ctx, true); err == nil {
		e.Fatal("listing domains of an empty database succeeded")
	}
	applied, err := e.db.Migrate(e.ctx, services)
	e.ok(err)
	if len(applied) != latest+2 {
		e.Fatalf("applied %q, want %d migrations and two users", applied, latest)
	}
	current, _, err = e.db.Version(e.ctx)
	e.ok(err)
	e.equal(current, latest)
	applied, err = e.db.Migrate(e.ctx, services)
	e.ok(err)
	e.equal(len(applied), 0)

	// Growing past one machine needs both of these (Galera).
	var bad int
	e.ok(e.root.QueryRowContext(e.ctx, `SELECT COUNT(*) FROM information_schema.tables t
		WHERE t.table_schema = ? AND t.table_type = 'BASE TABLE' AND (t.engine <> 'InnoDB' OR t.table_collation <> 'utf8mb4_bin' OR NOT EXISTS (
			SELECT 1 FROM information_schema.table_constraints c WHERE c.table_schema = t.table_schema
			AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY'))`, e.options.Database).Scan(&bad))
	e.equal(bad, 0)
}

// A kill between any two statements leaves some of the tables and not others,
// the version table without its rows, or the schema without the users.
func testInterrupted(_ *testing.T, e *env) {
	_, err := e.db.Migrate(e.ctx, services)
	e.ok(err)
	database := "`" + e.options.Database + "`."
	for _, damage := range [][]string{
		{"DELETE FROM " + database + "schema_version"},
		{"DELETE FROM " + database + "schema_version WHERE version > 0", "DROP TABLE " + database + "pending_end, " + database + "alias"},
		{"DROP USER `" + e.options.ServicePrefix + "postfix`@`localhost`"},
		{"REVOKE SELECT ON " + database + "mailbox FROM `" + e.options.ServicePrefix + "postfix`@`localhost`"},
	} {
		for _, statement := range damage {
			e.exec(statement)
		}
		applied, err := e.db.Migrate(e.ctx, services)
		e.ok(err)
		if len(applied) == 0 {
			e.Fatalf("after %q nothing was done", damage)
		}
		applied, err = e.db.Migrate(e.ctx, services)
		e.ok(err)
		e.equal(len(applied), 0)
		e.addDomains("x.example")
		e.ok(e.db.RemoveDomain(e.ctx, "x.example"))
	}
}

func testNewer(_ *testing.T, e *env) {
	e.migrated()
	e.exec("INSERT INTO `" + e.options.Database + "`.schema_version VALUES (9999, UTC_TIMESTAMP())")
	var newer *accounts.SchemaError
	if _, err := e.db.Migrate(e.ctx, services); !errors.As(err, &newer) {
		e.Fatalf("migrating gave %v", err)
	}
	if err := e.db.AddDomain(e.ctx, "x.example"); !errors.As(err, &newer) {
		e.Fatalf("adding a domain gave %v", err)
	}
	e.equal(newer, "the database has schema version 9999, made by a newer mailstack; this one knows versions up to 6")
}

// What a service's secret lets somebody do, tried with that secret.
func testServiceRights(_ *testing.T, e *env) {
	e.migrated()
	problems, err := e.db.Grants(e.ctx)
	e.ok(err)
	own := slices.DeleteFunc(problems, func(p string) bool { return !strings.Contains(p, e.options.ServicePrefix) })
	e.equal(own, []string{})

	dovecot := e.login(e.options.ServicePrefix+"dovecot", dovecotSecret, e.options.Database)
	defer func() { _ = dovecot.Close() }()
	postfix := e.login(e.options.ServicePrefix+"postfix", postfixSecret, e.options.Database)
	defer func() { _ = postfix.Close() }()
	for _, query := range []string{
		"SELECT password, generation, enabled, quota_bytes FROM account",
		"SELECT target FROM alias WHERE address = 'x' AND domain = 'y'", "SELECT name FROM domain",
	} {
		_, err := dovecot.ExecContext(e.ctx, query)
		e.ok(err)
	}
	for _, query := range []string{
		"SELECT address, generation, enabled, system_account, recipient, limited FROM mailbox",
		"SELECT * FROM alias", "SELECT * FROM domain",
	} {
		_, err := postfix.ExecContext(e.ctx, query)
		e.ok(err)
	}
	denied := []string{
		"SELECT password FROM account", "SELECT * FROM account", "SELECT address FROM account WHERE password LIKE '{%'",
		"SELECT address FROM account ORDER BY password", "SELECT address FROM account", "HANDLER account OPEN", "SELECT * FROM account_mailbox",
		"CALL rehash('x', 'y', 'z')",
	}
	everyone := []string{
		"INSERT INTO domain (name, created) VALUES ('a', NOW())", "UPDATE account SET enabled = 1", "DELETE FROM alias",
		"SELECT * FROM pending_end", "SELECT * FROM system_setting", "SELECT * FROM schema_version", "CREATE TABLE x (n INT)",
		"DROP TABLE alias", "SELECT * FROM mysql.global_priv", "SELECT 1 INTO OUTFILE '/tmp/x'", "LOCK TABLES alias WRITE",
		"SET GLOBAL general_log = 1", "CREATE USER x", "GRANT SELECT ON alias TO PUBLIC", "KILL 1",
		"SELECT address FROM alias FOR UPDATE", "SET PASSWORD = PASSWORD('x')",
	}
	for _, query := range slices.Concat(denied, everyone) {
		if _, err := postfix.ExecContext(e.ctx, query); !isServerError(err) {
			e.Errorf("postfix: %s: got %v, want a refusal", query, err)
		}
	}
	for _, query := range everyone {
		if _, err := dovecot.ExecContext(e.ctx, query); !isServerError(err) {
			e.Errorf("dovecot: %s: got %v, want a refusal", query, err)
		}
	}
	testRehash(e, dovecot)
	testMendRights(e)
}

// Dovecot may make a weak hash a strong one, and change nothing else.
func testRehash(e *env, dovecot *sql.DB) {
	e.addDomains("weak.example")
	e.addAccounts("strong@weak.example")
	weak := accounts.NewSecret("{PLAIN-MD5}bff12d94a40e5f379eaa2c6c6a1f8a51")
	e.ok(e.db.AddAccount(e.ctx, accounts.NewAccount{Address: addr("weak@weak.example"), Hash: weak, AllowWeak: true}))
	rehash := func(address string, old accounts.Secret, new, want string) {
		e.Helper()
		_, err := dovecot.ExecContext(e.ctx, "CALL rehash(?, ?, ?)", address, old.Reveal(), new)
		e.ok(err)
		var got string
		e.ok(e.root.QueryRowContext(e.ctx, "SELECT password FROM `"+e.options.Database+"`.account WHERE address = ?", address).Scan(&got))
		e.equal(got, want)
	}
	const strong = "{SHA512-CRYPT}$6$salt$hash"
	rehash("strong@weak.example", hash, strong, hash.Reveal())
	rehash("weak@weak.example", hash, strong, weak.Reveal())
	rehash("weak@weak.example", weak, "{PLAIN}known", weak.Reveal())
	rehash("weak@weak.example", weak, strong, strong)
}

// Rights and secrets that are not as they should be are seen and mended.
func testMendRights(e *env) {
	user := "`" + e.options.ServicePrefix + "postfix`@`localhost`"
	for statement, seen := range map[string]string{
		"GRANT SELECT ON `" + e.options.Database + "`.account TO " + user: "SELECT ON " + e.options.Database + ".account",
		"GRANT FILE, PROCESS ON *.* TO " + user:                           "FILE ON *.*",
		"GRANT ALL ON `" + e.options.Database + "`.* TO " + user:          "ALL PRIVILEGES",
		"GRANT USAGE ON *.* TO " + user + " WITH GRANT OPTION":            "GRANT OPTION",
	} {
		e.exec(statement)
		problems, err := e.db.RightsProblems(e.ctx, services)
		e.ok(err)
		if !strings.Contains(strings.Join(problems, "\n"), seen) {
			e.Errorf("after %s the problems are %q", statement, problems)
		}
		current, err := e.db.ServicesCurrent(e.ctx, services)
		e.ok(err)
		e.equal(current, false)
		_, err = e.db.Migrate(e.ctx, services)
		e.ok(err)
		current, err = e.db.ServicesCurrent(e.ctx, services)
		e.ok(err)
		e.equal(current, true)
	}
	renewed := accounts.Services{Dovecot: dovecotSecret, Postfix: accounts.NewSecret("another")}
	applied, err := e.db.Migrate(e.ctx, renewed)
	e.ok(err)
	e.equal(applied, []string{"database user " + e.options.ServicePrefix + "postfix"})
	problems, err := e.db.RightsProblems(e.ctx, services)
	e.ok(err)
	e.equal(problems, []string{"database user " + e.options.ServicePrefix + "postfix cannot log in with its secret and only with it"})
	old := e.login(e.options.ServicePrefix+"postfix", postfixSecret, e.options.Database)
	defer func() { _ = old.Close() }()
	if err := old.PingContext(e.ctx); !isServerError(err) {
		e.Errorf("the old secret gives %v", err)
	}
}

func isServerError(err error) bool {
	var server *mysql.MySQLError
	return errors.As(err, &server)
}

func testWrongSecret(_ *testing.T, e *env) {
	wrong := e.options
	wrong.Password = accounts.NewSecret("wrong")
	_, err := accounts.Open(e.ctx, wrong)
	var login *accounts.LoginError
	if !errors.As(err, &login) || login.Hint() == "" || strings.Contains(err.Error(), "wrong") {
		e.Errorf("a wrong secret gives %v", err)
	}
	wrong.Socket = filepath.Join(e.TempDir(), "none.sock")
	_, err = accounts.Open(e.ctx, wrong)
	var down *accounts.NotUpError
	if !errors.As(err, &down) || down.Hint() == "" {
		e.Errorf("no socket gives %v", err)
	}
}
