package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
	"mailstack/stack"
)

// rsyncFlags are the flags of `mailstack migrate --rsync-from`.
type rsyncFlags struct {
	from      string
	ssh       remote.Options
	container string
	database  string
	datadir   string // of a stopped database server there; "": one that runs
	layout    string
	mapFile   string
	only      []string
	bandwidth string // bytes a second, as sizes are written; "": no limit
	kbytes    int    // the same in KiB/s, once it was read
	freeze    string
	allowWeak bool
	// queueWait is how long the old server's queue may take to empty; leaveQueue:
	// nobody looks at it.
	queueWait  time.Duration
	leaveQueue bool
}

// rsyncMigration is a run of `mailstack migrate --rsync-from`.
type rsyncMigration struct {
	*app
	flags migrateFlags
	old   *oldHost
	mover *mover
	// moving are the accounts that this run moves, of those found.
	moving []accounts.Address
	// reset are the addresses whose password is not known here.
	reset map[string]bool
	// queue is that of the old server's Postfix; nil where nobody looks at it.
	queue migrate.MailQueue
	// cutOver is nil before the last copy.
	cutOver *cutOver
	// openMigration opens the migration of the accounts that are moved.
	openMigration func() (*migrate.Migration, error)
}

func (a *app) migrateRsync(ctx context.Context, f migrateFlags) (err error) {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	options := f.rsync.ssh
	options.Target, options.Slots, options.Ask = f.rsync.from, f.jobs, a.terminal()
	host, err := remote.Connect(ctx, options)
	if err != nil {
		return err
	}
	// The connections must end also where ctx has.
	defer func() { err = errors.Join(err, host.Close(context.WithoutCancel(ctx))) }()
	old, err := a.lookAt(ctx, host, cfg, f.rsync)
	if old != nil {
		a.printChecks(old.checks)
	}
	if err != nil {
		return err
	}
	if !old.ready() {
		return errors.New("move mail from " + f.rsync.from + ": it cannot be done yet, see above; nothing was changed anywhere")
	}
	if f.dryRun {
		return a.printMapping(f, old)
	}
	m := &rsyncMigration{app: a, flags: f, old: old, reset: map[string]bool{}}
	if queue := source.FindQueue(host, old.facts); queue != nil && !f.rsync.leaveQueue {
		m.queue = queue
	}
	mover, done, err := a.newMover(ctx)
	if err != nil {
		return err
	}
	defer done()
	m.mover = mover
	return m.run(ctx, cfg)
}

// run moves.
func (m *rsyncMigration) run(ctx context.Context, cfg *config.Config) error {
	if err := m.domains(ctx); err != nil {
		return err
	}
	var err error
	if m.moving, err = m.hold(ctx, m.old.list.Accounts); err != nil {
		return err
	}
	logins, err := m.mover.logins(ctx)
	if err != nil {
		return err
	}
	id, err := stack.ReadIdentity(layout(cfg), nil, time.Now())
	if err != nil {
		return err
	}
	bar := newMoveBar(m.Stderr)
	defer bar.end()
	m.openMigration = func() (*migrate.Migration, error) {
		return migrate.Open(migrate.Options{
			From: migrate.Over(m.old.host), To: destination(cfg, id.ID), Accounts: m.selected(),
			Workers: m.flags.jobs, KBytesPerSecond: m.flags.rsync.kbytes, MaxDelete: m.flags.maxDelete,
			Verify: migrate.Verify{Sample: verifySample, Full: m.flags.verify == verifyFull}, Progress: bar,
		})
	}
	migration, err := m.openMigration()
	if err != nil {
		return err
	}
	defer migration.Close()
	if len(m.moving) == 0 {
		return errors.Join(m.follow(ctx, migration), m.carryLate(ctx, migration))
	}
	if err := m.follow(ctx, migration); err != nil {
		return err
	}
	err = m.passAndConclude(ctx, migration, logins, bar)
	if err != nil {
		m.whatNow()
	}
	return err
}

// follow makes accounts and aliases what they have become on the old server.
func (m *rsyncMigration) follow(ctx context.Context, migration *migrate.Migration) error {
	if err := m.followAliases(ctx, migration); err != nil {
		return err
	}
	if err := m.aliases(ctx); err != nil {
		return err
	}
	return m.followGone(ctx, migration)
}

func (m *rsyncMigration) passAndConclude(ctx context.Context, migration *migrate.Migration, logins migrate.Logins, bar *moveBar) error {
	if m.flags.final {
		if err := m.freeze(ctx, migration, bar); err != nil {
			return err
		}
		again, err := m.catchUp(ctx, migration)
		if err != nil {
			return err
		}
		defer again.Close()
		migration = again
		if err := m.waitForQueue(ctx); err != nil {
			return err
		}
	}
	report, err := migration.Pass(ctx, m.flags.final)
	if err == nil {
		err = migration.Login(ctx, report, logins)
	}
	if err == nil && m.flags.final {
		err = migration.Settle(ctx, report)
	}
	report.Mailboxes = append(report.Mailboxes, m.leftBehind(migration.Opened())...)
	bar.end()
	if err != nil {
		return errors.Join(m.printReport(report), err)
	}
	return m.conclude(ctx, migration, report)
}

