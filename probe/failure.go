package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Kind says what sort of failure was met. Two kinds never mean the same thing
// to the person who has to mend it.
type Kind int

// The kinds of failure.
const (
	KindRefused       Kind = iota + 1 // nothing listens there
	KindName                          // the name does not resolve
	KindUnreachable                   // no way to the address
	KindTimeout                       // no answer before the deadline
	KindClosed                        // closed or reset in the middle
	KindTLS                           // no TLS, or a certificate that does not verify
	KindCertificate                   // a good certificate, but not the one on disk
	KindDiffers                       // not the certificate that the other ports serve
	KindCredentials                   // the password is wrong
	KindNeedsTLS                      // a login was refused because the connection is in the clear
	KindBackend                       // the server says that it cannot look things up now
	KindNoRoom                        // the server says that a disk or the mailbox is full
	KindAnswer                        // the protocol was followed and the answer is wrong
	KindGarbage                       // the protocol was not followed
	KindInsecure                      // what must be refused was taken
	KindLost                          // an accepted message is nowhere
	KindMissing                       // an accepted message has not arrived, and nobody knows where it is
	KindQueued                        // an accepted message is still in the queue
	KindLate                          // a message arrived, late
	KindDuplicate                     // a message arrived more than once
	KindSocket                        // a socket is not as it must be
	KindContainer                     // a container is not as it must be
	KindRestarted                     // a container ended by itself not long ago
	KindRights                        // somebody may do more or less in the database than they should
	KindClock                         // the clock is wrong
	KindRecord                        // a DNS record is missing, or says something else
	KindUnanswered                    // no name server says what a DNS record is
	KindCriticalLimit                 // a measured value is past its critical limit
	KindWarningLimit                  // a measured value is past its warning limit
	KindSlow                          // all is well, but it took long
	KindNotRun                        // it could not be looked at
	KindInterrupted                   // the run was called off
)

// kinds holds the words and the general advice for each kind. Where a failure
// knows better advice it carries its own.
var kinds = map[Kind]struct {
	status Status
	words  string
	hint   string
}{
	KindRefused:       {Critical, "connection refused", "nothing listens there: see which service is down with `mailstack status`, start it with `mailstack up`"},
	KindName:          {Critical, "name not resolved", ""},
	KindUnreachable:   {Critical, "address unreachable", "this host has no way to that address: compare [listen] address with `ip address`"},
	KindTimeout:       {Critical, "no answer in time", "the service hangs or the host is overloaded: read `mailstack logs`"},
	KindClosed:        {Critical, "connection closed", "the server hung up: its log says why (`mailstack logs`)"},
	KindTLS:           {Critical, "TLS trouble", "compare with `mailstack cert show`; `mailstack up` installs the certificate again"},
	KindCertificate:   {Critical, "another certificate than the one on disk", "the service has not taken the new certificate: run `mailstack maintain`"},
	KindDiffers:       {Critical, "another certificate than at the other ports", "a service has not taken the new certificate: run `mailstack maintain`"},
	KindCredentials:   {Critical, "credentials refused", "the probe's account is gone, disabled, or has another password: `mailstack up` sets it right"},
	KindNeedsTLS:      {Critical, "login refused without TLS", "the server wants TLS where it already has it: read `mailstack logs`"},
	KindBackend:       {Critical, "backend down", "the server answers but cannot look things up: see `mailstack status` for the database and the sockets"},
	KindNoRoom:        {Critical, "no room", "make room: `mailstack status` shows the disks"},
	KindAnswer:        {Critical, "wrong answer", "read what the service logged: `mailstack logs`"},
	KindGarbage:       {Critical, "not the protocol", "something else listens on this port: find it with `ss -ltnp`"},
	KindInsecure:      {Critical, "taken, must be refused", "close this port until it is mended; `mailstack up` restores the shipped configuration"},
	KindLost:          {Critical, "message lost", "`mailstack logs dovecot` says what was done with it (by a Sieve script?), `mailstack logs postfix` what before that"},
	KindMissing:       {Critical, "message not arrived", "look for it with `mailstack logs postfix` and `mailstack logs dovecot`"},
	KindQueued:        {Critical, "message still in the queue", "`mailstack logs postfix` says more"},
	KindLate:          {Warning, "message late", "the host is overloaded or a delivery was retried: read `mailstack logs postfix`"},
	KindDuplicate:     {Critical, "message delivered more than once", "read `mailstack logs postfix`: a delivery was repeated after it had succeeded"},
	KindSocket:        {Critical, "socket not as it must be", "`mailstack up` recreates what is not as planned"},
	KindContainer:     {Critical, "container not as it must be", "`mailstack up` starts what is not running"},
	KindRestarted:     {Warning, "restarted by the engine", ""},
	KindRights:        {Critical, "wrong rights", "`mailstack up` sets those of the services right; users and rights that are nobody's here are for you to remove"},
	KindClock:         {Critical, "wrong clock", ""},
	KindRecord:        {Critical, "DNS record not as it must be", ""},
	KindUnanswered:    {Warning, "no answer from the DNS", "is outgoing port 53 open, by UDP and TCP? `mailstack dns check` shows who was asked"},
	KindCriticalLimit: {Critical, "past the critical limit", "read `mailstack logs`"},
	KindWarningLimit:  {Warning, "past the warning limit", "read `mailstack logs`"},
	KindSlow:          {Warning, "slow", "the host is overloaded, or a name lookup or a lock is waited for: read `mailstack logs`"},
	KindNotRun:        {Unknown, "not run", ""},
	KindInterrupted:   {Unknown, "interrupted", ""},
}

