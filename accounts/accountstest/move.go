package accountstest

import (
	"errors"
	"testing"

	"mailstack/accounts"
)

func testMove(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("a.example")
	e.addAccounts("settled@a.example")
	move := accounts.NewMove()
	begin := func(address string, quota int64) (bool, error) {
		return e.db.BeginMove(e.ctx, move, accounts.NewAccount{Address: addr(address), Hash: hash, QuotaBytes: quota})
	}
	show := func(address string) accounts.Account {
		e.Helper()
		detail, err := e.db.ShowAccount(e.ctx, addr(address))
		e.ok(err)
		return detail.Account
	}

	made, err := begin("u@a.example", 0)
	e.ok(err)
	first := show("u@a.example")
	if !made || !first.Moving {
		e.Errorf("made %v, %+v", made, first)
	}
	// The next run of the same move takes what the old host says by now.
	made, err = begin("u@a.example", 1<<20)
	e.ok(err)
	second := show("u@a.example")
	if made || second.QuotaBytes != 1<<20 || !second.Moving || second.Generation == first.Generation {
		e.Errorf("made %v, %+v", made, second)
	}
	// Who had no hash there that could be taken keeps the password got here since.
	const own = "{SHA512-CRYPT}$6$salt$own"
	stored := func(address string) (password string) {
		e.Helper()
		e.ok(e.root.QueryRowContext(e.ctx, "SELECT password FROM `"+e.options.Database+"`.account WHERE address = ?", address).Scan(&password))
		return password
	}
	for _, run := range []struct{ had, want string }{{"", hash.Reveal()}, {own, own}} {
		if run.had != "" {
			e.ok(e.db.SetPassword(e.ctx, addr("none@a.example"), accounts.NewSecret(run.had)))
		}
		_, err = e.db.BeginMove(e.ctx, move, accounts.NewAccount{Address: addr("none@a.example"), Hash: hash, KeepHash: true})
		e.ok(err)
		e.equal(stored("none@a.example"), run.want)
	}
	_, err = begin("none@a.example", 0)
	e.ok(err)
	e.equal(stored("none@a.example"), hash.Reveal())
	_, err = e.db.FinishPending(e.ctx, &sessions{})
	e.ok(err)
	// Whoever is here already keeps what is theirs.
	if _, err := begin("settled@a.example", 1); !errors.Is(err, accounts.ErrExists) {
		e.Errorf("an account in use: %v", err)
	}
	if a := show("settled@a.example"); a.Moving || a.QuotaBytes != 0 {
		e.Errorf("%+v", a)
	}

	// All or none.
	if err := e.db.EndMove(e.ctx, []accounts.Address{addr("u@a.example"), addr("settled@a.example")}); !errors.Is(err, accounts.ErrNotFound) {
		e.Errorf("ending the move of an account that is in none: %v", err)
	}
	if !show("u@a.example").Moving {
		e.Error("half of a refused change was done")
	}
	e.ok(e.db.EndMove(e.ctx, []accounts.Address{addr("u@a.example")}))
	third := show("u@a.example")
	if third.Moving || third.Generation == second.Generation {
		e.Errorf("%+v", third)
	}
	if _, err := begin("u@a.example", 1); !errors.Is(err, accounts.ErrExists) {
		e.Errorf("moving it again: %v", err)
	}
	pending, err := e.db.Pending(e.ctx)
	e.ok(err)
	e.equal(len(pending), 0)
}
