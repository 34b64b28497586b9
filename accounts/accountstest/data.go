package accountstest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"mailstack/accounts"
)

func testDomains(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("b.example", "Bücher.Example")
	e.refused(e.db.AddDomain(e.ctx, "B.example"), accounts.ErrExists, "b.example")
	e.refused(e.db.AddDomain(e.ctx, "a b"), accounts.ErrInvalid)
	e.addAccounts("u@b.example")
	e.ok(e.alias("@b.example", "u@b.example"))
	list, err := e.db.ListDomains(e.ctx, false)
	e.ok(err)
	e.equal(len(list), 2)
	e.equal(list[0].Name+fmt.Sprint(list[0].Accounts, list[0].Aliases, list[0].CatchAll), "b.example1 1 true")
	e.equal(list[1].Name+" "+list[1].Unicode, "xn--bcher-kva.example bücher.example")
	all, err := e.db.ListDomains(e.ctx, true)
	e.ok(err)
	e.equal(len(all), 3)

	err = e.db.RemoveDomain(e.ctx, "b.example")
	e.refused(err, accounts.ErrInUse, "accounts: u@b.example", "aliases: @b.example")
	e.ok(e.db.RemoveAlias(e.ctx, addr("@b.example")))
	e.ok(e.db.RemoveAccount(e.ctx, addr("u@b.example")))
	e.addAccounts("x@xn--bcher-kva.example")
	e.ok(e.alias("info@xn--bcher-kva.example", "postmaster@b.example"))
	e.refused(e.db.RemoveDomain(e.ctx, "b.example"), accounts.ErrInUse, "info@xn--bcher-kva.example -> postmaster@b.example")
	e.ok(e.db.RemoveAlias(e.ctx, addr("info@xn--bcher-kva.example"), addr("postmaster@b.example")))
	e.ok(e.db.RemoveDomain(e.ctx, "b.example"))
	e.refused(e.db.RemoveDomain(e.ctx, "b.example"), accounts.ErrNotFound)
}

func testAccounts(_ *testing.T, e *env) {
	e.migrated()
	add := func(address string) error {
		return e.db.AddAccount(e.ctx, accounts.NewAccount{Address: addr(address), Hash: hash, QuotaBytes: 5})
	}
	err := add("u@new.example")
	e.refused(err, accounts.ErrNotFound, "new.example")
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || hinted.Hint() != "mailstack domain add new.example" {
		e.Errorf("no hint in %v", err)
	}
	e.refused(add("u@mail.example.org"), accounts.ErrNotFound) // the host's name is nobody's
	e.addDomains("new.example")
	e.ok(add("u@new.example"))
	e.refused(e.db.CheckFree(e.ctx, addr("u@new.example")), accounts.ErrExists)
	e.ok(e.db.CheckFree(e.ctx, addr("free@new.example")))
	e.refused(add("U@New.example"), accounts.ErrExists, "u@new.example")
	e.refused(add("u+tag@new.example"), accounts.ErrInvalid)
	e.refused(e.alias("u@new.example", "x@outside.example"), accounts.ErrExists, "is an account")
	e.ok(e.alias("v@new.example", "x@outside.example"))
	e.refused(add("v@new.example"), accounts.ErrExists, "alias")

	before, err := e.db.ShowAccount(e.ctx, addr("u@new.example"))
	e.ok(err)
	e.equal(fmt.Sprint(before.Scheme, before.QuotaBytes, before.Enabled, before.System), "SHA2565 true false")
	generation := func() uint32 {
		account, err := e.db.ShowAccount(e.ctx, addr("u@new.example"))
		e.ok(err)
		return account.Generation
	}
	e.ok(e.db.SetPassword(e.ctx, addr("u@new.example"), accounts.NewSecret("{SHA512}another")))
	e.equal(generation(), before.Generation+1)
	no, yes, quota := false, true, int64(1<<40)
	for _, step := range []struct {
		change  accounts.AccountChange
		changed bool
		bumps   uint32
	}{
		{accounts.AccountChange{Enabled: &no}, true, 2},
		{accounts.AccountChange{Enabled: &no}, false, 2},
		{accounts.AccountChange{QuotaBytes: &quota}, true, 2},
		{accounts.AccountChange{Enabled: &yes, QuotaBytes: &quota}, true, 3},
		{accounts.AccountChange{}, false, 3},
	} {
		changed, err := e.db.SetAccount(e.ctx, addr("u@new.example"), step.change)
		e.ok(err)
		e.equal(changed, step.changed)
		e.equal(generation(), before.Generation+step.bumps)
	}
	e.ok(e.db.RemoveAccount(e.ctx, addr("u@new.example")))
	e.refused(e.db.RemoveAccount(e.ctx, addr("u@new.example")), accounts.ErrNotFound)
	e.refused(e.db.SetPassword(e.ctx, addr("u@new.example"), hash), accounts.ErrNotFound)
	_, err = e.db.ShowAccount(e.ctx, addr("u@new.example"))
	e.refused(err, accounts.ErrNotFound)
	e.ok(add("u@new.example"))
	// Otherwise a submission session of the removed account would be good again.
	if again := generation(); again-before.Generation < 1000 {
		e.Errorf("the new account has generation %d, the removed one began with %d", again, before.Generation)
	}
	counts, err := e.db.Count(e.ctx)
	e.ok(err)
	e.equal(counts, accounts.Counts{Domains: 1, Accounts: 1, Aliases: 1})
	e.equal(e.inhabited(), true)
}

