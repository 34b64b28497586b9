package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"mailstack/config"
)

// migrateFlags are the flags of `mailstack migrate`.
type migrateFlags struct {
	imapFrom, users string
	caFile, tlsName string
	rsync           rsyncFlags
	dryRun, final   bool
	jobs            int
	maxDelete       int    // migrate.Options.MaxDelete
	verify          string // verifySome or verifyFull
	format          string
}

const migrateLong = `migrate copies mailboxes from another mail server, as often as you want, while
people go on using that server. Here the accounts wait: their mail is deferred,
and nobody can log in. The run with --final ends that, after the last copy was
compared with the original.

--rsync-from takes a server with Dovecot and Maildir that you can ssh into, with
its accounts, passwords, aliases, quotas and Sieve scripts; mail programs notice
nothing. Begin with --dry-run, which changes nothing anywhere. --final first runs
your --freeze-command there, or asks you to stop the old server. Where its Postfix
goes on, its queue has --queue-wait to get empty; where it is stopped, what waits
there for the accounts is delivered here once they are open, and nothing is removed
there: its Postfix, started again, would deliver it there too.

What a MySQL or MariaDB that does not run any more left there is read from a copy,
which is removed again (--mysql-datadir /var/lib/mysql). A Dovecot that runs in a
container is named with --container; another mailstack's is mailstack-dovecot.

--imap-from takes every server that people can log in to. --users names a CSV
file, for your eyes only (chmod 600), with a line for each mailbox:

    user name there,password[,address here]

The account here gets the same password. Folders, dates, flags, keywords and
subscriptions are kept. UIDs cannot be: mail programs download the mail once more.`

