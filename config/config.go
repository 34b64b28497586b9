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
	Relay      Relay    `toml:"relay"`
	TLS        TLS      `toml:"tls"`
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

// Relay is the smarthost that takes all outgoing mail.
type Relay struct {
	Host         string `toml:"host"` // name or IP address; empty: mail is delivered directly
	Port         uint16 `toml:"port"`
	User         string `toml:"user"`          // empty: no login
	PasswordFile string `toml:"password_file"` // absolute path; set exactly when User is
}

// Images says what the images are built from.
type Images struct {
	Base   string `toml:"base"`   // image reference
	Mirror string `toml:"mirror"` // URL of a Debian mirror, for when Base is bootstrapped; empty: the host's
}

// Limits are sizes, all in bytes.
type Limits struct {
	MessageBytes  int64 `toml:"message_size"`
	QuotaBytes    int64 `toml:"default_quota"` // of a new account that is given none; 0: no limit
	MySQLMemory   int64 `toml:"mysql_memory"`
	DovecotMemory int64 `toml:"dovecot_memory"`
	PostfixMemory int64 `toml:"postfix_memory"`
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
		Relay:  Relay{Port: 587},
		TLS:    defaultTLS(),
		Images: Images{Base: "debian:trixie-slim"},
		Limits: Limits{
			MessageBytes:  50 * mib,
			MySQLMemory:   512 * mib,
			DovecotMemory: 1 * gib,
			PostfixMemory: 512 * mib,
		},
		Probe: Probe{Timeout: 60 * time.Second, Warning: []string{}, Critical: []string{}},
	}
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
