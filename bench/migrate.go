package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"mailstack/e2e/oldhost"
	"mailstack/migrate"
	"mailstack/migrate/remote"
)

// spools are the mail that is moved: many small messages and few large ones.
var spools = []struct {
	name                string
	mailboxes, messages int   // messages in each mailbox
	octets              int64 // of each message
}{
	{"small", 20, 500, 4 << 10},
	{"large", 20, 1, 10 << 20},
}

// migrateSuite times the first pass of a migration beside one plain rsync -a of
// the same tree, both by ssh from this machine to itself, each into a directory of
// its own. The pass lists, copies, puts in place and compares; the plain rsync
// copies, and four of them show what is gained by copying side by side. What of the
// pass is copying is shown, too.
func migrateSuite(ctx context.Context, s *stack, e effort) (all []series, err error) {
	return all, withHost(ctx, func(t *bencher) error {
		ssh := oldhost.ThisMachine(t, oldhost.Options{})
		for _, spool := range spools {
			tree := filepath.Join(s.Dir, "spool-"+spool.name)
			messages := e.pick(spool.messages, 2)
			if err := makeSpool(tree, spool.mailboxes, messages, spool.octets); err != nil {
				return err
			}
			m := mover{ssh: ssh, tree: tree, into: tree + "-moved"}
			about := fmt.Sprintf("%d mailboxes with %d messages of %d KiB", spool.mailboxes, messages, spool.octets>>10)
			result, err := interleave(ctx, e.rounds, []contender{
				{"rsync -a", "", timed(m.plain)},
				{"four rsync -a", "side by side, each with a quarter of the mailboxes", timed(m.four)},
				{"pass one", "listed, copied, put in place and compared", timed(m.pass)},
			})
			if err != nil {
				return err
			}
			// The first was not counted.
			listed := series{
				Name: "pass one, without comparison", About: "listed, copied and put in place",
				Unit: "s", Values: m.copied[1:],
			}
			for _, one := range append(result, listed) {
				one.Figure = about
				all = append(all, one)
			}
			if err := os.RemoveAll(m.into); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeSpool makes Maildirs below dir, one a mailbox.
func makeSpool(dir string, mailboxes, messages int, octets int64) error {
	for box := range mailboxes {
		cur := filepath.Join(dir, fmt.Sprintf("user%d", box), "cur")
		for _, d := range []string{cur, filepath.Join(cur, "../new"), filepath.Join(cur, "../tmp")} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				return err
			}
		}
		for n := range messages {
			file := filepath.Join(cur, fmt.Sprintf("%d.M%dP%d.old:2,S", 1700000000+n, n, box))
			if err := os.WriteFile(file, oldhost.Sized(n, octets), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// mover moves a tree of mailboxes from this machine to itself.
type mover struct {
	ssh        oldhost.SSH
	tree, into string
	runs       int
	copied     []float64 // seconds of a pass until its comparison
}

// fresh is a directory that nothing was copied to.
func (m *mover) fresh() (string, error) {
	m.runs++
	dir := filepath.Join(m.into, fmt.Sprint(m.runs))
	return dir, os.MkdirAll(dir, 0o700)
}

func (m *mover) plain(ctx context.Context) error {
	dir, err := m.fresh()
	if err != nil {
		return err
	}
	return m.rsync(ctx, dir, m.tree+"/")
}

func (m *mover) four(ctx context.Context) error {
	dir, err := m.fresh()
	if err != nil {
		return err
	}
	boxes, err := filepath.Glob(filepath.Join(m.tree, "*"))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for quarter := range slices.Chunk(boxes, (len(boxes)+3)/4) {
		group.Go(func() error { return m.rsync(ctx, dir, quarter...) })
	}
	return group.Wait()
}

// rsync copies paths into a directory.
func (m *mover) rsync(ctx context.Context, dir string, paths ...string) error {
	args := []string{"-a", "-e", "ssh -F " + m.ssh.Config}
	for _, path := range paths {
		args = append(args, m.ssh.Alias+":"+path)
	}
	out, err := exec.CommandContext(ctx, "rsync", append(args, dir+"/")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("rsync -a: %w: %s", err, out)
	}
	return nil
}

func (m *mover) pass(ctx context.Context) (err error) {
	dir, err := m.fresh()
	if err != nil {
		return err
	}
	store := filepath.Join(dir, "data")
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	host, err := remote.Connect(ctx, remote.Options{Target: m.ssh.Alias, ConfigFile: m.ssh.Config, Slots: 4})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close(ctx)) }()
	accounts, err := m.accounts()
	if err != nil {
		return err
	}
	migration, err := migrate.Open(migrate.Options{
		From: migrate.Over(host), Accounts: accounts,
		To: migrate.Destination{Volume: dir, Store: store, UID: 1000, GID: 1000, Marked: func() error { return nil }},
	})
	if err != nil {
		return err
	}
	defer migration.Close()
	report, err := migration.Pass(ctx, false)
	if err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("pass one: not all mailboxes are whole: %+v", report.Mailboxes)
	}
	var seconds float64
	for _, phase := range report.Phases {
		if phase.Phase != migrate.Verifying {
			seconds += phase.Seconds
		}
	}
	m.copied = append(m.copied, seconds)
	return nil
}

func (m *mover) accounts() (all []migrate.Account, err error) {
	boxes, err := os.ReadDir(m.tree)
	for _, box := range boxes {
		all = append(all, migrate.Account{
			Address: box.Name() + "@example.org",
			Store:   migrate.Store{Maildir: filepath.Join(m.tree, box.Name()), Layout: "maildir++", Separator: '.'},
		})
	}
	return all, err
}

// bencher is what makes an old host for who is no test.
type bencher struct {
	ctx      context.Context
	cleanups []func()
	failed   error
}

// stopped is how a failure leaves the function that it is in.
type stopped struct{}

// withHost calls run and ends what it began.
func withHost(ctx context.Context, run func(t *bencher) error) (err error) {
	t := &bencher{ctx: ctx}
	defer func() {
		if p := recover(); p != nil && p != any(stopped{}) {
			panic(p)
		}
		t.ctx = context.WithoutCancel(ctx)
		for i := len(t.cleanups) - 1; i >= 0; i-- {
			t.cleanups[i]()
		}
		err = errors.Join(err, t.failed)
	}()
	return run(t)
}

func (t *bencher) Helper()                  {}
func (t *bencher) Context() context.Context { return t.ctx }
func (t *bencher) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }
func (t *bencher) Failed() bool             { return t.failed != nil }
func (t *bencher) Logf(string, ...any)      {}
func (t *bencher) Error(args ...any) {
	t.failed = errors.Join(t.failed, errors.New(fmt.Sprint(args...)))
}

func (t *bencher) Errorf(f string, args ...any) {
	t.failed = errors.Join(t.failed, fmt.Errorf(f, args...))
}

func (t *bencher) Fatal(args ...any) {
	t.Error(args...)
	panic(stopped{})
}

func (t *bencher) Fatalf(f string, args ...any) {
	t.Errorf(f, args...)
	panic(stopped{})
}
