package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
)

func TestLatestVersionIsTheLastMigration(t *testing.T) {
	files, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil || len(files) != latestVersion {
		t.Fatalf("%d migrations (%v), the program knows %d", len(files), err, latestVersion)
	}
	for i, file := range files {
		if !strings.HasPrefix(file, fmt.Sprintf("migrations/%05d_", i+1)) {
			t.Errorf("migration %d is %s", i+1, file)
		}
		text, err := fs.ReadFile(migrationFiles, file)
		if err != nil {
			t.Fatal(err)
		}
		// MariaDB commits at each of them, so half a migration stays behind.
		for _, form := range []string{"CREATE TABLE ", "DROP TABLE ", "ADD COLUMN ", "ADD INDEX ", "DROP COLUMN "} {
			for rest := range strings.SplitSeq(string(text), "\n"+form) {
				if rest != string(text) && !strings.HasPrefix(rest, "IF ") && !strings.HasPrefix(rest, "-- ") {
					t.Errorf("%s: a %sthat cannot be run again", file, form)
				}
			}
		}
	}
}

func TestParseGrant(t *testing.T) {
	for line, want := range map[string][]string{
		"GRANT USAGE ON *.* TO `p`@`localhost` IDENTIFIED BY PASSWORD '*3DCF'":              nil,
		"GRANT SELECT ON `mail`.`alias` TO `p`@`localhost`":                                 {"SELECT ON mail.alias"},
		"GRANT SELECT (`domain`, `address`) ON `mail`.`account` TO `p`@`localhost`":         {"SELECT(domain) ON mail.account", "SELECT(address) ON mail.account"},
		"GRANT SELECT, INSERT (`n`) ON `mail`.`d` TO `p`@`localhost` WITH GRANT OPTION":     {"SELECT ON mail.d", "INSERT(n) ON mail.d", "GRANT OPTION ON mail.d"},
		"GRANT ALL PRIVILEGES ON `mail`.* TO `p`@`localhost`":                               {"ALL PRIVILEGES ON mail.*"},
		"GRANT EXECUTE ON PROCEDURE `mail`.`p1` TO `p`@`localhost`":                         {"EXECUTE ON PROCEDURE mail.p1"},
		"GRANT `r1` TO `p`@`localhost`":                                                     {"`r1`"},
		"GRANT PROXY ON ''@'%' TO 'p'@'localhost'":                                          {"GRANT PROXY ON ''@'%' TO 'p'@'localhost'"},
		"GRANT PROCESS, FILE ON *.* TO `p`@`localhost` IDENTIFIED VIA x USING 'GRANT' OR y": {"PROCESS ON *.*", "FILE ON *.*"},
	} {
		if got := parseGrant(line); !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", line, got, want)
		}
	}
}

// SELECT PASSWORD('adm') on MariaDB 11.8.
func TestNativePassword(t *testing.T) {
	if got := nativePassword(NewSecret("adm")); got != "*3DCFB64FE0CB05D63B9AF64492B5CD6269D82EE8" {
		t.Errorf("got %s", got)
	}
}

func TestPostfixNeverReadsPasswords(t *testing.T) {
	for _, user := range (&DB{options: Options{Database: "mail"}}).users(Services{}) {
		for _, right := range user.rights("mail") {
			if user.name == "postfix" && (right == "SELECT ON mail.account" || strings.Contains(right, "password")) {
				t.Errorf("postfix has %s", right)
			}
			if !strings.HasPrefix(right, "SELECT") && (user.name != "dovecot" || right != "EXECUTE ON PROCEDURE mail.rehash") {
				t.Errorf("%s has %s", user.name, right)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	db := &DB{options: Options{Socket: "/s", User: "admin"}}
	var down *NotUpError
	var login *LoginError
	for _, err := range []error{syscall.ENOENT, syscall.ECONNREFUSED, mysql.ErrInvalidConn, &mysql.MySQLError{Number: codeShuttingDown}} {
		if !errors.As(db.explain("open database", err), &down) {
			t.Errorf("%v is not taken for a server that is not up", err)
		}
	}
	if !errors.As(db.explain("open database", &mysql.MySQLError{Number: codeAccessDenied}), &login) {
		t.Error("access denied is not taken for a wrong secret")
	}
	refusal := refuse(ErrExists, "", "there")
	if got := db.explain("add", refusal); got != error(refusal) {
		t.Errorf("a refusal became %v", got)
	}
	if db.explain("add", nil) != nil {
		t.Error("nothing became an error")
	}
}