// verifySample is how many messages of each mailbox are compared by checksum,
// beside the names, sizes, dates and flags of all.
const verifySample = 20

// destination is the mail volume.
func destination(cfg *config.Config, id string) migrate.Destination {
	l := layout(cfg)
	return migrate.Destination{
		Volume: l.Volume("vmail"), Store: l.Content("vmail"), UID: stack.UIDVmail, GID: stack.UIDVmail,
		Marked: func() error { return stack.CheckVolume(l, "vmail", id) },
	}
}

// domains makes the domains, those without accounts as well where not only some are
// wanted.
func (m *rsyncMigration) domains(ctx context.Context) error {
	for _, domain := range m.old.list.Domains {
		if only := m.flags.rsync.only; len(only) == 0 || slices.Contains(only, "@"+domain) {
			if err := m.mover.domain(ctx, domain); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold makes accounts wait, and drops those that are in use already.
func (m *rsyncMigration) hold(ctx context.Context, there []migrate.Account) ([]accounts.Address, error) {
	var list []accounts.NewAccount
	for _, a := range there {
		address, err := accounts.ParseAccount(a.Address)
		if err != nil {
			return nil, err
		}
		n := accounts.NewAccount{Address: address, Hash: accounts.NewSecret(string(a.Hash)), QuotaBytes: a.QuotaBytes, Disabled: a.Disabled}
		n.AllowWeak = m.flags.rsync.allowWeak && accounts.WeakHash(n.Hash)
		m.reset[a.Address] = accounts.CheckHash(n.Hash) != nil && !n.AllowWeak
		if m.reset[a.Address] {
			// Nobody knows this one: the account gets its mail, and waits for a new
			// password, which the next run leaves alone.
			n.KeepHash = true
			if n.Hash, err = accounts.HashPassword(accounts.GeneratePassword()); err != nil {
				return nil, err
			}
		}
		list = append(list, n)
	}
	return m.mover.begin(ctx, list)
}

// newPasswords are those of the accounts that this run moves whose owners could not
// log in.
func (m *rsyncMigration) newPasswords() (list []string) {
	for _, address := range m.moving {
		if m.reset[address.String()] {
			list = append(list, address.String())
		}
	}
	return list
}

// selected are the accounts of the old host that this run moves.
func (m *rsyncMigration) selected() []migrate.Account {
	var list []migrate.Account
	for _, a := range m.old.list.Accounts {
		if slices.ContainsFunc(m.moving, func(address accounts.Address) bool { return address.String() == a.Address }) {
			list = append(list, a)
		}
	}
	return list
}

// conclude opens what is whole after the last copy, and says how it ended.
func (m *rsyncMigration) conclude(ctx context.Context, migration *migrate.Migration, report *migrate.Report) error {
	var names []string
	for _, r := range report.Mailboxes {
		if m.flags.final && r.OK() {
			names = append(names, r.Address)
		}
	}
	opened := slices.DeleteFunc(slices.Clone(m.moving), func(a accounts.Address) bool { return !slices.Contains(names, a.String()) })
	var queueErr error
	if m.flags.final {
		if err := m.open(ctx, migration, opened, names); err != nil {
			return err
		}
		m.cutOver.whole = report.OK()
		m.cutOver.Queue, queueErr = m.carryQueue(ctx, migration, opened)
	}
	if err := m.printReport(report); err != nil {
		return err
	}
	if !report.OK() {
		return errors.Join(hinted(errors.New("not every mailbox is whole, see above"),
			"nothing is lost, and running the same command again goes on where it ended"), queueErr)
	}
	if queueErr != nil {
		return queueErr
	}
	if !m.flags.final {
		m.tellNext(report)
		return nil
	}
	return m.migrateProbe(ctx)
}

// open opens accounts to their owners.
func (m *rsyncMigration) open(ctx context.Context, migration *migrate.Migration, opened []accounts.Address, names []string) error {
	defer m.cutOver.opened()
	if len(names) == 0 {
		return nil
	}
	if err := migration.Opening(names); err != nil {
		return err
	}
	if err := m.mover.end(ctx, opened); err != nil {
		return err
	}
	return migration.Finish(names)
}

func (m *rsyncMigration) tellNext(report *migrate.Report) {
	fmt.Fprintf(m.Stderr, "The mail is copied. The accounts still wait: mail for them is deferred, and nobody can log in.\n"+
		"Repeat this at any time. To move: run the same command with --final, and --freeze-command with what stops\n"+
		"the old server (%q): it will be out of use for about %s, and as long as\n"+
		"what arrives until then takes. Then point the MX record and the mail programs here.\n",
		stopAdvice(m.old.facts), duration(report.Ending()))
}
