// Package accountstest exercises package accounts against a real MariaDB
// server. It is a package, not a test file, because what has a server at hand
// is the end-to-end suite: it runs the whole of it against a stack's database
// server.
package accountstest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailstack/accounts"

	"github.com/go-sql-driver/mysql"
)

// Passwords of the suite's users; they mean nothing anywhere else.
var (
	dovecotSecret = accounts.NewSecret("suite-dovecot")
	postfixSecret = accounts.NewSecret("suite-postfix")
	services      = accounts.Services{Dovecot: dovecotSecret, Postfix: postfixSecret}
)

// Run runs the suite on a server, as an administrator who may create databases
// and users. It works in databases and with service users of its own, removes
// them afterwards, and leaves everything else alone.
func Run(t *testing.T, server accounts.Options) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *env)
	}{
		{"Migrate", testMigrate},
		{"MigrateAfterInterruption", testInterrupted},
		{"NewerSchemaIsRefused", testNewer},
		{"ServiceRights", testServiceRights},
		{"WrongSecret", testWrongSecret},
		{"Domains", testDomains},
		{"Accounts", testAccounts},
		{"ListAccountsInPages", testPages},
		{"Aliases", testAliases},
		{"AliasesNeverDangleOrLoop", testLoops},
		{"ConcurrentAliasesNeverLoop", testConcurrent},
		{"System", testSystem},
		{"SystemHostnameMoves", testHostname},
		{"Pending", testPending},
		{"Move", testMove},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newEnv(t, server)) })
	}
}

// env is one fresh database.
type env struct {
	*testing.T
	ctx     context.Context
	options accounts.Options
	root    *sql.DB // the administrator, without this package's rules
	db      *accounts.DB
}

func newEnv(t *testing.T, server accounts.Options) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	id := strings.ToLower(rand.Text()[:8])
	server.Database, server.ServicePrefix = "suite_"+id, "s"+id+"_"
	if server.User == "" {
		server.User = accounts.DefaultUser
	}
	e := &env{T: t, ctx: ctx, options: server}
	e.root = e.login(server.User, server.Password, "")
	e.exec("CREATE DATABASE `" + server.Database + "` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	t.Cleanup(func() {
		defer cancel()
		for _, statement := range []string{
			"DROP DATABASE `" + server.Database + "`",
			"DROP USER IF EXISTS `" + server.ServicePrefix + "dovecot`@`localhost`, `" + server.ServicePrefix + "postfix`@`localhost`",
		} {
			// The test's own context is over by now.
			if _, err := e.root.ExecContext(context.WithoutCancel(ctx), statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
		_ = e.root.Close()
	})
	db, err := accounts.Open(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	e.db = db
	return e
}

// login connects without package accounts.
func (e *env) login(user string, secret accounts.Secret, database string) *sql.DB {
	e.Helper()
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "unix", e.options.Socket, user, secret.Reveal()
	config.DBName, config.Collation = database, "utf8mb4_bin"
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		e.Fatal(err)
	}
	return sql.OpenDB(connector)
}

func (e *env) exec(statement string, args ...any) {
	e.Helper()
	if _, err := e.root.ExecContext(e.ctx, statement, args...); err != nil {
		e.Fatalf("%s: %v", statement, err)
	}
}

// migrated brings the schema up to date and sets the stack's own rows up.
func (e *env) migrated() *env {
	e.Helper()
	_, err := e.db.Migrate(e.ctx, services)
	e.ok(err)
	_, err = e.db.EnsureSystem(e.ctx, system)
	e.ok(err)
	return e
}

var system = accounts.System{
	Hostname: "mail.example.org", Postmaster: "boss@elsewhere.example", ProbePassword: accounts.NewSecret("probe-probe-probe"),
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// refused wants an error of a kind whose text has all the words.
func (e *env) refused(err, kind error, words ...string) {
	e.Helper()
	if !errors.Is(err, kind) {
		e.Fatalf("got error %v, want one that is %q", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			e.Fatalf("error %q does not say %q", err, word)
		}
	}
}

func (e *env) equal(got, want any) {
	e.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		e.Fatalf("got  %s\nwant %s", g, w)
	}
}

var hash = accounts.NewSecret("{SHA256}c29tZSBoYXNo")

func addr(text string) accounts.Address {
	if domain, found := strings.CutPrefix(text, "@"); found {
		return accounts.Address{Domain: domain}
	}
	address, err := accounts.ParseAddress(text)
	if err != nil {
		panic(err)
	}
	return address
}

func (e *env) addDomains(names ...string) {
	e.Helper()
	for _, name := range names {
		e.ok(e.db.AddDomain(e.ctx, name))
	}
}

func (e *env) addAccounts(addresses ...string) {
	e.Helper()
	for _, address := range addresses {
		e.ok(e.db.AddAccount(e.ctx, accounts.NewAccount{Address: addr(address), Hash: hash}))
	}
}

func (e *env) alias(address string, targets ...string) error {
	list := make([]accounts.Address, 0, len(targets))
	for _, target := range targets {
		list = append(list, addr(target))
	}
	return e.db.AddAlias(e.ctx, addr(address), list...)
}

// aliases returns all aliases as "address -> target target", sorted.
func (e *env) aliases(system bool) (lines []string) {
	e.Helper()
	list, err := e.db.ListAliases(e.ctx, accounts.AliasFilter{System: system})
	e.ok(err)
	for _, alias := range list {
		lines = append(lines, alias.Address+" -> "+strings.Join(alias.Targets, " "))
	}
	slices.Sort(lines)
	return lines
}

func (e *env) addresses(filter accounts.AccountFilter) (list []string) {
	e.Helper()
	all, err := e.db.ListAccounts(e.ctx, filter)
	e.ok(err)
	for _, account := range all {
		list = append(list, account.Address)
	}
	return list
}

// sessions records what it is told to end.
type sessions struct {
	mu    sync.Mutex
	ended []string
	err   error
	then  func()
}

func (s *sessions) End(_ context.Context, addresses []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.ended = append(s.ended, addresses...)
	if s.then != nil {
		s.then()
	}
	return nil
}
