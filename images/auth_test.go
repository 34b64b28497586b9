package images

import (
	"strings"
	"testing"

	"mailstack/accounts"
)

// TestLoginCosts runs what checks passwords (auth.lua), without Dovecot and a
// database: testdata/auth.lua says what it is obliged to. A name that nobody has
// costs what the hash of a new account costs.
func TestLoginCosts(t *testing.T) {
	t.Parallel()
	hash, err := accounts.HashPassword(accounts.NewSecret("any password"))
	if err != nil {
		t.Fatal(err)
	}
	// {ARGON2ID}, the version and its costs, before the salt.
	costs := strings.Join(strings.Split(hash.Reveal(), "$")[:4], "$") + "$"
	runLua(t, "testdata/auth.lua", costs)
}
