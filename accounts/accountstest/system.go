package accountstest

import (
	"slices"
	"strings"
	"testing"

	"mailstack/accounts"
)

func testSystem(_ *testing.T, e *env) {
	_, err := e.db.Migrate(e.ctx, services)
	e.ok(err)
	current, err := e.db.SystemCurrent(e.ctx, system)
	e.ok(err)
	e.equal(current, false)
	changed, err := e.db.EnsureSystem(e.ctx, system)
	e.ok(err)
	e.equal(len(changed), 4)
	e.isCurrent(system)
	e.probeRecipient(system)
	boss := func(domain string) []string {
		return []string{"abuse@" + domain + " -> boss@elsewhere.example", "postmaster@" + domain + " -> boss@elsewhere.example", "root@" + domain + " -> boss@elsewhere.example"}
	}
	e.equal(e.aliases(true), boss("mail.example.org"))
	e.equal(e.addresses(accounts.AccountFilter{}), []string{})
	e.equal(e.addresses(accounts.AccountFilter{System: true}), []string{"mailstack-probe@mail.example.org"})
	e.refused(e.db.RemoveAccount(e.ctx, addr("mailstack-probe@mail.example.org")), accounts.ErrInUse)
	e.refused(e.db.RemoveDomain(e.ctx, "mail.example.org"), accounts.ErrNotFound)

	// A person's account or alias takes the place of the stack's alias, and
	// gives it back.
	e.addDomains("a.example")
	e.addAccounts("postmaster@a.example")
	e.ok(e.alias("abuse@a.example", "x@outside.example"))
	e.equal(e.aliases(false), []string{"abuse@a.example -> x@outside.example"})
	e.equal(len(e.aliases(true)), 5)
	e.isCurrent(system)
	e.ok(e.db.RemoveAccount(e.ctx, addr("postmaster@a.example")))
	e.ok(e.db.RemoveAlias(e.ctx, addr("abuse@a.example")))
	e.equal(e.aliases(true), sorted(boss("a.example"), boss("mail.example.org")))

	// Another postmaster, with an address in a domain of this stack.
	moved := system
	moved.Postmaster = "postmaster@a.example"
	_, err = e.db.EnsureSystem(e.ctx, moved)
	e.ok(err)
	e.isCurrent(moved)
	dangling, err := e.db.Dangling(e.ctx)
	e.ok(err)
	e.equal(len(dangling), 5) // all but its own: the account is still missing
	e.addAccounts("postmaster@a.example")
	e.isCurrent(moved)
	e.refused(e.db.RemoveAccount(e.ctx, addr("postmaster@a.example")), accounts.ErrInUse, "postmaster")

	// A postmaster that leads back to itself.
	e.addDomains("b.example")
	e.addAccounts("me@b.example")
	e.ok(e.alias("help@b.example", "me@b.example"))
	e.ok(e.alias("abuse@b.example", "help@b.example"))
	e.ok(e.alias("help@b.example", "root@b.example"))
	moved.Postmaster = "help@b.example"
	_, err = e.db.EnsureSystem(e.ctx, moved)
	e.refused(err, accounts.ErrInvalid, "circle")

	none := system
	none.Postmaster = ""
	_, err = e.db.EnsureSystem(e.ctx, none)
	e.ok(err)
	e.isCurrent(none)
}

func (e *env) isCurrent(s accounts.System) {
	e.Helper()
	current, err := e.db.SystemCurrent(e.ctx, s)
	e.ok(err)
	e.equal(current, true)
	changed, err := e.db.EnsureSystem(e.ctx, s)
	e.ok(err)
	e.equal(changed, []string{})
}

// probeRecipient: Postfix sees the one address at which mail for the probe is
// taken.
func (e *env) probeRecipient(s accounts.System) {
	e.Helper()
	var recipient string
	e.ok(e.root.QueryRowContext(e.ctx, "SELECT recipient FROM `"+e.options.Database+"`.mailbox WHERE address = ?", s.ProbeAddress()).Scan(&recipient))
	e.equal(recipient, s.ProbeRecipient())
}

func testHostname(_ *testing.T, e *env) {
	e.migrated()
	next := system
	next.Hostname = "mx.example.net"
	next.ProbePassword = accounts.NewSecret("another probe password")
	_, err := e.db.EnsureSystem(e.ctx, next)
	e.ok(err)
	e.isCurrent(next)
	e.equal(e.addresses(accounts.AccountFilter{System: true}), []string{next.ProbeAddress()})
	e.probeRecipient(next)
	e.equal(e.inhabited(), false)
	all, err := e.db.ListDomains(e.ctx, true)
	e.ok(err)
	e.equal(len(all), 1)
	ended := &sessions{}
	_, err = e.db.FinishPending(e.ctx, ended)
	e.ok(err)
	e.equal(ended.ended, []string{system.ProbeAddress()})

	// A person may use the host's name as a domain; then it stays when the
	// name moves on, and is the stack's again when it is removed.
	e.addDomains("mx.example.net")
	e.isCurrent(next)
	e.addAccounts("me@mx.example.net")
	e.equal(e.inhabited(), true)
	var anyone int
	e.ok(e.root.QueryRowContext(e.ctx, "SELECT COUNT(*) FROM `"+e.options.Database+"`.mailbox WHERE recipient IS NULL").Scan(&anyone))
	e.equal(anyone, 1)
	e.refused(e.db.RemoveDomain(e.ctx, "mx.example.net"), accounts.ErrInUse, "me@")
	_, err = e.db.EnsureSystem(e.ctx, system)
	e.ok(err)
	e.isCurrent(system)
	e.equal(e.addresses(accounts.AccountFilter{System: true}), []string{system.ProbeAddress(), "me@mx.example.net"})
	_, err = e.db.EnsureSystem(e.ctx, next)
	e.ok(err)
	e.isCurrent(next)
	e.ok(e.db.RemoveAccount(e.ctx, addr("me@mx.example.net")))
	e.ok(e.db.RemoveDomain(e.ctx, "mx.example.net"))
	e.isCurrent(next)
	e.refused(e.db.RemoveDomain(e.ctx, "mx.example.net"), accounts.ErrNotFound)

	// A hash that is slow is replaced (the probe logs in often), and so is one that
	// somebody else put there.
	for _, other := range []string{hash.Reveal(), "{SSHA512}" + strings.Repeat("A", 104) + "=="} {
		e.exec("UPDATE `"+e.options.Database+"`.account SET password = ? WHERE system_account", other)
		changed, err := e.db.EnsureSystem(e.ctx, next)
		e.ok(err)
		e.equal(changed, []string{"probe password"})
		e.isCurrent(next)
	}

	// A new password of the probe is another generation.
	again := next
	again.ProbePassword = system.ProbePassword
	before, err := e.db.ShowAccount(e.ctx, addr(next.ProbeAddress()))
	e.ok(err)
	changed, err := e.db.EnsureSystem(e.ctx, again)
	e.ok(err)
	e.equal(changed, []string{"probe password"})
	after, err := e.db.ShowAccount(e.ctx, addr(next.ProbeAddress()))
	e.ok(err)
	e.equal(after.Generation, before.Generation+1)
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}
