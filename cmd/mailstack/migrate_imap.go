package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mailstack/accounts"
	"mailstack/config"
	"mailstack/migrate"
	"mailstack/migrate/imapcopy"
	"mailstack/migrate/remote"
	"mailstack/probe"
	"mailstack/stack"
)

const (
	// copyAttempts is how often a mailbox is copied whose connection breaks. Each
	// attempt goes on where the last one broke.
	copyAttempts = 5
	// copyPause is the time before the second attempt; it doubles with each.
	copyPause = 2 * time.Second
)

// imapMigration is a run of `mailstack migrate --imap-from`.
type imapMigration struct {
	*app
	flags migrateFlags
	from  imapcopy.Server
	to    imapcopy.Server
	users []movingUser
}

// migratedMailbox is what became of one mailbox, as scripts read it.
type migratedMailbox struct {
	imapcopy.Result
	Error string `json:"error,omitempty"`
	Open  bool   `json:"open"` // to mail and to its owner
}

// whole says that nothing is missing.
func (m migratedMailbox) whole() bool { return m.Error == "" && len(m.Different) == 0 }

// migratedReport is what a run did, as scripts read it.
type migratedReport struct {
	Schema    int               `json:"schema"`
	From      string            `json:"from"`
	Final     bool              `json:"final"`
	Mailboxes []migratedMailbox `json:"mailboxes"`
}

func (a *app) migrateIMAP(ctx context.Context, f migrateFlags) error {
	users, err := readUsers(f.users)
	if err != nil {
		return usageError(err)
	}
	cfg, err := a.config()
	if err != nil {
		return err
	}
	m := imapMigration{app: a, flags: f, users: users}
	if m.from, err = oldServer(f); err != nil {
		return err
	}
	if err := reachOld(ctx, m.from); err != nil {
		return err
	}
	if f.dryRun {
		return m.dryRun(ctx)
	}
	if m.to, err = newServer(cfg); err != nil {
		return err
	}
	mover, done, err := a.newMover(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := m.hold(ctx, mover); err != nil {
		return err
	}
	id, err := stack.ReadIdentity(layout(cfg), nil, time.Now())
	if err != nil {
		return err
	}
	logins, err := mover.logins(ctx)
	if err != nil {
		return err
	}
	to := destination(cfg, id.ID)
	_, opened, err := migrate.Brought(to.Volume, f.imapFrom)
	if err != nil {
		return err
	}
	report := migratedReport{Schema: 1, From: f.imapFrom, Final: f.final, Mailboxes: m.copyAll(ctx, mover)}
	m.askHere(ctx, to, logins, report.Mailboxes)
	report.Mailboxes = append(report.Mailboxes, leftBehind(mover, users, opened)...)
	return m.conclude(ctx, mover, to, report)
}

// oldServer is where to copy from.
func oldServer(f migrateFlags) (imapcopy.Server, error) {
	old, err := parseIMAP(f.imapFrom)
	if err != nil {
		return imapcopy.Server{}, usageError(err)
	}
	s := imapcopy.Server{Address: old.address(), StartTLS: old.startTLS, TLS: &tls.Config{ServerName: cmp.Or(f.tlsName, old.host)}}
	if f.caFile == "" {
		return s, nil
	}
	content, err := os.ReadFile(f.caFile)
	if err != nil {
		return s, fmt.Errorf("read --ca-file: %w", err)
	}
	s.TLS.RootCAs = x509.NewCertPool()
	if !s.TLS.RootCAs.AppendCertsFromPEM(content) {
		return s, usageError(fmt.Errorf("read --ca-file: %s holds no certificate in PEM form", f.caFile))
	}
	return s, nil
}

// reachOld ends a run before it begins where no mailbox could be copied.
func reachOld(ctx context.Context, s imapcopy.Server) error {
	err := imapcopy.Reach(ctx, s)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return hinted(err, "if that authority is the old server's own, give its certificate with --ca-file")
	case errors.As(err, &name):
		return hinted(err, "if that is the server, say with --tls-name which name its certificate has")
	}
	return err
}