// String is the kind in words.
func (k Kind) String() string { return kinds[k].words }

// Status is what a failure of this kind makes of its check.
func (k Kind) Status() Status { return kinds[k].status }

// Failure is one thing that is not as it should be.
type Failure struct {
	Kind   Kind
	Addr   string // "127.0.0.1:993", or "" where no address is involved
	Step   string // "login", or ""
	Detail string // what was seen: printable, bounded
	Advice string // instead of the kind's own hint
	Err    error  // the cause, if there was one

	settled     bool   // another try would say the same
	kept        string // the whole text of a failure of which only that is known
	isForeign   bool   // the server is not one of this program's stacks,
	foreignHint string // and this is the hint then
}

// Error reads "127.0.0.1:993: login: credentials refused: …".
func (f *Failure) Error() string {
	if f.Addr == "" {
		return f.text()
	}
	return f.Addr + ": " + f.text()
}

// text is Error without the address.
func (f *Failure) text() string {
	if f.kept != "" {
		return f.kept
	}
	return strings.Join(append(f.steps(), f.words()), ": ")
}

// steps is the step, if it says anything.
func (f *Failure) steps() []string {
	if f.kept != "" || f.Step == "" || f.Step == lookStep {
		return nil
	}
	return []string{f.Step}
}

// words are the kind and what was seen.
func (f *Failure) words() string {
	switch {
	case f.kept != "":
		return f.kept
	case f.Detail == "":
		return f.Kind.String()
	}
	return f.Kind.String() + ": " + f.Detail
}

// Hint says what to do, in one line; it may be empty.
func (f *Failure) Hint() string {
	switch {
	case f.isForeign:
		return f.foreignHint
	case f.Advice != "":
		return f.Advice
	}
	var h interface{ Hint() string }
	if errors.As(f.Err, &h) {
		return h.Hint()
	}
	return kinds[f.Kind].hint
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failf makes a failure of a kind; the format's text becomes its detail.
func failf(k Kind, format string, args ...any) *Failure {
	return &Failure{Kind: k, Detail: fmt.Sprintf(format, args...)}
}

// isKind says whether err is a failure of kind k.
func isKind(err error, k Kind) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == k
}

// failuresOf takes joined errors apart. What is not a Failure yet becomes one.
func failuresOf(err error) []*Failure {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Failure
		for _, e := range joined.Unwrap() {
			all = append(all, failuresOf(e)...)
		}
		return all
	}
	var f *Failure
	if errors.As(err, &f) {
		return []*Failure{f}
	}
	return []*Failure{{Kind: KindAnswer, Detail: printable(err.Error()), Err: err}}
}

// classify makes a Failure of what went wrong in one step, and of joined errors
// one of each. A connection that was closed because ctx ended is a timeout,
// whatever the error says.
func classify(ctx context.Context, addr, step string, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, classify(ctx, addr, step, e))
		}
		return errors.Join(all...)
	}
	var f *Failure
	if !errors.As(err, &f) {
		f = &Failure{Kind: kindOf(err), Err: err, Detail: detailOf(err)}
	}
	// A copy: the failure may be shared, and what it already knows stays.
	g := *f
	if g.Kind.mayBeTheDeadline() {
		switch ctxErr := ctx.Err(); {
		case errors.Is(ctxErr, context.DeadlineExceeded):
			g.Kind, g.Detail = KindTimeout, ""
		case errors.Is(ctxErr, context.Canceled):
			g.Kind, g.Detail = KindInterrupted, ""
		}
	}
	if g.Addr == "" {
		g.Addr = addr
	}
	if g.Step == "" {
		g.Step = step
	}
	return &g
}

// mayBeTheDeadline says whether a connection that was closed because time was
// up can look like this: in the middle of a handshake, of an answer, of a line.
func (k Kind) mayBeTheDeadline() bool {
	switch k {
	case KindTimeout, KindClosed, KindTLS, KindGarbage, KindUnreachable:
		return true
	}
	return false
}

// kindOf tells errors of the network and of TLS apart.
func kindOf(err error) Kind {
	var (
		netErr    net.Error
		alert     tls.AlertError
		record    tls.RecordHeaderError
		certErr   *tls.CertificateVerificationError
		unknownCA x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return KindInterrupted
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return KindTimeout
	case errors.As(err, &record), errors.As(err, &alert), errors.As(err, &certErr),
		errors.As(err, &unknownCA), errors.As(err, &hostname), errors.As(err, &invalid):
		return KindTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		return KindRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return KindUnreachable
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return KindClosed
	case errors.As(err, &netErr) && netErr.Timeout():
		return KindTimeout
	}
	return KindGarbage
}

// detailOf is what an error adds to the words of its kind.
func detailOf(err error) string {
	var (
		record  tls.RecordHeaderError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &record):
		return "the server does not speak TLS here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		// Go's own words hold the time of the look, other ones at every address.
		return fmt.Sprintf("the certificate is valid from %s to %s only",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.Is(err, syscall.ECONNRESET):
		return "reset by the server"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ""
	}
	return printable(err.Error())
}

// maxDetail bounds what a server can put into a report, in bytes.
const maxDetail = 200

// printable makes text from a server safe for a terminal and a log line.
func printable(s string) string {
	cut := len(s) > maxDetail
	if cut {
		s = s[:maxDetail]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
	s = strings.TrimSpace(s)
	if cut {
		s += "…"
	}
	return s
}
