package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	lego "github.com/go-acme/lego/v5/acme"
)

// Error is why a certificate could not be obtained, in one line.
type Error struct {
	Text   string
	Advice string // what to do; "": nothing is known
	err    error
}

func (e *Error) Error() string { return e.Text }

// Hint says what to do.
func (e *Error) Hint() string { return e.Advice }

// Unwrap gives what was seen, such as a problem document of the library.
func (e *Error) Unwrap() error { return e.err }

// hintedError is an error that knows what to do about it.
type hintedError struct {
	error
	advice string
}

func (e *hintedError) Unwrap() error { return e.error }

// isProblem says whether the authority answered with a problem of a type.
func isProblem(err error, kind string) bool {
	var problem *lego.ProblemDetails
	return errors.As(err, &problem) && problem.Type == kind
}

// limited says whether the authority wants to be asked later.
func limited(p *lego.ProblemDetails) bool {
	return p.Type == lego.RateLimitedErrorType || p.HTTPStatus == http.StatusTooManyRequests
}

// explain makes the one line of an error: what was being done is in doing.
func (j *job) explain(doing string, err error) *Error {
	var text, advice []string
	for _, part := range parts(err) {
		said, todo := j.say(part)
		text = append(text, said)
		if todo != "" && !slices.Contains(advice, todo) {
			advice = append(advice, todo)
		}
	}
	return &Error{Text: oneLine(doing + ": " + strings.Join(text, "; ")), Advice: strings.Join(advice, "\n"), err: err}
}

// parts takes a joined error apart.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, parts(e)...)
		}
		return all
	}
	return []error{err}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// say is one failure for people, and what they can do.
func (j *job) say(err error) (said, advice string) {
	var proof *proofError
	var problem *lego.ProblemDetails
	var hint *hintedError
	var hinter interface{ Hint() string }
	switch {
	case errors.As(err, &proof):
		said = fmt.Sprintf("%s for %s: ", proof.challenge, proof.name)
		if errors.As(proof.err, &problem) {
			return said + describe(problem), j.proofAdvice(proof, problem)
		}
		return said + plain(proof.err).Error(), j.proofAdvice(proof, &lego.ProblemDetails{})
	case errors.As(err, &hint) && errors.As(err, &problem):
		return describe(problem), hint.advice
	case errors.As(err, &hint):
		return hint.Error(), hint.advice
	case errors.As(err, &problem):
		return describe(problem), j.advice(problem)
	case errors.As(err, &hinter):
		return err.Error(), hinter.Hint()
	}
	return plain(err).Error(), j.wireAdvice(err)
}

// describe is a problem document (RFC 7807, RFC 8555 section 6.7) in words.
func describe(p *lego.ProblemDetails) string {
	var b strings.Builder
	switch kind := strings.TrimPrefix(p.Type, "urn:ietf:params:acme:error:"); {
	case kind != "" && kind != "about:blank":
		b.WriteString(kind)
	case p.HTTPStatus != 0:
		fmt.Fprintf(&b, "status %d", p.HTTPStatus)
	default:
		b.WriteString("refused")
	}
	if p.Detail != "" {
		b.WriteString(": " + strings.TrimSuffix(p.Detail, "."))
	}
	for _, sub := range p.SubProblems {
		fmt.Fprintf(&b, "; %s: %s", sub.Identifier.Value, strings.TrimSuffix(sub.Detail, "."))
	}
	return b.String()
}

