// Package config turns mailstack.toml into a complete, valid [Config], or into
// all of its problems at once, each with file and line.
//
// Every key is one entry of the table in settings.go: where its value goes,
// what is allowed, and the words a user reads about it. The reference file in
// the repository root and what `mailstack init` writes are rendered from the
// same table, so none of them can say something else than what is checked.
//
// The package looks at the file and at nothing else: whether a port is free, a
// disk is mounted or a password file is readable is found out by those who use
// them.
package config

import (
	"net/netip"
	"path"
	"time"
)

// Config is everything that a person decides about a stack. A Config that
// comes from this package is complete and valid.
type Config struct {
	// Path is the file that it was read from; empty: no file, the built-in
	// demonstration.
	Path string `toml:"-"`

	Name       string   `toml:"name"`       // [a-z0-9][a-z0-9-]{0,31}
	Hostname   string   `toml:"hostname"`   // ASCII (A-labels), lower case, no dot at the end
	Aliases    []string `toml:"aliases"`    // further names in the certificate, as Hostname
	Postmaster string   `toml:"postmaster"` // local@domain, lower case, the domain as Hostname
	Data       Data     `toml:"data"`
	Listen     Listen   `toml:"listen"`
	Network    Network  `toml:"network"`
	Relay      Relay    `toml:"relay"`
	TLS        TLS      `toml:"tls"`
	Filter     Filter   `toml:"filter"`
	Images     Images   `toml:"images"`
	Limits     Limits   `toml:"limits"`
	Probe      Probe    `toml:"probe"`
}

// Data says where things are kept: absolute, clean paths, none inside another.
// An empty one means its place below Dir, see [Data.Resolved].
type Data struct {
	Dir         string `toml:"dir"`
	MySQL       string `toml:"mysql"`
	MySQLSocket string `toml:"mysql_socket"`
	Vmail       string `toml:"vmail"`
	Queue       string `toml:"queue"`
}

// Resolved is d with every empty path filled in.
func (d Data) Resolved() Data {
	fill := func(p *string, below string) {
		if *p == "" {
			*p = path.Join(d.Dir, below)
		}
	}
	fill(&d.MySQL, "mysql")
	fill(&d.MySQLSocket, "socket/mysql")
	fill(&d.Vmail, "vmail")
	fill(&d.Queue, "queue")
	return d
}

// Listen says what is published on the host: every port on every address.
// Port 0 is a listener that is off.
type Listen struct {
	Addresses   []netip.Addr `toml:"address"`
	SMTP        uint16       `toml:"smtp"`
	Submission  uint16       `toml:"submission"`
	Submissions uint16       `toml:"submissions"`
	IMAP        uint16       `toml:"imap"`
	IMAPS       uint16       `toml:"imaps"`
	POP3        uint16       `toml:"pop3"`
	POP3S       uint16       `toml:"pop3s"`
	ManageSieve uint16       `toml:"managesieve"`
}

// Ports is every listener by the name of its key, those that are off (0)
// included.
func (l Listen) Ports() map[string]uint16 {
	return map[string]uint16{
		"smtp":        l.SMTP,
		"submission":  l.Submission,
		"submissions": l.Submissions,
		"imap":        l.IMAP,
		"imaps":       l.IMAPS,
		"pop3":        l.POP3,
		"pop3s":       l.POP3S,
		"managesieve": l.ManageSieve,
	}
}

// Network says how the containers see the world.
type Network struct {
	Resolvers []string `toml:"resolvers"` // IP addresses of recursive name servers; empty: the engine's choice, mostly the host's
	IP        string   `toml:"ip"`        // of other mail servers: "ipv4-first", "ipv6-first", "ipv4" or "ipv6"
}

// Relay is the smarthost that takes outgoing mail.
type Relay struct {
	Host         string `toml:"host"` // name or IP address; empty: mail is delivered directly
	Port         uint16 `toml:"port"`
	User         string `toml:"user"`          // empty: no login
	PasswordFile string `toml:"password_file"` // absolute path; set exactly when User is
	TLS          string `toml:"tls"`           // "verify" or "encrypt"
	CAFile       string `toml:"ca_file"`       // absolute path; empty: the public authorities

	// Domains are the smarthosts of the mail whose sender is in a domain, by its
	// name (as Hostname): tables of the same keys. Theirs have no Domains.
	Domains map[string]Relay `toml:"-"`
}

// Of a smarthost's certificate: "verify" wants one that is valid for its name.
const (
	RelayVerify  = "verify"
	RelayEncrypt = "encrypt"
)

func defaultRelay() Relay { return Relay{Port: 587, TLS: RelayVerify} }

