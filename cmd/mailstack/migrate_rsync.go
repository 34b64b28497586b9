package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/migrate"
	"mailstack/migrate/remote"
	"mailstack/migrate/source"
	"mailstack/probe"
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

// oldHost is a host to move from, and what was found there.
type oldHost struct {
	host   *remote.Host
	facts  *source.Facts
	list   *source.Listing
	stores *source.Stores
	checks []source.Check
}

// ready says whether the host can be moved.
func (o *oldHost) ready() bool {
	return !slices.ContainsFunc(o.checks, func(c source.Check) bool { return c.Level == source.Fail })
}

// rsyncMigration is a run of `mailstack migrate --rsync-from`.
type rsyncMigration struct {
	*app
	flags migrateFlags
	old   *oldHost
	mover *mover
	// moving are the accounts that this run moves, of those found.
	moving []accounts.Address
	// queue is that of the old server's Postfix; nil where nobody looks at it.
	queue migrate.MailQueue
	// cutOver is nil before the last copy.
	cutOver *cutOver
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
	m := &rsyncMigration{app: a, flags: f, old: old}
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

// lookAt finds out what the old host is and who has mail there. What was looked
// at is returned also where it did not come to an end.
func (a *app) lookAt(ctx context.Context, host *remote.Host, cfg *config.Config, f rsyncFlags) (*oldHost, error) {
	old := &oldHost{host: host}
	needs := source.Needs{FreeBytes: -1, Rsync: migrate.CheckRsync(ctx)}
	if free, err := stack.FreeBytes(layout(cfg).Volume("vmail")); err == nil {
		needs.FreeBytes = free
	}
	err := old.look(ctx, f, func() (source.Dumper, func() error, error) {
		if f.datadir != "" {
			return a.openDatadir(ctx, host, cfg, f.datadir)
		}
		dumper, err := source.FindDumper(ctx, host, old.facts)
		return dumper, func() error { return nil }, err
	})
	if old.stores != nil {
		// A speed that cannot be measured is no reason not to move.
		if speed, err := source.Speed(ctx, host); err == nil {
			needs.OctetsPerSecond = speed
		}
		if limit := float64(f.kbytes) * 1024; limit > 0 {
			needs.OctetsPerSecond = min(needs.OctetsPerSecond, limit)
		}
	}
	if old.facts != nil {
		old.checks = source.Preflight(old.facts, old.list, old.stores, needs)
	}
	return old, err
}

// look is lookAt's. open finds a way into the database; what it returns beside
// that gives it up again.
func (o *oldHost) look(ctx context.Context, f rsyncFlags, open func() (source.Dumper, func() error, error)) (err error) {
	if o.facts, err = source.Inspect(ctx, o.host, source.Options{Container: f.container}); err != nil {
		return err
	}
	if o.facts.Files != "" && f.datadir == "" && f.mapFile == "" && f.database == "" {
		o.list, err = source.ReadFiles(ctx, o.host, o.facts, "")
	} else {
		o.list, err = o.fromDatabase(ctx, f, open)
	}
	if err != nil {
		return err
	}
	if err := f.choose(o.list); err != nil {
		return err
	}
	o.stores, err = source.Locate(ctx, o.host, o.facts, o.list, source.LocateOptions{Layout: f.layout})
	return err
}

func (o *oldHost) fromDatabase(ctx context.Context, f rsyncFlags, open func() (source.Dumper, func() error, error)) (list *source.Listing, err error) {
	options := source.AccountOptions{Database: f.database}
	if f.mapFile != "" {
		file, err := os.Open(f.mapFile)
		if err != nil {
			return nil, fmt.Errorf("read --map: %w", err)
		}
		defer file.Close()
		if options.Mapping, err = source.ParseMapping(f.mapFile, file); err != nil {
			return nil, usageError(err)
		}
	}
	dumper, done, err := open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return source.ReadAccounts(ctx, dumper, o.facts, options)
}

// run moves.
func (m *rsyncMigration) run(ctx context.Context, cfg *config.Config) error {
	if err := m.hold(ctx); err != nil {
		return err
	}
	if err := m.aliases(ctx); err != nil {
		return err
	}
	logins, err := m.logins(ctx)
	if err != nil {
		return err
	}
	id, err := stack.ReadIdentity(layout(cfg), nil, time.Now())
	if err != nil {
		return err
	}
	bar := newMoveBar(m.Stderr)
	defer bar.end()
	migration, err := migrate.Open(migrate.Options{
		From: migrate.Over(m.old.host), To: destination(cfg, id.ID), Accounts: m.selected(),
		Workers: m.flags.jobs, KBytesPerSecond: m.flags.rsync.kbytes, MaxDelete: cmp.Or(m.flags.maxDelete, -1), // 0 is none
		Verify: migrate.Verify{Sample: verifySample, Full: m.flags.verify == verifyFull}, Progress: bar,
	})
	if err != nil {
		return err
	}
	defer migration.Close()
	if len(m.moving) == 0 {
		return m.carryLate(ctx, migration)
	}
	err = m.passAndConclude(ctx, migration, logins, bar)
	if err != nil {
		m.whatNow()
	}
	return err
}

func (m *rsyncMigration) passAndConclude(ctx context.Context, migration *migrate.Migration, logins migrate.Logins, bar *moveBar) error {
	if m.flags.final {
		if err := m.freeze(ctx, migration, bar); err != nil {
			return err
		}
	}
	report, err := migration.Pass(ctx, m.flags.final)
	if err == nil {
		err = migration.Login(ctx, report, logins)
	}
	report.Mailboxes = append(report.Mailboxes, m.leftBehind(migration.Opened())...)
	bar.end()
	if err != nil {
		return errors.Join(m.printReport(report), err)
	}
	return m.conclude(ctx, migration, report)
}

// logins ask this stack, as the owner of each account would, with the password
// of the move.
func (m *rsyncMigration) logins(ctx context.Context) (migrate.Logins, error) {
	base, err := m.probeTarget(ctx)
	if err != nil {
		return migrate.Logins{}, err
	}
	as := func(address string) *probe.Target {
		t := base
		t.User, t.Password = address, probe.Secret(m.mover.move.Password().Reveal())
		return &t
	}
	ports := base.Ports
	var l migrate.Logins
	if ports["imap"] != 0 || ports["imaps"] != 0 {
		l.Folders = func(ctx context.Context, address string, names []string) (map[string]migrate.FolderState, error) {
			states, err := as(address).Folders(ctx, names)
			here := map[string]migrate.FolderState{}
			for name, s := range states {
				here[name] = migrate.FolderState(s)
			}
			return here, err
		}
	}
	if ports["pop3"] != 0 || ports["pop3s"] != 0 {
		l.Maildrop = func(ctx context.Context, address string) (int, int64, error) { return as(address).Maildrop(ctx) }
	}
	return l, nil
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

// hold makes the accounts wait, and drops those that are in use already.
func (m *rsyncMigration) hold(ctx context.Context) error {
	var list []accounts.NewAccount
	var reset []string
	for _, a := range m.old.list.Accounts {
		address, err := accounts.ParseAccount(a.Address)
		if err != nil {
			return err
		}
		n := accounts.NewAccount{Address: address, Hash: accounts.NewSecret(string(a.Hash)), QuotaBytes: a.QuotaBytes, Disabled: a.Disabled}
		n.AllowWeak = m.flags.rsync.allowWeak && accounts.WeakHash(n.Hash)
		if accounts.CheckHash(n.Hash) != nil && !n.AllowWeak {
			// Nobody knows this one: the account gets its mail, and waits for a new
			// password.
			if n.Hash, err = accounts.HashPassword(accounts.GeneratePassword()); err != nil {
				return err
			}
			reset = append(reset, a.Address)
		}
		list = append(list, n)
	}
	moving, err := m.mover.begin(ctx, list)
	if err != nil {
		return err
	}
	m.moving = moving
	for _, address := range reset {
		fmt.Fprintf(m.Stderr, "account %s needs a new password, as its hash there is one that Dovecot does not verify: mailstack account passwd %s\n", address, address)
	}
	return nil
}

// leftBehind are the accounts of the old host whose mail stays there, as somebody
// has the address here whom no earlier run from there has brought.
func (m *rsyncMigration) leftBehind(opened []string) (list []migrate.Result) {
	for _, a := range m.old.list.Accounts {
		if why := m.mover.left[a.Address]; why != nil && !slices.Contains(opened, a.Address) {
			list = append(list, migrate.Result{Address: a.Address, Problem: fmt.Sprintf(
				"its mail was not moved: %v; remove that here, or name the accounts to be moved (--only)", why)})
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