func (e *env) inhabited() bool {
	e.Helper()
	people, err := e.db.Inhabited(e.ctx)
	e.ok(err)
	return people
}

func testPages(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("b.example", "a.example")
	e.addAccounts("z@a.example", "a@b.example", "b@b.example", "y@a.example")
	want := []string{"y@a.example", "z@a.example", "a@b.example", "b@b.example"}
	e.equal(e.addresses(accounts.AccountFilter{}), want)
	e.equal(e.addresses(accounts.AccountFilter{Domain: "b.example"}), want[2:])
	e.equal(e.addresses(accounts.AccountFilter{Limit: 2}), want[:2])
	e.equal(e.addresses(accounts.AccountFilter{Limit: 2, After: addr(want[1])}), want[2:])
	e.equal(len(e.addresses(accounts.AccountFilter{System: true})), 5)
}

func testAliases(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("a.example")
	e.addAccounts("u@a.example")
	e.refused(e.alias("x@other.example", "u@a.example"), accounts.ErrNotFound, "other.example")
	e.refused(e.alias("x@a.example"), accounts.ErrInvalid, "target")
	e.refused(e.alias("x@a.example", system.ProbeAddress()), accounts.ErrNotFound, "the stack itself")
	e.ok(e.alias("team@a.example", "u@a.example", "me@outside.example", `"odd one"@outside.example`))
	err := e.alias("team@a.example", "new@outside.example", "u@a.example")
	e.refused(err, accounts.ErrExists, "team@a.example -> u@a.example")
	e.refused(e.alias("twice@a.example", "u@a.example", "u@a.example"), accounts.ErrExists)
	e.ok(e.alias("@a.example", "u+all@a.example"))
	e.equal(e.aliases(false), []string{
		"@a.example -> u+all@a.example", `team@a.example -> "odd one"@outside.example me@outside.example u@a.example`,
	})
	counts, err := e.db.Count(e.ctx)
	e.ok(err)
	e.equal(counts.Aliases, 2) // addresses, not targets
	e.refused(e.db.RemoveAlias(e.ctx, addr("team@a.example"), addr("me@outside.example"), addr("none@a.example")), accounts.ErrNotFound, "none@")
	e.ok(e.db.RemoveAlias(e.ctx, addr("team@a.example"), addr("me@outside.example")))
	e.ok(e.db.RemoveAlias(e.ctx, addr("team@a.example")))
	e.refused(e.db.RemoveAlias(e.ctx, addr("team@a.example")), accounts.ErrNotFound)
	e.refused(e.db.RemoveAlias(e.ctx, addr("u@a.example")), accounts.ErrNotFound)
	e.refused(e.db.RemoveAlias(e.ctx, addr("abuse@a.example")), accounts.ErrInUse)
}

