package oldhost

// Spool says how much mail a host holds. The same Spool always makes the same
// files. The zero value is a host whose mailboxes are empty.
type Spool struct {
	Seed uint64
	// Messages in each ordinary mailbox, inbox and folders together: real MIME,
	// flags, keywords, subscriptions, nested folders, names beyond ASCII.
	Messages int
	// Many small messages in one folder, Archive/2019 of many@example.net.
	Many int
	// HugeBytes is the size of the largest message, in alice's inbox. 0: none.
	HugeBytes int64
	// Exact: exact@example.org holds 488 messages with 15,003,687 octets.
	Exact bool
	// Hostile: the mailbox of mallory@example.net.
	Hostile bool
}

// Small is what most tests want: all there is, in a second.
func Small() Spool {
	return Spool{Seed: 1, Messages: 16, Many: 300, HugeBytes: 1 << 20, Exact: true, Hostile: true}
}

// Large has a folder of 30,000 messages and one message of 40 MB.
func Large() Spool {
	return Spool{Seed: 1, Messages: 60, Many: 30000, HugeBytes: 40_000_000, Exact: true, Hostile: true}
}