// newServer is this stack's own IMAP listener.
func newServer(cfg *config.Config) (imapcopy.Server, error) {
	var t probe.Target
	if _, err := trust(&t, cfg); err != nil {
		return imapcopy.Server{}, err
	}
	if t.Unverified != "" {
		return imapcopy.Server{}, hinted(errors.New(t.Unverified), "run it as root: sudo mailstack …")
	}
	s := imapcopy.Server{TLS: &tls.Config{ServerName: cfg.Hostname, RootCAs: t.Roots}}
	ports := cfg.Listen.Ports()
	port := ports["imaps"]
	if port == 0 {
		port, s.StartTLS = ports["imap"], true
	}
	addresses := dialAddresses(cfg.Listen.Addresses)
	if port == 0 || len(addresses) == 0 {
		return s, usageError(errors.New("copy by IMAP: both imap and imaps are 0 in [listen], and the mail has to go in by one of them"))
	}
	s.Address = netip.AddrPortFrom(addresses[0], port).String()
	return s, nil
}

// dryRun logs in at the old server and counts.
func (m *imapMigration) dryRun(ctx context.Context) error {
	report := migratedReport{Schema: 1, From: m.flags.imapFrom, Mailboxes: make([]migratedMailbox, len(m.users))}
	m.each(ctx, func(i int, u movingUser) {
		report.Mailboxes[i].Result = imapcopy.Result{User: u.address.String()}
		r, err := imapcopy.Count(ctx, imapcopy.User{Name: u.address.String(), From: m.login(m.from, u)})
		report.Mailboxes[i].Result = r
		if err != nil {
			report.Mailboxes[i].Error = migrate.Advised(err)
		}
	})
	if err := m.print(report); err != nil {
		return err
	}
	return report.failed()
}

func (m *imapMigration) login(s imapcopy.Server, u movingUser) imapcopy.Login {
	return imapcopy.Login{Server: s, User: u.login, Password: imapcopy.Secret(u.password.Reveal())}
}

// each does something for every user, some at a time.
func (m *imapMigration) each(ctx context.Context, do func(i int, u movingUser)) {
	var group errgroup.Group
	group.SetLimit(m.flags.jobs)
	for i, u := range m.users {
		group.Go(func() error {
			if ctx.Err() == nil {
				do(i, u)
			}
			return nil
		})
	}
	_ = group.Wait()
}

// hold makes the accounts wait, and drops those that are in use already.
func (m *imapMigration) hold(ctx context.Context, mover *mover) error {
	cfg, err := m.config()
	if err != nil {
		return err
	}
	var list []accounts.NewAccount
	for _, u := range m.users {
		hash, err := accounts.HashExisting(u.password)
		if err != nil {
			return fmt.Errorf("password of %s: %w", u.address, err)
		}
		list = append(list, accounts.NewAccount{Address: u.address, Hash: hash, QuotaBytes: cfg.Limits.QuotaBytes})
	}
	moving, err := mover.begin(ctx, list)
	if err != nil {
		return err
	}
	m.users = slices.DeleteFunc(m.users, func(u movingUser) bool { return !slices.Contains(moving, u.address) })
	if len(m.users) == 0 {
		return errors.New("move mailboxes: all of them are in use here already; nothing was done")
	}
	return nil
}

// copyAll copies every mailbox, and those whose connection breaks again.
func (m *imapMigration) copyAll(ctx context.Context, mover *mover) []migratedMailbox {
	bar := newCopyBar(m.Stderr, len(m.users))
	defer bar.end()
	all := make([]migratedMailbox, len(m.users))
	var mu sync.Mutex
	m.each(ctx, func(i int, u movingUser) {
		name := u.address.String()
		job := imapcopy.User{Name: name, From: m.login(m.from, u), To: imapcopy.Login{
			Server: m.to, User: name, Password: imapcopy.Secret(mover.move.Password().Reveal()),
		}}
		options := imapcopy.Options{Remove: m.flags.final, MaxRemove: m.flags.maxDelete, Sample: m.flags.sample(), Progress: func(e imapcopy.Event) {
			mu.Lock()
			defer mu.Unlock()
			bar.report(i, e)
		}}
		r, err := copyPatiently(ctx, job, options)
		all[i].Result = r
		if err != nil {
			all[i].Error = strings.ReplaceAll(migrate.Advised(err), "\n", "; ")
		}
		mu.Lock()
		defer mu.Unlock()
		bar.ended(i, all[i])
	})
	for i, u := range m.users {
		if all[i].User == "" {
			all[i].User, all[i].Error = u.address.String(), "interrupted before it began"
		}
	}
	return all
}