func newMigrateCmd(a *app) *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the mail of another server over",
		Long:  migrateLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(f.check(), f.foreign(cmd)); err != nil {
				return usageError(err)
			}
			if f.rsync.from != "" {
				if f.final && f.rsync.freeze == "" && !a.terminal() {
					return usageError(errors.New(`--final without a terminal to ask at needs --freeze-command, which stops the old server ("true" if it is stopped already)`))
				}
				return a.migrateRsync(cmd.Context(), f)
			}
			return a.migrateIMAP(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "look at the old server, and change nothing")
	flags.BoolVar(&f.final, "final", false, "make the last copy, removing what was removed there, and open the accounts")
	flags.IntVar(&f.jobs, "jobs", 4, "`N` connections at a time")
	flags.Func("max-delete", "no more than `N` messages of a mailbox may be gone there since they were copied (default: a tenth of it, at least 100)", func(given string) error {
		n, err := strconv.ParseUint(given, 10, 31)
		if err != nil {
			return errors.New("not a number of messages")
		}
		f.maxDelete = cmp.Or(int(n), -1) // 0 is none
		return nil
	})
	addFormat(cmd, &f.format)
	flags.StringVar(&f.verify, "verify", verifySome, "compare a `SAMPLE` of the messages octet by octet, or all: sample or full")
	flags.StringVar(&f.imapFrom, "imap-from", "", "`URL` of the old server: imaps://HOST[:PORT], or imap:// for STARTTLS")
	flags.StringVar(&f.users, "users", "", "CSV `FILE` of user names, passwords and addresses")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` of the authority of the old server's certificate (default: the system's)")
	flags.StringVar(&f.tlsName, "tls-name", "", "`NAME` in the old server's certificate, where it is not HOST")
	f.rsync.add(cmd)
	return cmd
}

// add adds the flags of --rsync-from.
func (f *rsyncFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.from, "rsync-from", "", "`[USER@]HOST` of the old server, as ssh takes it")
	flags.IntVar(&f.ssh.Port, "ssh-port", 0, "`PORT` of ssh (default: what ssh's configuration says)")
	flags.StringVar(&f.ssh.Identity, "ssh-key", "", "private key `FILE` for ssh")
	flags.StringVar(&f.ssh.ConfigFile, "ssh-config", "", "configuration `FILE` for ssh, in place of yours")
	flags.StringArrayVar(&f.ssh.Extra, "ssh-option", nil, "more for ssh, `KEYWORD=VALUE` as in ssh_config")
	flags.BoolVar(&f.ssh.Sudo, "sudo", false, "become root there with sudo, which must not ask for a password")
	flags.StringVar(&f.container, "container", "", "`NAME` of the container there that Dovecot runs in")
	flags.StringVar(&f.database, "database", "", "`NAME` of the database there with the accounts, if there are several")
	flags.StringVar(&f.datadir, "mysql-datadir", "", "`PATH` there of the data directory of a MySQL or MariaDB that does not run any more")
	flags.StringVar(&f.mapFile, "map", "", "TOML `FILE` that says which tables and columns hold the accounts")
	flags.StringVar(&f.layout, "layout", "", "where mail lies there, as Dovecot's `MAIL_LOCATION` (default: as Dovecot says)")
	flags.StringSliceVar(&f.only, "only", nil, "only these `ACCOUNTS`, or @DOMAINS with their aliases")
	flags.StringVar(&f.bandwidth, "bwlimit", "", "most bytes a second, as a `SIZE` (5MiB)")
	flags.BoolVar(&f.allowWeak, "allow-weak-hashes", false, "take hashes like MD5 along; the first login replaces them")
	flags.StringVar(&f.freeze, "freeze-command", "", "`COMMAND` for the old server's shell that ends its use, before the last copy (default: asks you to)")
	flags.DurationVar(&f.queueWait, "queue-wait", 5*time.Minute, "how long the old server's Postfix may take to deliver its queue, before the last copy")
	flags.BoolVar(&f.leaveQueue, "leave-queue", false, "do not look at the old server's queue: what waits in it stays there")
}

// check reports everything that is wrong with the flags, and reads the values
// among them.
func (f *migrateFlags) check() error {
	var errs []error
	switch {
	case f.imapFrom == "" && f.rsync.from == "":
		errs = append(errs, errors.New("where from? --rsync-from HOST or --imap-from URL is missing"))
	case f.imapFrom != "" && f.rsync.from != "":
		errs = append(errs, errors.New("--rsync-from and --imap-from exclude each other"))
	case f.imapFrom != "":
		if _, err := parseIMAP(f.imapFrom); err != nil {
			errs = append(errs, err)
		}
		if f.users == "" {
			errs = append(errs, errors.New("--users is missing: a file with user names and passwords"))
		}
	}
	if f.rsync.datadir != "" && !path.IsAbs(f.rsync.datadir) {
		errs = append(errs, fmt.Errorf("--mysql-datadir %q: not an absolute path (on the old server)", f.rsync.datadir))
	}
	errs = append(errs, f.rsync.parseOnly())
	if f.dryRun && f.final {
		errs = append(errs, errors.New("--dry-run and --final exclude each other"))
	}
	if f.rsync.freeze != "" && !f.final {
		errs = append(errs, errors.New("--freeze-command is for the last copy: add --final"))
	}
	if f.rsync.queueWait < 0 {
		errs = append(errs, fmt.Errorf("--queue-wait %v: less than no time", f.rsync.queueWait))
	}
	if f.rsync.bandwidth != "" {
		bytes, err := config.ParseSize(f.rsync.bandwidth)
		if err != nil || bytes < 1024 {
			errs = append(errs, fmt.Errorf("--bwlimit %q: not a size of at least 1KiB", f.rsync.bandwidth))
		}
		f.rsync.kbytes = int(bytes / 1024)
	}
	if f.jobs < 1 || f.jobs > 64 {
		errs = append(errs, fmt.Errorf("--jobs %d: not between 1 and 64", f.jobs))
	}
	if f.verify != verifySome && f.verify != verifyFull {
		errs = append(errs, fmt.Errorf("--verify %q: allowed are %s and %s", f.verify, verifySome, verifyFull))
	}
	return errors.Join(append(errs, checkFormat(f.format))...)
}

// Values of --verify.
const (
	verifySome = "sample"
	verifyFull = "full"
)

// Flags that mean nothing where mail does not come by ssh, or not by IMAP.
var (
	sshOnly = []string{
		"ssh-port", "ssh-key", "ssh-config", "ssh-option", "sudo", "container", "database", "mysql-datadir", "map", "layout", "only",
		"bwlimit", "allow-weak-hashes", "freeze-command", "queue-wait", "leave-queue",
	}
	imapOnly = []string{"users", "ca-file", "tls-name"}
)

// foreign refuses flags that would be passed over: who gives --freeze-command has
// to know that nothing is frozen.
func (f *migrateFlags) foreign(cmd *cobra.Command) error {
	way, flags := "--imap-from", sshOnly
	switch {
	case (f.imapFrom == "") == (f.rsync.from == ""):
		return nil // check says so
	case f.imapFrom == "":
		way, flags = "--rsync-from", imapOnly
	}
	var errs []error
	for _, flag := range flags {
		if cmd.Flags().Changed(flag) {
			errs = append(errs, fmt.Errorf("--%s has no meaning with %s", flag, way))
		}
	}
	return errors.Join(errs...)
}

// sample is how many messages of a folder are compared octet by octet by IMAP.
func (f *migrateFlags) sample() int {
	if f.verify == verifyFull {
		return -1
	}
	return verifySample
}

// migrateProbe proves the stack after accounts were opened.
func (a *app) migrateProbe(ctx context.Context) error {
	report, err := a.runProbe(ctx)
	if err != nil {
		return err
	}
	if err := a.formatReport(a.Stderr, report, probeFlags{format: "text"}); err != nil {
		return err
	}
	if report.Status.ExitCode() >= 2 {
		return errors.New("the accounts are moved and open, but the probe is red, see above")
	}
	return nil
}
