package e2e

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	// manyRows is what a scan would show up against.
	manyRows = 4000
	// fewRows bounds what one query may read: an index lookup or two for each
	// table that it names, or a page of a list.
	fewRows = 60
)

// TestLookupsAreByIndex: no query that mail, logins and looks at accounts cause
// reads more rows when there are more accounts. Those that are asked are taken
// from the server's own log.
func TestLookupsAreByIndex(t *testing.T) {
	t.Parallel()
	s := newSmallStack(t)
	s.up(t, "--no-probe")
	db := s.databaseAs(t, "admin")
	db.SetMaxOpenConns(1) // counters are the connection's
	execute(t, db, manyAccounts()...)
	user, password := s.account(t)
	alias := "alias-" + user
	s.mustRun(t, "alias", "add", alias, user)

	execute(t, db, "SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")
	sent := "subject " + randomHex(6)
	if err := s.submit(t, user, password, user, []string{alias}, message(user, alias, sent, "Hello.")); err != nil {
		t.Fatal(err)
	}
	if err := s.inbound(t, "a@elsewhere.example", []string{"nobody@d07.example"}, "x\r\n"); err == nil {
		t.Error("mail for nobody was taken")
	}
	s.waitMail(t, user, password, "INBOX", sent)
	s.waitMail(t, user, password, "INBOX", s.deliver(t, "a@elsewhere.example", user))
	if _, err := s.pop3Login(t, user, password); err != nil {
		t.Fatal(err)
	}
	s.mustRun(t, "account", "show", user)
	s.mustRun(t, "account", "list", "--limit", "10")
	s.mustRun(t, "account", "list", "--limit", "10", "--after", "u2000@d20.example")
	execute(t, db, "SET GLOBAL general_log = OFF")

	queries := logged(t, db)
	for _, words := range []string{"SELECT target FROM alias", "recipient = ", "limited", "FROM domain", "WITH RECURSIVE hop", "SELECT password", "ORDER BY domain, localpart"} {
		if !slices.ContainsFunc(queries, func(q string) bool { return strings.Contains(q, words) }) {
			t.Errorf("no query with %q was asked, of:\n%s", words, strings.Join(queries, "\n"))
		}
	}
	for _, query := range queries {
		checkLookup(t, db, query)
	}
	if !t.Failed() { // a check that finds nothing wrong with a scan is worth nothing
		rows, plan := rowsRead(t, db, "SELECT COUNT(*) FROM account WHERE quota_bytes = 7")
		if rows < manyRows || plan[0]["type"] != "ALL" {
			t.Errorf("a scan counts as %d rows, planned as %v", rows, plan)
		}
	}
}

func execute(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// manyAccounts makes accounts and aliases in 100 domains, by statement because
// one by one takes minutes.
func manyAccounts() []string {
	const domain = "CONCAT('d', LPAD(seq MOD 100, 2, '0'), '.example')"
	rows := fmt.Sprintf(" FROM seq_1_to_%d", manyRows)
	return []string{
		"INSERT INTO domain (name, created) SELECT CONCAT('d', LPAD(seq, 2, '0'), '.example'), UTC_TIMESTAMP() FROM seq_0_to_99",
		"INSERT INTO account (address, localpart, domain, password, created, changed) SELECT CONCAT('u', seq, '@', " + domain +
			"), CONCAT('u', seq), " + domain + ", '{PLAIN}x', UTC_TIMESTAMP(), UTC_TIMESTAMP()" + rows,
		"INSERT INTO alias (address, target, domain) SELECT CONCAT('a', seq, '@', " + domain + "), CONCAT('u', seq, '@', " + domain + "), " + domain + rows,
		"ANALYZE TABLE account, alias, domain",
	}
}

// logged are the different queries that others have asked.
func logged(t *testing.T, db *sql.DB) (queries []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT DISTINCT TRIM(CONVERT(argument USING utf8mb4)) FROM mysql.general_log
		WHERE command_type IN ('Query', 'Execute') AND thread_id <> CONNECTION_ID() AND argument REGEXP '^[[:space:]]*(SELECT|WITH)'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var query string
		if err := rows.Scan(&query); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, query)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return queries
}

// checkLookup holds a query to what it reads. Tables that do not grow with the
// accounts may well be read whole.
func checkLookup(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	read, plan := rowsRead(t, db, query)
	if read > fewRows {
		t.Errorf("%s\nreads %d rows, more than %d", query, read, fewRows)
	}
	for _, step := range plan {
		var rows int
		if _, err := fmt.Sscan(step["rows"], &rows); step["type"] == "ALL" && err == nil && rows > fewRows {
			t.Errorf("%s\nscans table %s", query, step["table"])
		}
	}
}

// rowsRead runs a query and counts what it reads of tables and indexes
// (https://mariadb.com/docs/server/ha-and-performance/optimization-and-tuning/system-variables/server-status-variables),
// and gives its plan.
func rowsRead(t *testing.T, db *sql.DB, query string) (read int, plan []map[string]string) {
	t.Helper()
	plan = table(t, db, "EXPLAIN "+query)
	execute(t, db, "FLUSH STATUS")
	table(t, db, query)
	for _, counter := range table(t, db, "SHOW SESSION STATUS LIKE 'Handler_read%'") {
		var n int
		if _, err := fmt.Sscan(counter["Value"], &n); err != nil {
			t.Fatal(err)
		}
		read += n
	}
	return read, plan
}

// table is what a query answers, by column.
func table(t *testing.T, db *sql.DB, query string) (list []map[string]string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		pointers := make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			t.Fatal(err)
		}
		row := map[string]string{}
		for i, column := range columns {
			row[column] = values[i].String
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}
