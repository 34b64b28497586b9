// Package probe checks a mail server the way its users use it: it logs in on
// every published port, tries what must be refused, sends a message to itself
// and finds it again, and reports each as one check with its time.
//
// The package speaks the mail protocols and nothing else. What it has to know
// about containers, databases, files and the DNS is handed to it in a Target, as
// values and as functions to call. It reads no configuration and resolves no name: it
// dials the addresses it is given and verifies the certificate against the
// name that it is given.
//
// Nothing here outlives its deadline, whatever the server does: see Run.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"time"

	"mailstack/dns"
)

// Target is one mail server and what is known about it.
type Target struct {
	// Stack is the name that reports carry.
	Stack string
	// Hostname is the name that the certificate must be valid for. It is never
	// resolved.
	Hostname string
	// Addresses are the published host addresses. An unspecified address
	// (0.0.0.0, ::) is dialled as the loopback address of its family.
	Addresses []netip.Addr
	// Ports by configuration key: smtp, submission, submissions, imap, imaps,
	// pop3, pop3s, managesieve. A listener that is absent or 0 is off, and its
	// checks are not run.
	Ports map[string]uint16
	// Roots verify the served certificate; nil means the system's.
	Roots *x509.CertPool
	// Unverified says why no authority is known to verify the certificate by,
	// although there is one. Then nobody logs in. Empty: Roots is right.
	Unverified string
	// Fingerprint is the SHA-256 of the leaf certificate on disk (its DER form)
	// in hexadecimal, with or without colons. Empty: not known, not compared.
	Fingerprint string
	// Twin is the same of a second certificate, with another kind of key: clients
	// choose between them. Empty: there is none.
	Twin string

	// StandIn says what the certificate stands in for: it is valid for Roots, but
	// not what the server's users trust. Empty: it is no stand-in.
	StandIn string

	// User is the name that the probe's own account logs in with. Empty: checks
	// that need a login are reported as not run.
	User     string
	Password Secret
	// Address is the account's mail address, if it is not User.
	Address string
	// Recipient is where mail for that account is sent, if not to its address.
	Recipient string
	// Foreign says that this is no stack of this program's: what only those
	// promise is not asked for, and hints are about servers in general.
	Foreign bool
	// Elsewhere is a mailbox of another server, to send a message to. Nil: none.
	Elsewhere *Elsewhere
	// Confined says that the account may send mail to nobody but itself; that is then
	// checked too.
	Confined bool

	// Sockets are the sockets to look at from inside their consumers.
	Sockets []SocketCheck
	// Database runs one query over the shared socket, from the host. Nil: the
	// check is not run.
	Database func(ctx context.Context) error
	// Queued says where in the mail server's queue the message waits that was
	// acknowledged under queueID. It tells a late message from a lost one. Nil:
	// nobody can be asked.
	Queued func(ctx context.Context, queueID string) (QueuedMessage, error)

	// What else can be looked at. A check whose function is nil is not run.

	// Rights says, in one sentence each, what somebody may do in the database
	// and should not, and what a service may not do and should.
	Rights     func(ctx context.Context) ([]string, error)
	Queue      func(ctx context.Context) (QueueState, error)
	Disks      func(ctx context.Context) ([]DiskState, error)
	Mailboxes  func(ctx context.Context) (MailboxState, error)
	Containers func(ctx context.Context) ([]ContainerState, error)
	Clock      func(ctx context.Context) (ClockState, error)
	// Records compares the DNS with what is needed.
	Records func(ctx context.Context) (dns.Report, error)
	// Own are this host's outward addresses, at most one of each family.
	Own []netip.Addr
	// Logged finds, in what the SMTP server has logged since a moment, the
	// client whose recipient had a token in its address. An invalid Peer means
	// that nothing is there yet.
	Logged func(ctx context.Context, since time.Time, token string) (PeerView, error)

	adjust func(*tls.Config) // for checks that want another handshake
	logins chan struct{}     // a place in it is needed to log in; nil: it is not
	begun  chan struct{}     // takes one for each wait for a server's delay that has begun; may be nil
}

// Elsewhere is a mailbox of another server.
type Elsewhere struct {
	Address string
	// Mailbox is where the message can be read. Nil: nobody can look, and the
	// check ends when the message has been accepted.
	Mailbox *Target
}

// Secret is a string that does not print itself.
type Secret string

const redacted = "[redacted]"

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the secret from JSON and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Func does one check. It returns nil, or the failures it met (see Failure;
// several are joined with errors.Join). It records its steps in tr as it goes,
// so that a check that is still running at the deadline can say where it was.
type Func func(ctx context.Context, t *Target, tr *Trace) error

// Check is one thing that can be checked, under a name that never changes.
type Check struct {
	Name  string
	About string // one line, for people
	Run   Func

	first bool // has to sit out a server's delay: is started before the others
}

// Options say how to run checks. The zero value runs all of them.
type Options struct {
	// Only are names of checks, or of families: "refusal" means every check
	// whose name starts with "refusal.". Empty means all. See CheckNames.
	Only []string
	// Skip are names to leave out of what Only selects.
	Skip []string
	// Timeout bounds the whole run; 0 means DefaultTimeout.
	Timeout time.Duration
	// Slow is how long a step may take before its check is a warning; 0 means
	// half of Timeout.
	Slow time.Duration
	// Late is how long a message may be on its way before that is a warning; 0
	// means half of Timeout.
	Late time.Duration
	// Warning and Critical replace what checks judge by.
	Warning, Critical []Limit
	// Untimed leaves out the limits of times: what has only just been started
	// answers its first clients slowly.
	Untimed bool
	// Dialogue keeps what was said on every connection.
	Dialogue bool

	exact     bool          // Only are names, and no families
	headStart time.Duration // see startAll; 0 means the default
}

// DefaultTimeout is the time of a whole run: what monitoring systems allow a
// plugin (10 s, https://www.monitoring-plugins.org/doc/guidelines.html).
const DefaultTimeout = 10 * time.Second

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Slow <= 0 {
		o.Slow = o.Timeout / 2
	}
	if o.Late <= 0 {
		o.Late = o.Timeout / 2
	}
	if o.headStart <= 0 {
		o.headStart = min(headStart, o.Timeout/10)
	}
	return o
}

// StandardPorts are the listeners with the ports that are registered for them
// (https://www.iana.org/assignments/service-names-port-numbers).
func StandardPorts() map[string]uint16 {
	return map[string]uint16{
		"smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993,
		"pop3": 110, "pop3s": 995, "managesieve": 4190,
	}
}

// dialAddress is where to connect for a published address.
func dialAddress(a netip.Addr) netip.Addr {
	a = a.Unmap()
	switch {
	case a == netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case a == netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return a
}

// endpoints are the addresses at which a listener is published, each once.
func (t *Target) endpoints(key string) []netip.AddrPort {
	port := t.Ports[key]
	if port == 0 {
		return nil
	}
	var all []netip.AddrPort
	seen := make(map[netip.Addr]bool)
	for _, a := range t.Addresses {
		a = dialAddress(a)
		if seen[a] {
			continue
		}
		seen[a] = true
		all = append(all, netip.AddrPortFrom(a, port))
	}
	return all
}

// on says whether a listener can be reached at all.
func (t *Target) on(key string) bool { return len(t.endpoints(key)) > 0 }

// firstOn is the first of these listeners that is published, or "".
func (t *Target) firstOn(keys ...string) string {
	for _, k := range keys {
		if t.on(k) {
			return k
		}
	}
	return ""
}
