package e2e

import (
	"path/filepath"
	"testing"

	"mailstack/accounts"
	"mailstack/accounts/accountstest"
	"mailstack/stack"
)

// TestAccountsDatabase runs the suite of package accounts on a stack's database
// server, over the socket that the program itself uses. The suite works in
// databases of its own.
func TestAccountsDatabase(t *testing.T) {
	t.Parallel()
	s := shared(t)
	secret, err := stack.ReadSecret(stack.Layout{Dir: s.data()}, stack.AdminSecret)
	if err != nil {
		t.Fatal(err)
	}
	accountstest.Run(t, accounts.Options{
		Socket:   filepath.Join(s.data(), "socket", "mysql", "run", "mysqld.sock"),
		Password: accounts.NewSecret(secret.Reveal()),
	})
}