// proofAdvice says what to do when a name could not be proven.
func (j *job) proofAdvice(proof *proofError, p *lego.ProblemDetails) string {
	if p.Type == lego.CaaErrorType || limited(p) || p.Type == lego.RejectedIdentifierErrorType || p.Type == lego.ServerInternalErrorType {
		return j.advice(p)
	}
	name := strings.TrimPrefix(proof.name, "*.")
	if proof.challenge == DNS01 {
		return fmt.Sprintf("The authority must find the TXT record _acme-challenge.%s: is the zone delegated to the name servers that "+
			"the provider %q changes, and does its DNSSEC hold?", name, j.s.cfg.DNSProvider)
	}
	port := "80"
	if proof.challenge == TLSALPN01 {
		port = "443"
	}
	switch p.Type {
	case lego.DNSErrorType:
		return fmt.Sprintf("%s needs an A or AAAA record that leads to this host, and no other.", name)
	case lego.UnauthorizedErrorType, lego.IncorrectResponseErrorType, lego.TLSErrorType:
		if proof.challenge == HTTP01 && j.s.cfg.Webroot != "" {
			return fmt.Sprintf("Another answer was found: does the web server on port 80 of %s serve the files in %s?", name, j.s.cfg.Webroot)
		}
		return fmt.Sprintf("Another program answered on port %s of %s: do all its A and AAAA records lead to this host, "+
			"and to mailstack there? Another way is tls.acme_challenge = \"dns-01\".", port, name)
	}
	return fmt.Sprintf("Port %s of %s must reach this host from the internet: look at its A and AAAA records, the firewall and "+
		"the router. Another way is tls.acme_challenge = \"dns-01\".", port, name)
}

// advice says what to do about a refusal that is not about a proof.
func (j *job) advice(p *lego.ProblemDetails) string {
	var meta lego.Meta
	if j.c != nil {
		meta = j.c.core.GetDirectory().Meta
	}
	switch p.Type {
	case lego.CaaErrorType:
		issuer := "the authority"
		if len(meta.CaaIdentities) > 0 {
			issuer = `"` + meta.CaaIdentities[0] + `"`
		}
		return fmt.Sprintf("The CAA record of a name, or of a domain above it, must allow %s: 0 issue %s", host(j.s.cfg.Directory), issuer)
	case lego.ExternalAccountRequiredErrorType:
		return "Get a key id and its HMAC key from the authority and set tls.acme_eab_kid and tls.acme_eab_hmac_file."
	case lego.InvalidProfileErrorType:
		return "tls.acme_profile can be " + orNothing(slices.Sorted(maps.Keys(meta.Profiles))) + "."
	case lego.UserActionRequiredErrorType:
		return "Do what " + p.Instance + " asks for."
	case lego.InvalidContactErrorType, lego.UnsupportedContactErrorType:
		return "Correct tls.acme_email."
	case lego.RejectedIdentifierErrorType, lego.UnsupportedIdentifierErrorType:
		return "This authority gives no certificate for such a name: look at hostname, aliases and tls.names."
	case lego.BadPublicKeyErrorType, lego.BadCSRErrorType:
		return "Another kind of key may do: tls.key."
	case lego.UnauthorizedErrorType, lego.AccountDoesNotExistErrorType:
		return fmt.Sprintf("The authority may have closed the account: with %s moved away, `mailstack cert renew` makes another one.", j.d.File(accountKeyFile))
	}
	switch {
	case limited(p):
		return "Nothing is to be mended. The authority is asked again when it allows it."
	case p.HTTPStatus >= http.StatusInternalServerError:
		return "The fault is the authority's. It is asked again later."
	}
	return ""
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return `"" only: this authority has no profiles`
	}
	return strings.Join(words, ", ")
}

// wireAdvice is for an authority that was not reached.
func (j *job) wireAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	var netErr net.Error
	var dnsErr *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "A private authority's own root belongs into tls.acme_ca_file."
	case errors.As(err, &dnsErr):
		return "Can this host resolve names?"
	case errors.As(err, &netErr), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("Can this host reach %s by https?", host(j.s.cfg.Directory))
	}
	return ""
}

// plain takes the wrapping off that says nothing to a person: the request that
// the library made, and what it says of every error.
func plain(err error) error {
	var u *url.Error
	var op *os.SyscallError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &u):
		return u.Err
	case errors.As(err, &op) && isInUse(err):
		return op.Err
	}
	return err
}

func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
