package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"mailstack/accounts"
)

// databaseUsers are the names worth trying: ours and those of a MariaDB with
// its default accounts. Percent is anonymous.
var databaseUsers = []string{"root", "mysql", "mariadb.sys", "admin", "dovecot", "postfix", "vmail", ""}

// Invariant 2: who the peer is opens nothing. The user ids are root's, those of
// the services and the database's own, which a default MariaDB lets in.
func TestNoDatabaseLoginByUID(t *testing.T) {
	t.Parallel()
	s := shared(t)
	image := inspect(t, s.container("mysql")).Image
	sockets := s.data() + "/socket/mysql/run:/socket/mysql:ro"
	const try = `for user in "$@"; do
		mariadb --no-defaults --ssl-verify-server-cert=OFF --skip-password -S /socket/mysql/mysqld.sock -u "$user" -e 'SELECT CURRENT_USER()' 2>&1 | tr '\n' ' '
		echo
	done`
	for _, uid := range []string{"0", "5301", "5302", "5303", "5304", "5305"} {
		args := []string{
			"run", "--rm", "--network", "none", "--cap-drop", "ALL", "--user", uid + ":" + uid,
			"-v", sockets, "--entrypoint", "sh", image, "-c", try, "sh",
		}
		lines := strings.Split(docker(t, append(args, databaseUsers...)...), "\n")
		if len(lines) != len(databaseUsers) {
			t.Fatalf("uid %s: %q", uid, lines)
		}
		for i, line := range lines {
			t.Run(fmt.Sprintf("uid %s as %q", uid, databaseUsers[i]), func(t *testing.T) {
				// 1045 access denied, 1524 plugin not loaded, 4151 account locked
				if !strings.Contains(line, "ERROR 1045") && !strings.Contains(line, "ERROR 1524") && !strings.Contains(line, "ERROR 4151") {
					t.Errorf("not refused: %s", line)
				}
			})
		}
	}
}

// From the containers themselves, with what is in them: a lookup table of
// one's own.
func TestNoDatabaseLoginFromPostfix(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const lookup = `printf 'hosts = unix:/socket/mysql/mysqld.sock\nuser = %s\npassword = %s\ndbname = mail\nquery = SELECT 1\n' "$1" "$2" >/tmp/$3.cf
		postmap -q x mysql:/tmp/$3.cf 2>&1; status=$?; rm /tmp/$3.cf; exit $status`
	own := s.secret(t, "postfix")
	for _, user := range []string{"root", "mysql", "admin", "dovecot", "postfix"} {
		for with, password := range map[string]string{"without a secret": "", "with Postfix's secret": own} {
			if user == "postfix" && password == own {
				continue // the lookup below
			}
			t.Run(user+" "+with, func(t *testing.T) {
				out, _ := s.exec(t, "postfix", "sh", "-c", lookup, "sh", user, password, "inv-"+user)
				if !strings.Contains(out, "Access denied") {
					t.Errorf("root in postfix: %s", out)
				}
			})
		}
	}
	// The lookup is one that works for who knows the secret.
	out, code := s.exec(t, "postfix", "sh", "-c", lookup, "sh", "postfix", own, "inv-control")
	if code != 0 || strings.TrimSpace(out) != "1" {
		t.Errorf("with its secret postfix gets status %d: %s", code, out)
	}
}

// refusals are how the server says that somebody may not
// (https://mariadb.com/docs/server/reference/error-codes): a statement that fails for
// another reason would prove nothing.
var refusals = []uint16{
	1044, 1045, // no right to the database; none to files
	1142, 1143, // none to the table; none to the column
	1227, // an administrator's right is needed
	1290, // read-only
}

func TestDatabaseUsersMayNoMoreThanTheyNeed(t *testing.T) {
	t.Parallel()
	s := shared(t)
	address, _ := s.account(t)
	db, err := accounts.Open(t.Context(), accounts.Options{
		Socket: s.layout().Socket("mysql", "mysqld.sock"), Password: accounts.NewSecret(s.secret(t, "admin")),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if problems, err := db.Grants(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("rights in the database: %v %v", problems, err)
	}
	forbidden := map[string][]string{
		"postfix": {
			"SELECT password FROM account", "SELECT * FROM account", "SELECT 1 FROM account WHERE password LIKE '{%'",
			// HANDLER reads all columns where only some are granted.
			"HANDLER account OPEN", "SELECT * FROM account_mailbox",
			"SELECT * FROM mysql.global_priv", "SELECT LOAD_FILE('/run/mailstack/secret/admin') IS NOT NULL OR 1 FROM mysql.user",
		},
		"dovecot": {"SELECT * FROM mysql.global_priv", "SELECT * FROM pending_end"},
	}
	allowed := map[string]string{
		"postfix": "SELECT address FROM mailbox WHERE address = ?",
		"dovecot": "SELECT password FROM account WHERE address = ?",
	}
	writes := []string{
		"UPDATE account SET enabled = 1", "INSERT INTO domain (name, created) VALUES ('x.example', NOW())", "DELETE FROM alias",
		"DROP TABLE alias", "CREATE TABLE t (i INT)", "CREATE DATABASE attack", "GRANT SELECT ON mail.* TO 'postfix'@'localhost'",
		"SET GLOBAL general_log = 1", "SELECT 1 INTO OUTFILE '/tmp/attack'",
		"SELECT address FROM alias FOR UPDATE", "SET PASSWORD = PASSWORD('attack')",
	}
	for user, statements := range forbidden {
		conn := s.databaseAs(t, user)
		var got string
		if err := conn.QueryRow(allowed[user], address).Scan(&got); err != nil || got == "" {
			t.Errorf("%s cannot do its own lookup: %v", user, err)
		}
		for _, statement := range append(statements, writes...) {
			t.Run(user+"/"+statement, func(t *testing.T) {
				_, err := conn.Exec(statement)
				var refusal *mysql.MySQLError
				if !errors.As(err, &refusal) || !slices.Contains(refusals, refusal.Number) {
					t.Errorf("not refused: %v", err)
				}
			})
		}
	}
}

// TestDatabaseSecretsAreForOneUser: whoever has the secret of one user of the
// database is nobody else there.
func TestDatabaseSecretsAreForOneUser(t *testing.T) {
	t.Parallel()
	s := shared(t)
	users := []string{"admin", "dovecot", "postfix"}
	for _, user := range users {
		for _, owner := range users {
			t.Run(user+" with the secret of "+owner, func(t *testing.T) {
				err := s.databaseWith(t, user, s.secret(t, owner)).Ping()
				var refusal *mysql.MySQLError
				switch {
				case user == owner && err != nil:
					t.Errorf("its own secret: %v", err)
				case user != owner && (!errors.As(err, &refusal) || refusal.Number != 1045):
					t.Errorf("not refused: %v", err)
				}
			})
		}
	}
}

// databaseAs logs in over the shared socket as a service does.
func (s *Stack) databaseAs(t *testing.T, user string) *sql.DB {
	t.Helper()
	return s.databaseWith(t, user, s.secret(t, user))
}

// databaseWith logs in with any secret.
func (s *Stack) databaseWith(t *testing.T, user, secret string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "unix", s.layout().Socket("mysql", "mysqld.sock"), user, secret, "mail"
	c.Logger = &mysql.NopLogger{} // the stack may be gone before the connection is
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}