// askHere logs in to every mailbox that is whole, as its owner would, and compares
// what this server says by IMAP and POP3 with the files that it keeps.
func (m *imapMigration) askHere(ctx context.Context, to migrate.Destination, logins migrate.Logins, all []migratedMailbox) {
	m.each(ctx, func(i int, u movingUser) {
		if !all[i].whole() {
			return
		}
		lines, err := migrate.CheckLogin(ctx, to, u.address.String(), logins)
		if all[i].Different = append(all[i].Different, lines...); err != nil {
			all[i].Error = err.Error()
		}
	})
}

// copyPatiently copies a mailbox, again where a connection broke.
func copyPatiently(ctx context.Context, u imapcopy.User, o imapcopy.Options) (imapcopy.Result, error) {
	var sum imapcopy.Result
	pause := copyPause
	for attempt := 1; ; attempt++ {
		r, err := imapcopy.Copy(ctx, u, o)
		r.Copied, r.Bytes, r.Flagged, r.Removed, r.Took = r.Copied+sum.Copied, r.Bytes+sum.Bytes, r.Flagged+sum.Flagged, r.Removed+sum.Removed, r.Took+sum.Took
		var refused *imapcopy.LoginError
		var many *imapcopy.TooManyError
		if err == nil || ctx.Err() != nil || attempt == copyAttempts || errors.As(err, &many) ||
			errors.As(err, &refused) && !refused.Temporary {
			return r, err
		}
		sum = r
		select {
		case <-ctx.Done():
			return r, err
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// conclude opens what is whole after the last copy, and says how it ended.
func (m *imapMigration) conclude(ctx context.Context, mover *mover, to migrate.Destination, report migratedReport) error {
	var opened []accounts.Address
	var names []string
	if m.flags.final {
		for i, u := range m.users {
			if report.Mailboxes[i].whole() {
				opened, names = append(opened, u.address), append(names, u.address.String())
			}
		}
		if err := migrate.Remember(to, m.flags.imapFrom, names); err != nil {
			return err
		}
		if err := mover.end(ctx, opened); err != nil {
			return err
		}
		for i := range report.Mailboxes {
			report.Mailboxes[i].Open = report.Mailboxes[i].whole()
		}
	}
	if err := m.print(report); err != nil {
		return err
	}
	if err := report.failed(); err != nil {
		return err
	}
	if !m.flags.final {
		m.tellNext()
		return nil
	}
	return m.migrateProbe(ctx)
}

func (m *imapMigration) tellNext() {
	fmt.Fprintln(m.Stderr, "All mailboxes are copied. The accounts still wait: mail for them is deferred, and nobody can log in.\n"+
		"Repeat this at any time. To move: close the old server to mail and to people, or point the MX record and\n"+
		"the mail programs here, then run the same command with --final.")
}

// failed says how many mailboxes are not whole.
func (r migratedReport) failed() error {
	var names []string
	for _, m := range r.Mailboxes {
		if !m.whole() {
			names = append(names, m.User)
		}
	}
	switch {
	case len(names) == 0:
		return nil
	case len(names) > 5:
		names = append(names[:5], "…")
	}
	return hinted(fmt.Errorf("%d of %d mailboxes are not whole: %s", len(names), len(r.Mailboxes), strings.Join(names, ", ")),
		"see above; nothing is lost, and running the same command again goes on where it ended")
}

// print shows the report.
func (m *imapMigration) print(r migratedReport) error {
	if m.flags.format == "json" {
		return m.printJSON(r)
	}
	rows := [][]string{{"MAILBOX", "FOLDERS", "MESSAGES", "COPIED", "FLAGS", "REMOVED", "RESULT"}}
	for _, b := range r.Mailboxes {
		rows = append(rows, []string{
			b.User, fmt.Sprint(b.Folders), fmt.Sprint(b.Messages), fmt.Sprint(b.Copied), fmt.Sprint(b.Flagged), fmt.Sprint(b.Removed), b.verdict(m.flags),
		})
	}
	if err := m.printTable(rows); err != nil {
		return err
	}
	for _, b := range r.Mailboxes {
		if b.Error != "" {
			fmt.Fprintln(m.Stdout, remote.Visible(b.Error))
		}
		for _, line := range append(slices.Clone(b.Different), b.Left...) {
			fmt.Fprintf(m.Stdout, "%s: %s\n", b.User, remote.Visible(line))
		}
	}
	return nil
}

func (m migratedMailbox) verdict(f migrateFlags) string {
	switch {
	case m.Error != "":
		return "failed"
	case len(m.Different) > 0:
		return "different"
	case f.dryRun:
		return "can be copied"
	case m.Open:
		return "the same, open"
	}
	return "the same"
}