// Filter says how mail is filtered.
type Filter struct {
	Enabled  bool   `toml:"enabled"`
	WhenDown string `toml:"when_down"` // "tempfail" or "accept"
	// Scores from which on something is done with a message; 0: never.
	Mark     int `toml:"mark"`
	Greylist int `toml:"greylist"`
	Reject   int `toml:"reject"`
	// TrustedForwarders are domains whose ARC seals are believed; as Hostname.
	TrustedForwarders []string `toml:"trusted_forwarders"`
}

// Images says what the images are built from.
type Images struct {
	Base   string `toml:"base"`   // image reference
	Mirror string `toml:"mirror"` // URL of a Debian mirror, for when Base is bootstrapped; empty: the host's
}

// Limits are sizes, in bytes where nothing else is said.
type Limits struct {
	MessageBytes  int64 `toml:"message_size"`
	QuotaBytes    int64 `toml:"default_quota"` // of a new account that is given none; 0: no limit
	MySQLMemory   int64 `toml:"mysql_memory"`
	DovecotMemory int64 `toml:"dovecot_memory"`
	PostfixMemory int64 `toml:"postfix_memory"`
	FilterMemory  int64 `toml:"filter_memory"`
	ValkeyMemory  int64 `toml:"valkey_memory"`

	// WrongPasswords is how many different ones an account or an address may
	// have in an hour before it is held back; 0: any number.
	WrongPasswords int `toml:"wrong_passwords"`
	// SharedAddresses are networks in CIDR notation, canonical, whose addresses
	// are not held back.
	SharedAddresses []string `toml:"shared_addresses"`

	// Of an account; 0: any number.
	MessagesPerHour   int `toml:"messages_per_hour"`
	MessagesPerDay    int `toml:"messages_per_day"`
	RecipientsPerHour int `toml:"recipients_per_hour"`
	RecipientsPerDay  int `toml:"recipients_per_day"`
	// SenderMessagesPerHour is for each address that an account sends from; 0: any number.
	SenderMessagesPerHour int `toml:"sender_messages_per_hour"`
	// UnlimitedSenders are accounts that these do not hold for, in lower case.
	UnlimitedSenders []string `toml:"unlimited_senders"`
}

// Probe bounds `mailstack probe`.
type Probe struct {
	Timeout  time.Duration `toml:"timeout"`  // of the proof of up and maintain, all of it
	Warning  []string      `toml:"warning"`  // RANGE or CHECK=RANGE, as --warning takes it; see Judge
	Critical []string      `toml:"critical"` // as Warning
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Default is the demonstration: a stack of its own on loopback, which needs no
// file. Every key that a file leaves out has its value from here.
func Default() Config {
	return Config{
		Name:       "demo",
		Hostname:   "mail.localhost",
		Aliases:    []string{},
		Postmaster: "demo@mail.localhost",
		Data:       Data{Dir: "/var/lib/mailstack-demo"},
		Listen: Listen{
			Addresses:   []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()},
			SMTP:        25,
			Submission:  587,
			Submissions: 465,
			IMAP:        143,
			IMAPS:       993,
			POP3:        110,
			POP3S:       995,
			ManageSieve: 4190,
		},
		Network: Network{Resolvers: []string{}, IP: "ipv4-first"},
		Relay:   defaultRelay(),
		TLS:     defaultTLS(),
		Filter:  Filter{Enabled: true, WhenDown: "tempfail", Mark: 6, Reject: 15, TrustedForwarders: []string{}},
		Images:  Images{Base: "debian:trixie-slim"},
		Limits: Limits{
			MessageBytes:  50 * mib,
			MySQLMemory:   512 * mib,
			DovecotMemory: 1 * gib,
			PostfixMemory: 512 * mib,
			FilterMemory:  512 * mib,
			ValkeyMemory:  256 * mib,

			WrongPasswords: 20, SharedAddresses: []string{},

			MessagesPerHour: 200, MessagesPerDay: 1000,
			RecipientsPerHour: 500, RecipientsPerDay: 1000,
			UnlimitedSenders: []string{},
		},
		Probe: Probe{Timeout: 60 * time.Second, Warning: []string{}, Critical: []string{}},
	}
}

// Off names what is turned off and has services of its own, by its table in the file.
func (c Config) Off() []string {
	if !c.Filter.Enabled {
		return []string{"filter"}
	}
	return nil
}

// Demonstration says whether c is the built-in demonstration, perhaps with
// other ports or limits: nobody's real mail.
func (c Config) Demonstration() bool {
	demo := Default()
	return c.Name == demo.Name && c.Hostname == demo.Hostname && c.Data.Dir == demo.Data.Dir
}

// Loopback says whether c listens on loopback addresses only.
func (c Config) Loopback() bool {
	for _, a := range c.Listen.Addresses {
		if !a.IsLoopback() {
			return false
		}
	}
	return true
}
