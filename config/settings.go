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
	// *time.Duration or *bool.
	field func(*Config) any

	// check returns each string in its canonical form, or why it is refused.
	check    func(string) (string, error)
	optional bool // an empty string is allowed, and not checked

	zero     bool  // 0 is allowed, whatever min says
	min, max int64 // of ports, sizes (bytes) and durations (nanoseconds)
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
	"relay": `A smarthost that takes all outgoing mail, for lines whose outbound port 25 is
blocked. Without host, mail goes straight to the servers of its recipients.`,
	"tls":    ``,
	"images": ``,
	"limits": `Sizes are "50MiB" (1024 x 1024 bytes), "50MB" (1000 x 1000) or plain bytes.`,
	"probe":  ``,
}

// settings are in the order in which the reference shows them.
var settings = slices.Concat(stackSettings, tlsSettings, furtherSettings)

// stackSettings say what there is, up to the certificates.
var stackSettings = []setting{
	{
		key: "name",
		doc: `The stack's name. Its containers are <name>-mysql, <name>-dovecot and
<name>-postfix. Small letters, digits and hyphens, at most 32 of them.`,
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
		key:      "relay.host",
		doc:      `Its name or IP address, such as "smtp.example.net"; "" for none.`,
		field:    func(c *Config) any { return &c.Relay.Host },
		check:    checkRelayHost,
		optional: true,
	},
	{
		key:   "relay.port",
		field: func(c *Config) any { return &c.Relay.Port },
		min:   1, max: 65535,
	},
	{
		key: "relay.user",
		doc: `How to log in there, where that is asked for: a user name, and the absolute
path of a file that holds the password and that only its owner can read.`,
		field:    func(c *Config) any { return &c.Relay.User },
		check:    checkRelayUser,
		optional: true,
	},
	{
		key:      "relay.password_file",
		field:    func(c *Config) any { return &c.Relay.PasswordFile },
		check:    checkPath,
		optional: true,
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