func testLoops(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("a.example", "b.example")
	e.addAccounts("u@a.example")
	e.refused(e.alias("x@a.example", "x@a.example"), accounts.ErrInvalid, "circle")
	e.refused(e.alias("x@a.example", "none@a.example", "nil@b.example"), accounts.ErrNotFound, "none@a.example", "nil@b.example")
	e.refused(e.alias("@a.example", "any@a.example"), accounts.ErrNotFound)
	e.ok(e.alias("x@a.example", "u+x@a.example"))
	e.ok(e.alias("y@b.example", "x@a.example"))
	e.ok(e.alias("@b.example", "y+1@b.example"))
	e.refused(e.alias("x@a.example", "y+2@b.example"), accounts.ErrInvalid, "x@a.example -> y@b.example -> x@a.example")
	e.refused(e.alias("x@a.example", "whoever@b.example"), accounts.ErrInvalid, "circle")
	e.refused(e.db.RemoveAccount(e.ctx, addr("u@a.example")), accounts.ErrInUse, "x@a.example -> u+x@a.example")
	e.refused(e.db.RemoveAlias(e.ctx, addr("x@a.example")), accounts.ErrInUse, "y@b.example -> x@a.example")
	// Without y@, mail for it would come back to the catch-all that sends it there.
	e.refused(e.db.RemoveAlias(e.ctx, addr("y@b.example")), accounts.ErrInUse)
	e.ok(e.db.RemoveAlias(e.ctx, addr("@b.example")))
	e.ok(e.db.RemoveAlias(e.ctx, addr("y@b.example")))

	// A domain that aliases already point to may be added, and says so.
	e.ok(e.alias("far@a.example", "me@later.example"))
	e.addDomains("later.example")
	list, err := e.db.Dangling(e.ctx)
	e.ok(err)
	e.equal(list, []accounts.Alias{{Address: "far@a.example", Targets: []string{"me@later.example"}, Domain: "a.example"}})
	e.addAccounts("me@later.example")
	list, err = e.db.Dangling(e.ctx)
	e.ok(err)
	e.equal(len(list), 0)
}

func testConcurrent(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("a.example")
	e.addAccounts("u@a.example")
	for i := range 10 {
		one, two := fmt.Sprintf("p%d@a.example", i), fmt.Sprintf("q%d@a.example", i)
		e.ok(e.alias(one, "u@a.example"))
		e.ok(e.alias(two, "u@a.example"))
		var wg sync.WaitGroup
		errs := make([]error, 2)
		wg.Go(func() { errs[0] = e.alias(one, two) })
		wg.Go(func() { errs[1] = e.alias(two, one) })
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			e.Fatalf("of two aliases that make a circle, want one refused; got %v and %v", errs[0], errs[1])
		}
		e.refused(errors.Join(errs...), accounts.ErrInvalid, "circle")
	}
}

func testPending(_ *testing.T, e *env) {
	e.migrated()
	e.addDomains("a.example")
	e.addAccounts("u@a.example", "v@a.example")
	e.ok(e.db.SetPassword(e.ctx, addr("u@a.example"), hash))
	e.ok(e.db.RemoveAccount(e.ctx, addr("v@a.example")))
	want := []string{"u@a.example", "v@a.example"}
	// More than are asked for at once, of which the known are the last.
	var many []string
	for i := range 1200 {
		many = append(many, fmt.Sprintf("n%d@a.example", i))
	}
	unclaimed, err := e.db.Unclaimed(e.ctx, append(many[:len(many):len(many)], want...))
	e.ok(err)
	e.equal(unclaimed, many)
	// The mail of v is still to be set aside.
	unclaimed, err = e.db.Unclaimed(e.ctx, []string{"u@a.example", "v@a.example", "w@a.example"})
	e.ok(err)
	e.equal(unclaimed, []string{"w@a.example"})

	broken := &sessions{err: errors.New("dovecot is away")}
	if _, err := e.db.FinishPending(e.ctx, broken); !errors.Is(err, broken.err) {
		e.Fatalf("got %v", err)
	}
	pending, err := e.db.Pending(e.ctx)
	e.ok(err)
	e.equal(pending, want)

	// A change while the old state is being ended must not be forgotten.
	racing := &sessions{}
	racing.then = func() { e.ok(e.db.SetPassword(e.ctx, addr("u@a.example"), hash)) }
	done, err := e.db.FinishPending(e.ctx, racing)
	e.ok(err)
	e.equal(done, 2)
	e.equal(racing.ended, want)
	pending, err = e.db.Pending(e.ctx)
	e.ok(err)
	e.equal(pending, want[:1])
	_, err = e.db.FinishPending(e.ctx, &sessions{})
	e.ok(err)
	pending, err = e.db.Pending(e.ctx)
	e.ok(err)
	e.equal(len(pending), 0)

	idle := &sessions{err: errors.New("must not be called")}
	_, err = e.db.FinishPending(e.ctx, idle)
	e.ok(err)

	// A refused change leaves nothing behind.
	_ = e.db.SetPassword(e.ctx, addr("none@a.example"), hash)
	pending, err = e.db.Pending(e.ctx)
	e.ok(err)
	e.equal(len(pending), 0)
}
