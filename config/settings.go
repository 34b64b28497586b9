package config

import (
	"slices"
	"strings"
	"time"
)

// setting is one key of the file: the only place that knows it, apart from its
// field and its default.
type setting struct {
	key  string // with its table, "listen.imap"
	doc  string // the words above it in the reference; empty: told with the key before
	note string // the words behind it on its line

	// field returns where the value goes: a *string, *[]string,
	// *[]netip.Addr, *uint16 (a port), *int64 (a size in bytes),
	// *int (a number), *time.Duration or *bool.
	field func(*Config) any

	// check returns each string in its canonical form, or why it is refused.
	check    func(string) (string, error)
	optional bool // an empty string is allowed, and not checked

	zero     bool  // 0 is allowed, whatever min says
	min, max int64 // of ports, sizes (bytes), numbers and durations (nanoseconds)
}

// table is the part of the key before the dot; empty: top level.
func (s setting) table() string {
	table, _, found := strings.Cut(s.key, ".")
	if !found {
		return ""
	}
	return table
}

// name is the part of the key behind the dot.
func (s setting) name() string { return s.key[strings.LastIndexByte(s.key, '.')+1:] }

// settingOf finds a key's setting; nil: there is no such key.
func settingOf(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

// tableDocs are the words above a table, and the list of tables there are.
var tableDocs = map[string]string{
	"":     "",
	"data": `Where everything is kept: absolute paths, none inside another.`,
	"listen": `What this host offers to the network. Ports that Docker publishes bypass ufw:
to close one, set it to 0 here.`,
	"network": ``,
	"relay": `A smarthost that takes all outgoing mail, for lines whose outbound port 25 is
blocked. Without host, mail goes straight to the servers of its recipients.

The mail of a domain's senders can take another way. Its table has the same keys
and inherits none of their values; with host = "" that mail goes straight:

    [relay.domain."example.org"]
    host = "smtp.example.com"`,
	"tls":    ``,
	"filter": ``,
	"images": ``,
	"limits": `Sizes are "50MiB" (1024 x 1024 bytes), "50MB" (1000 x 1000) or plain bytes.`,
	"probe":  ``,
}

// settings are in the order in which the reference shows them.
var settings = slices.Concat(stackSettings, relaySettings("relay", theRelay), tlsSettings, filterSettings, furtherSettings)

// stackSettings say what there is, up to the certificates.
var stackSettings = []setting{
	{
		key: "name",
		doc: `The stack's name. Its containers are <name>-mysql, <name>-dovecot and
so on. Small letters, digits and hyphens, at most 32 of them.`,
		field: func(c *Config) any { return &c.Name },
		check: checkStackName,
	},
	{
		key: "hostname",
		doc: `The name that mail programs and other mail servers connect to, and that the
certificate is for: a full host name, as the DNS knows it.`,
		field: func(c *Config) any { return &c.Hostname },
		check: checkHostname,
	},
	{
		key:   "aliases",
		doc:   `Further names of this host for the certificate, such as "imap.example.org".`,
		field: func(c *Config) any { return &c.Aliases },
		check: checkHostname,
	},
	{
		key: "postmaster",
		doc: `Who gets what is sent to postmaster@, abuse@ and root@ of every domain. Where
its domain is the hostname or a parent of it (me@example.org, with
mail.example.org), the first "mailstack up" makes the mailbox and shows its
password once. Any other address is one outside: that mail is sent on to it.`,
		field: func(c *Config) any { return &c.Postmaster },
		check: checkAddress,
	},
	{
		key: "data.dir",
		doc: `The stack's directory: its secrets, its certificate authority, and all that
has no path of its own below.`,
		field: func(c *Config) any { return &c.Data.Dir },
		check: checkDir,
	},
	{
		key: "data.mysql",
		doc: `Paths of their own, on other disks perhaps. "" is the place below dir that is
named behind.`,
		note:     `the database: <dir>/mysql`,
		field:    func(c *Config) any { return &c.Data.MySQL },
		check:    checkPath,
		optional: true,
	},
	{
		key:      "data.mysql_socket",
		note:     `its socket: <dir>/socket/mysql`,
		field:    func(c *Config) any { return &c.Data.MySQLSocket },
		check:    checkPath,
		optional: true,
	},
	{
		key:      "data.vmail",
		note:     `the mail: <dir>/vmail`,
		field:    func(c *Config) any { return &c.Data.Vmail },
		check:    checkPath,
		optional: true,
	},
	{
		key:      "data.queue",
		note:     `mail on its way: <dir>/queue`,
		field:    func(c *Config) any { return &c.Data.Queue },
		check:    checkPath,
		optional: true,
	},
	{
		key: "listen.address",
		doc: `IP addresses of this host. "0.0.0.0" is every IPv4 address and "::" every
IPv6 address; "::" is left out, with a warning, where there is no IPv6.`,
		field: func(c *Config) any { return &c.Listen.Addresses },
	},
	portSetting("smtp", `mail from other servers; they know no other port`, func(c *Config) any { return &c.Listen.SMTP }).
		with(`TCP ports; 0 turns a listener off. No password is taken before TLS, which begins
with the connection (TLS) or on the client's command (STARTTLS).`),
	portSetting("submission", `mail programs send: STARTTLS`, func(c *Config) any { return &c.Listen.Submission }),
	portSetting("submissions", `mail programs send: TLS`, func(c *Config) any { return &c.Listen.Submissions }),
	portSetting("imap", `mail programs read: STARTTLS`, func(c *Config) any { return &c.Listen.IMAP }),
	portSetting("imaps", `mail programs read: TLS`, func(c *Config) any { return &c.Listen.IMAPS }),
	portSetting("pop3", `mail programs fetch: STARTTLS`, func(c *Config) any { return &c.Listen.POP3 }),
	portSetting("pop3s", `mail programs fetch: TLS`, func(c *Config) any { return &c.Listen.POP3S }),
	portSetting("managesieve", `mail programs edit filters: STARTTLS`, func(c *Config) any { return &c.Listen.ManageSieve }),
	{
		key: "network.resolvers",
		doc: `IP addresses of the name servers that the containers ask, by which mail finds its
way and senders are judged. Without any they are the host's.`,
		field: func(c *Config) any { return &c.Network.Resolvers },
		check: checkContainerResolver,
	},
	{
		key: "network.ip",
		doc: `Which addresses of other mail servers are tried first, "ipv4-first" or
"ipv6-first", or alone, "ipv4" or "ipv6": then mail for a server that has none comes
back. Docker's networks have IPv4 only, unless its daemon.json says otherwise. Large
receivers refuse mail from an IPv6 address without a PTR record.`,
		field: func(c *Config) any { return &c.Network.IP },
		check: oneOf("a choice of addresses", "ipv4-first", "ipv6-first", "ipv4", "ipv6"),
	},
}

// filterSettings say what becomes of what is in messages.
var filterSettings = []setting{
	{
		key: "filter.enabled",
		doc: `Whether every message is looked at by Rspamd, in a container of its own, with
another one for what it remembers. It signs what is sent, too. The two take 85 MB of
memory, 20 MB more once they have learnt, and 47 MB for a file where there is room:
false is for tiny machines, whose mail large receivers may refuse.`,
		field: func(c *Config) any { return &c.Filter.Enabled },
	},
	{
		key: "filter.when_down",
		doc: `What becomes of mail while it does not answer: "tempfail" has whoever sends it
try again later, "accept" takes it as it is. Nothing is refused for good.`,
		field: func(c *Config) any { return &c.Filter.WhenDown },
		check: oneOf("an action", "tempfail", "accept"),
	},
	scoreSetting("mark", `goes to Junk, with the header "X-Spam: Yes"`, func(c *Config) any { return &c.Filter.Mark }).
		with(`Scores from which on a message is treated so; 0 for never. Of ordinary mail the
score is below 3. A greylisted message is put off for 5 minutes, once.`),
	scoreSetting("greylist", `is put off`, func(c *Config) any { return &c.Filter.Greylist }),
	scoreSetting("reject", `is refused`, func(c *Config) any { return &c.Filter.Reject }),
	{
		key: "filter.trusted_forwarders",
		doc: `Domains of forwarders and mailing lists, such as "lists.example.net", that are
believed when they say that a message was its sender's before they changed or sent
it on (ARC). It is taken then although it fails its sender's DMARC policy.`,
		field: func(c *Config) any { return &c.Filter.TrustedForwarders },
		check: checkHostname,
	},
}

// furtherSettings are those that few need to change.
var furtherSettings = []setting{
	{
		key: "images.base",
		doc: `The Debian 13 image that the services' images are built on. Where it is neither
there nor to be pulled, "mailstack up" makes it from a Debian mirror.`,
		field: func(c *Config) any { return &c.Images.Base },
		check: checkImage,
	},
	{
		key:      "images.mirror",
		doc:      `That mirror, "http://mirror.example.org/debian"; "" is the one that apt uses here.`,
		field:    func(c *Config) any { return &c.Images.Mirror },
		check:    checkMirror,
		optional: true,
	},
	{
		key: "limits.message_size",
		doc: `The largest message, the same on every way in. Attachments count a third more
than the file has.`,
		field: func(c *Config) any { return &c.Limits.MessageBytes },
		min:   64 * kib, // RFC 5321 section 4.5.3.1.7: at least 64K octets
		max:   1 * gib,  // more is a slip of the pen: no one could pass it on
	},
	{
		key: "limits.default_quota",
		doc: `Room of a new account that is given no quota of its own; "0" is no limit.
Existing accounts keep theirs ("mailstack account set --quota").`,
		field: func(c *Config) any { return &c.Limits.QuotaBytes },
		zero:  true,
		min:   1 * mib, max: 1 << 50,
	},
	memorySetting("mysql_memory", func(c *Config) any { return &c.Limits.MySQLMemory }).
		with(`The most memory that a container gets; it needs far less. Dovecot gets at least
320MiB and room for four messages of message_size, which it keeps in memory
while it delivers them.`),
	memorySetting("dovecot_memory", func(c *Config) any { return &c.Limits.DovecotMemory }),
	memorySetting("postfix_memory", func(c *Config) any { return &c.Limits.PostfixMemory }),
	memorySetting("filter_memory", func(c *Config) any { return &c.Limits.FilterMemory }),
	memorySetting("valkey_memory", func(c *Config) any { return &c.Limits.ValkeyMemory }),
	{
		key: "limits.wrong_passwords",
		doc: `How many different wrong passwords an account, or an address, may have within an
hour before it is held back; 0 is no limit. "mailstack status" shows who is,
"mailstack unban" ends it. What has worked from a place goes on working there.`,
		field: func(c *Config) any { return &c.Limits.WrongPasswords },
		zero:  true,
		min:   5, max: 1000,
	},
	{
		key: "limits.shared_addresses",
		doc: `Addresses, or networks like "192.0.2.0/24", behind which there are many people,
such as a webmail's: they are not held back, only the accounts are.`,
		field: func(c *Config) any { return &c.Limits.SharedAddresses },
		check: checkNetwork,
	},
	sendingSetting("messages_per_hour", func(c *Config) any { return &c.Limits.MessagesPerHour }).
		with(`How many messages an account may send, and to how many recipients, so that one
stolen password does not ruin the name of the whole server; 0 is no limit. What
is more has to wait: the mail program is told until when. "mailstack status"
shows whom that concerns, "mailstack unban" ends it.`),
	sendingSetting("messages_per_day", func(c *Config) any { return &c.Limits.MessagesPerDay }),
	sendingSetting("recipients_per_hour", func(c *Config) any { return &c.Limits.RecipientsPerHour }),
	sendingSetting("recipients_per_day", func(c *Config) any { return &c.Limits.RecipientsPerDay }),
	sendingSetting("sender_messages_per_hour", func(c *Config) any { return &c.Limits.SenderMessagesPerHour }).
		with(`How many of these messages an account may send from one of its addresses (its
own, or an alias), so that a program that runs wild under one leaves it the
others; 0 is no limit.`),
	{
		key:   "limits.unlimited_senders",
		doc:   `Accounts that may send any number, such as "newsletter@example.org".`,
		field: func(c *Config) any { return &c.Limits.UnlimitedSenders },
		check: checkAddress,
	},
	{
		key: "probe.timeout",
		doc: `The longest that the proof at the end of "up" and of "maintain" may take, what
is tried again included: "90s", "2m". "mailstack probe" has --timeout.`,
		field: func(c *Config) any { return &c.Probe.Timeout },
		min:   int64(5 * time.Second), max: int64(10 * time.Minute),
	},
	{
		key: "probe.warning",
		doc: `What raises an alert, in place of the checks' own limits: ranges as monitoring
plugins write them. ["5", "queue=50", "disk=20:"] is for a check that takes more
than 5 seconds, more than 50 messages that wait, less than 20 per cent of a disk
that is free. cert is per cent of a certificate's life, containers are restarts,
clock is seconds. "mailstack probe" has --list, which shows the checks, and
--warning and --critical, which come first. The proof of "up" leaves times out.`,
		field: func(c *Config) any { return &c.Probe.Warning },
		check: anyText,
	},
	{
		key:   "probe.critical",
		field: func(c *Config) any { return &c.Probe.Critical },
		check: anyText,
	},
}

// anyText is the check of what a Judge has to look at.
func anyText(text string) (string, error) { return text, nil }

// portSetting is a listener, which may be off.
func portSetting(name, note string, field func(*Config) any) setting {
	return setting{key: "listen." + name, note: note, field: field, zero: true, min: 1, max: 65535}
}

// scoreSetting is a score that a message may reach, or never.
func scoreSetting(name, note string, field func(*Config) any) setting {
	return setting{key: "filter." + name, note: note, field: field, zero: true, min: 1, max: 1000}
}

// sendingSetting is how much an account may send.
func sendingSetting(name string, field func(*Config) any) setting {
	return setting{key: "limits." + name, field: field, zero: true, min: 1, max: 1_000_000}
}

// memorySetting is the memory limit of a container: never so little that the
// service cannot start.
func memorySetting(name string, field func(*Config) any) setting {
	return setting{key: "limits." + name, field: field, min: 128 * mib, max: 1 << 40}
}

// with adds words to read above the key.
func (s setting) with(doc string) setting {
	s.doc = doc
	return s
}
