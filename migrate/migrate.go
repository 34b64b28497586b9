// Package migrate brings the mail and the accounts of another mail server over,
// by ssh and rsync or by IMAP, and proves that nothing is missing.
//
// What it knows of the two ends is plain values. Everything about the old
// server is read in package source and is not to be trusted: names, paths and
// hashes there may be anybody's. The packages below have one job each:
//
//	remote    runs programs on the old server, by ssh
//	source    finds out what the old server is and who has mail there
//	maildir   reads what a Maildir holds, here or there, and compares
//	imapcopy  copies mailboxes by IMAP, where ssh is not to be had
//
// This package plans the passes, runs them, and verifies. It knows neither the
// stack nor its database: the caller gives it what it needs of them.
package migrate

// Secret is a string that does not print itself: a password hash.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the secret from JSON and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Directory is who has mail on the old server, in no notation of its own.
type Directory struct {
	// Schema is what it was read from: "postfixadmin", "ispmail", "iredmail",
	// "vimbadmin", "mailcow", "docker-mailserver", "mailstack", "map".
	Schema   string
	Domains  []string // A-labels, lower case
	Accounts []Account
	Aliases  []Alias
	// Left are the things that cannot be carried over, one line each with its
	// reason ("alias-domain example.net -> example.org: …").
	Left []string
}

// Account is a mailbox with a login.
type Account struct {
	Address    string // lower case, domain in A-labels
	Hash       Secret // {SCHEME}hash as Dovecot writes it; "" where the old server has none
	QuotaBytes int64  // 0: none
	Disabled   bool
	Store      Store
}

// Store is where an account's mail lies on the old server.
type Store struct {
	// Maildir is the absolute path of the Maildir (the directory that holds cur,
	// new and tmp of the inbox). "": not known.
	Maildir string
	// Layout of the folders below it: "maildir++" (.Folder.Sub) or "fs"
	// (Folder/Sub).
	Layout string
	// Separator between the names of nested folders that users see, '.' or '/'.
	Separator byte
	// Prefix of the namespace that holds the folders ("INBOX." or "").
	Prefix string
	// Control and Index are absolute paths where uidlist and subscriptions, and
	// the caches, are kept outside of Maildir. "": inside.
	Control, Index string
	// Sieve is the absolute path of the active script, "" where there is none or
	// it is not known; Scripts that of the directory of all scripts.
	Sieve, Scripts string
	// Files and Bytes are how much the Maildir held when it was looked at: for
	// the order of work and for showing how far it is, not to be relied upon.
	Files, Bytes int64
}

// Alias is an address whose mail goes to others.
type Alias struct {
	Address  string   // "@example.org" is the catch-all of a domain
	Targets  []string // at least one
	Disabled bool
}
