package accounts

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Services are the secrets of the services' database users.
type Services struct {
	Dovecot, Postfix Secret
}

// grant is the right to read a table, or only some columns of it.
type grant struct {
	table   string
	columns []string // empty: all
}

// serviceUser is a database user of a service.
type serviceUser struct {
	name   string
	secret Secret
	grants []grant
	calls  []string // procedures
}

// users lists what each service may read, and what it may call: no more than
// its lookups need, and for Dovecot what makes a weak hash a strong one.
// Postfix gets a table without the password, as that must stay out of its reach,
// whatever happens to it; a grant on some columns of the accounts would not keep it
// there, since HANDLER account READ returns all columns to who may read one.
func (db *DB) users(s Services) []serviceUser {
	return []serviceUser{
		{db.options.ServicePrefix + "dovecot", s.Dovecot, []grant{
			{"account", nil},
			{"alias", []string{"address", "domain", "target"}},
			{"domain", []string{"name"}},
		}, []string{"rehash"}},
		{db.options.ServicePrefix + "postfix", s.Postfix, []grant{
			{"mailbox", nil},
			{"alias", nil},
			{"domain", nil},
		}, nil},
	}
}

// rights is what a user may do, one entry for each privilege, object and
// column, as "SELECT(address) ON mail.account".
func (u serviceUser) rights(database string) []string {
	var list []string
	for _, g := range u.grants {
		object := " ON " + database + "." + g.table
		if len(g.columns) == 0 {
			list = append(list, "SELECT"+object)
		}
		for _, column := range g.columns {
			list = append(list, "SELECT("+column+")"+object)
		}
	}
	for _, procedure := range u.calls {
		list = append(list, "EXECUTE ON PROCEDURE "+database+"."+procedure)
	}
	slices.Sort(list)
	return list
}

