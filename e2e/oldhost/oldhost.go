// Package oldhost runs the mail servers that people leave: Debian 12 with
// Dovecot 2.3, Postfix and MariaDB from its packages, set up as PostfixAdmin,
// ISPmail or docker-mailserver have it, with accounts, mail and a real sshd.
// What migrates has to prove itself against them.
//
//	old := oldhost.Start(t, oldhost.Options{Kind: oldhost.PostfixAdmin, Spool: oldhost.Small()})
//	// ssh -F old.SSH.Config old.SSH.Alias
//
// A host is one container, reached on loopback only. It ends with its test, and
// with the test's process however that ends. Its mail lies in a directory of
// this machine (Host.MailDir), for tests that look or spoil behind its back.
//
// Needs root, a Docker Engine and, the first time, mmdebstrap and Debian's
// archive; images are kept under mailstack-test/.
package oldhost

// Kind is how the old host keeps its accounts.
type Kind string

// The kinds there are.
const (
	// PostfixAdmin has the tables of PostfixAdmin 3.3, mail in the directory that
	// mailbox.maildir names below /var/vmail.
	PostfixAdmin Kind = "postfixadmin"
	// ISPmail is the guide at https://workaround.org/ispmail-bookworm/: tables
	// virtual_*, mail in Maildir below the home /var/vmail/%d/%n.
	ISPmail Kind = "ispmail"
	// DockerMailserver has files, no database: https://docker-mailserver.github.io.
	// Its container is left out: what would run in it runs on the host.
	DockerMailserver Kind = "docker-mailserver"
)

// Options says what host to start. Only Kind is needed.
type Options struct {
	Kind   Kind
	Spool  Spool
	Layout Layout

	// Sudo: ssh logs in as "admin", who may run anything with sudo and no
	// password; root is not let in.
	Sudo bool
	// Stopped: once the mail is indexed, all but sshd is stopped. What is left
	// of the database is its data directory.
	Stopped bool
	// Killed is Stopped by SIGKILL: the data directory needs recovery.
	Killed bool

	// Name of the container and value of its label mailstack.stack, by which the
	// e2e harness finds what a run left behind. "": one by chance.
	Name string
	// Dir is made and removed by the host; its path must be short. "": one in
	// /tmp by chance.
	Dir string
}

// Layout departs from how a kind keeps its mail by default.
type Layout struct {
	// Subdir holds the Maildir below what the account's home is. "": the home
	// itself (PostfixAdmin, DockerMailserver) or Maildir (ISPmail).
	Subdir string
	// Hashed: PostfixAdmin's maildir column has "example.org/a/al/alice/".
	Hashed bool
	// FS is LAYOUT=fs: Folder/Sub instead of .Folder.Sub.
	FS bool
	// Separator that users see, '.' or '/'. 0: '.', with FS '/'.
	Separator byte
	// Prefix of the only namespace, "INBOX." for example; it ends in Separator.
	Prefix string
	// Apart keeps indexes and control files (uidlist, subscriptions) outside the
	// Maildir, below /var/lib/dovecot-index and /var/lib/dovecot-control.
	Apart bool
	// Format of the mailboxes if not "maildir": "mbox", "sdbox" or "mdbox". Such
	// a host has a few delivered messages and nothing of its Spool.
	Format string
}

// Host is a running old host.
type Host struct {
	Options
	SSH SSH

	// Hostname is what the host calls itself; its certificate, in CAFile, is for
	// that name, localhost and 127.0.0.1.
	Hostname string
	CAFile   string
	// IMAP, IMAPS, POP3, POP3S and SMTP are addresses like 127.0.0.1:32781.
	// IMAP and POP3 take passwords without TLS.
	IMAP, IMAPS, POP3, POP3S, SMTP string

	// MailRoot is the directory of all mail as the host knows it, MailDir the
	// same on this machine.
	MailRoot, MailDir string
	// Database is its name, "" where there is none; DataDir is MariaDB's.
	Database, DataDir string
	// ConfigDir is docker-mailserver's, "" elsewhere.
	ConfigDir string

	// Domains take mail. PostfixAdmin's last one, example.com, is another name of
	// example.org (alias_domain); its tables also have closed.example, which is
	// inactive, backup.example, which is only relayed, and the row ALL.
	Domains  []string
	Accounts []Account
	// Aliases leave out those that PostfixAdmin has from each mailbox to itself,
	// and docker-mailserver's regular expression for shop1@example.org and so on.
	Aliases []Alias

	// Freeze and Thaw are shell commands that let no mail in any more, and again.
	// What Postfix has taken and not delivered stays in its queue: see Drain.
	Freeze, Thaw string
}

// Account is a mailbox of the old host.
type Account struct {
	Address  string
	Password string
	// Scheme is Dovecot's name of the hash's, Hash what the host has stored,
	// with or without {SCHEME}.
	Scheme, Hash string
	QuotaBytes   int64 // 0: none
	Disabled     bool  // cannot log in; Dovecot does not know it
	// Home and Maildir are absolute, on the host. The mail of "mbox" and its like
	// is in Maildir too.
	Home, Maildir string
	// Sieve is the active script's path on the host, "" if there is none.
	Sieve string
	// Folders is the mail that was put there, by folder; nothing for those that
	// were not. Hostile mailboxes have more than is listed.
	Folders []Folder
	// Hostile: its owner had a shell and bad intentions.
	Hostile bool

	role string // what the spool puts there
}

// Folder is what a mailbox holds.
type Folder struct {
	Name     string // in Unicode, levels separated by '/', no prefix: "INBOX", "Archive/2019"
	Messages int
	Octets   int64 // with CRLF, as IMAP and POP3 count
	Unseen   int
	// UIDValidity and UIDNext are 0 where only the old host knows.
	UIDValidity, UIDNext uint32
	Subscribed           bool

	missing bool // subscribed to, and not there
}

// Alias is an address whose mail goes elsewhere.
type Alias struct {
	Address  string // "@example.org" is a catch-all
	Targets  []string
	Disabled bool
}

// SSH is how to log in on a host.
type SSH struct {
	// Config is an ssh_config(5) that knows Alias: port, user, key, and the host
	// key in KnownHosts. It never asks.
	Config, Alias   string
	User            string
	Port            int
	Key, KnownHosts string // paths
}