// nativePassword is what mysql_native_password stores: "*" and the SHA-1 of
// the SHA-1 of the password
// (https://mariadb.com/docs/server/reference/plugins/authentication-plugins/authentication-plugin-mysql_native_password).
// The secrets are random and long, so a fast hash gives nothing away; sending
// it keeps the secret itself out of every log the server may write.
func nativePassword(secret Secret) string {
	once := sha1.Sum([]byte(secret.Reveal()))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// ServicesCurrent says whether the services' users have these secrets and
// exactly their rights, that is, whether Migrate would leave them alone.
func (db *DB) ServicesCurrent(ctx context.Context, services Services) (bool, error) {
	for _, user := range db.users(services) {
		login, err := db.loginCurrent(ctx, user)
		if err != nil || !login {
			return false, db.explain("read database user", err)
		}
		have, err := db.rightsOf(ctx, user.name)
		if err != nil || !slices.Equal(have, user.rights(db.options.Database)) {
			return false, db.explain("read database user", err)
		}
	}
	return true, nil
}

// ensureUsers makes each service's user as it should be, and says which it
// touched. A user that is as it should be is left alone, and its lookups go on.
func (db *DB) ensureUsers(ctx context.Context, services Services) (touched []string, err error) {
	for _, user := range db.users(services) {
		if user.secret.IsZero() {
			return touched, fmt.Errorf("user %s: no secret given", user.name)
		}
		changed, err := db.ensureUser(ctx, user)
		if err != nil {
			return touched, fmt.Errorf("user %s: %w", user.name, err)
		}
		if changed {
			touched = append(touched, "database user "+user.name)
		}
	}
	return touched, nil
}

func (db *DB) ensureUser(ctx context.Context, user serviceUser) (changed bool, err error) {
	login, err := db.loginCurrent(ctx, user)
	if err != nil {
		return false, err
	}
	account := fmt.Sprintf("`%s`@`localhost`", user.name)
	if !login {
		// No prepared form of these statements exists; the only value in them
		// is hexadecimal.
		via := account + " IDENTIFIED VIA mysql_native_password USING '" + nativePassword(user.secret) + "' REQUIRE NONE"
		for _, statement := range []string{"CREATE USER IF NOT EXISTS " + via, "ALTER USER " + via + " ACCOUNT UNLOCK"} {
			if _, err := db.sql.ExecContext(ctx, statement); err != nil {
				return false, err
			}
		}
	}
	want := user.rights(db.options.Database)
	have, err := db.rightsOf(ctx, user.name)
	if err != nil || slices.Equal(have, want) {
		return !login, err
	}
	if err := db.mendRights(ctx, user, have); err != nil {
		return true, err
	}
	have, err = db.rightsOf(ctx, user.name)
	if err == nil && !slices.Equal(have, want) {
		err = fmt.Errorf("has %s, wants %s", strings.Join(have, "; "), strings.Join(want, "; "))
	}
	return true, err
}

// mendRights revokes what is too much, then grants what is missing. The order
// matters: revoking a right on a table takes the same right on its columns
// along.
func (db *DB) mendRights(ctx context.Context, user serviceUser, have []string) error {
	account := fmt.Sprintf("`%s`@`localhost`", user.name)
	want := user.rights(db.options.Database)
	each := func(rights, but []string, statement string) error {
		for _, right := range rights {
			if slices.Contains(but, right) {
				continue
			}
			if _, err := db.sql.ExecContext(ctx, fmt.Sprintf(statement, right, account)); err != nil {
				return fmt.Errorf(statement+": %w", right, account, err)
			}
		}
		return nil
	}
	if err := each(have, want, "REVOKE %s FROM %s"); err != nil {
		return err
	}
	have, err := db.rightsOf(ctx, user.name)
	if err != nil {
		return err
	}
	return each(want, have, "GRANT %s TO %s")
}

// loginCurrent says whether the user exists and can log in with its secret
// and in no other way.
func (db *DB) loginCurrent(ctx context.Context, user serviceUser) (bool, error) {
	var current bool
	err := db.sql.QueryRowContext(ctx, `
		SELECT COALESCE(JSON_VALUE(Priv, '$.plugin') = 'mysql_native_password'
		   AND JSON_VALUE(Priv, '$.authentication_string') = ?
		   AND NOT JSON_EXISTS(Priv, '$.auth_or')
		   AND COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 0, 0)
		FROM mysql.global_priv WHERE User = ? AND Host = 'localhost'`,
		nativePassword(user.secret), user.name).Scan(&current)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return current, err
}

// rightsOf reads what a user may do, sorted, in the form of
// serviceUser.rights. What is in no form known here comes back as the
// server's own line, which equals no right that is wanted.
func (db *DB) rightsOf(ctx context.Context, user string) ([]string, error) {
	return db.showGrants(ctx, fmt.Sprintf("SHOW GRANTS FOR `%s`@`localhost`", user))
}

func (db *DB) showGrants(ctx context.Context, statement string) ([]string, error) {
	lines, err := queryStrings(ctx, db.sql, statement)
	if err != nil {
		return nil, err
	}
	var rights []string
	for _, line := range lines {
		rights = append(rights, parseGrant(line)...)
	}
	slices.Sort(rights)
	return slices.Compact(rights), nil
}

var (
	grantLine = regexp.MustCompile("^GRANT (.+) ON ((?:[A-Z ]+ )?(?:`[^`]+`|\\*)\\.(?:`[^`]+`|\\*)) TO (.*)$")
	roleLine  = regexp.MustCompile("^GRANT (`[^`]+`) TO ")
	privilege = regexp.MustCompile(`([A-Z][A-Z ]*[A-Z])(?: \(([^)]*)\))?(?:, |$)`)
)

// parseGrant takes one line of SHOW GRANTS apart.
func parseGrant(line string) (rights []string) {
	if role := roleLine.FindStringSubmatch(line); role != nil {
		return []string{role[1]}
	}
	match := grantLine.FindStringSubmatch(line)
	if match == nil {
		return []string{line}
	}
	object := " ON " + strings.ReplaceAll(match[2], "`", "")
	for _, p := range privilege.FindAllStringSubmatch(match[1], -1) {
		switch {
		case p[1] == "USAGE": // the right to log in and nothing else
		case p[2] == "":
			rights = append(rights, p[1]+object)
		default:
			for column := range strings.SplitSeq(strings.ReplaceAll(p[2], "`", ""), ", ") {
				rights = append(rights, p[1]+"("+column+")"+object)
			}
		}
	}
	if strings.Contains(match[3], "WITH GRANT OPTION") {
		rights = append(rights, "GRANT OPTION"+object)
	}
	return rights
}

// Grants says what in the server lets somebody do more than they may, one
// sentence each: a service's user with rights beyond its own, a user that
// needs no secret, rights given to everybody, authentication by peer
// credentials. Nothing means that all is well.
func (db *DB) Grants(ctx context.Context) (problems []string, err error) {
	for _, user := range db.users(Services{}) {
		have, err := db.rightsOf(ctx, user.name)
		if err != nil {
			return nil, db.explain("read rights of "+user.name, err)
		}
		want := user.rights(db.options.Database)
		for _, right := range have {
			if !slices.Contains(want, right) {
				problems = append(problems, fmt.Sprintf("database user %s has %s, which it must not", user.name, right))
			}
		}
		for _, right := range want {
			if !slices.Contains(have, right) {
				problems = append(problems, fmt.Sprintf("database user %s lacks %s", user.name, right))
			}
		}
	}
	server, err := db.serverProblems(ctx)
	return append(problems, server...), db.explain("read database users", err)
}

// RightsProblems is Grants, with what is wrong with the services' own logins.
func (db *DB) RightsProblems(ctx context.Context, services Services) (problems []string, err error) {
	for _, user := range db.users(services) {
		login, err := db.loginCurrent(ctx, user)
		if err != nil {
			return nil, db.explain("read database user", err)
		}
		if !login {
			return []string{fmt.Sprintf("database user %s cannot log in with its secret and only with it", user.name)}, nil
		}
	}
	return db.Grants(ctx)
}

// serverProblems looks for ways in that need no secret.
func (db *DB) serverProblems(ctx context.Context) (problems []string, err error) {
	everybody, err := db.showGrants(ctx, "SHOW GRANTS FOR PUBLIC")
	if err != nil {
		return nil, err
	}
	for _, right := range everybody {
		problems = append(problems, "every database user has "+right)
	}
	open, err := queryStrings(ctx, db.sql, `
		SELECT CONCAT('database user ', User, '@', Host, ' needs no password') FROM mysql.global_priv
		WHERE COALESCE(JSON_VALUE(Priv, '$.is_role'), 0) = 0 AND COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 0
		  AND COALESCE(JSON_VALUE(Priv, '$.plugin'), '') IN ('', 'mysql_native_password', 'mysql_old_password')
		  AND COALESCE(JSON_VALUE(Priv, '$.authentication_string'), '') = ''
		UNION ALL
		SELECT CONCAT('database user ', User, ' may log in from ', Host) FROM mysql.global_priv
		WHERE User IN (?, ?, ?) AND Host <> 'localhost'
		UNION ALL
		SELECT CONCAT('the plugin ', PLUGIN_NAME, ' lets in whoever has the right uid') FROM information_schema.PLUGINS
		WHERE PLUGIN_NAME = 'unix_socket' AND PLUGIN_STATUS = 'ACTIVE'`,
		db.options.User, db.options.ServicePrefix+"dovecot", db.options.ServicePrefix+"postfix")
	return append(problems, open...), err
}

// queryStrings returns the first column of every row.
func queryStrings(ctx context.Context, db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, args ...any,
) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, rows.Err()
}
