package probe

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// wrongPassword is no account's password. It is the same in every run: servers
// that slow down guessing count different wrong passwords, not a repeated one.
const wrongPassword Secret = "mailstack-probe-wrong-password"

// Addresses that are nobody's here. The domains are reserved for examples
// (RFC 2606), and no check goes further than RCPT with them.
const (
	outsideRecipient = "mailstack-probe@example.com"
	outsideSender    = "mailstack-probe@example.org"
)

// attempt is something that must be refused.
type attempt struct {
	name string // the step
	try  func(ctx context.Context, t *Target, tr *Trace) error
}

// plan says what to attempt at a target, and whether that applies to it.
type plan func(t *Target) (a attempt, applies bool)

// refusals runs attempts side by side and joins what they found.
func refusals(plans ...plan) Func {
	return func(ctx context.Context, t *Target, tr *Trace) error {
		var (
			wg   sync.WaitGroup
			errs = make([]error, len(plans))
		)
		for i, p := range plans {
			a, applies := p(t)
			if !applies {
				continue
			}
			step := tr.begin(a.name)
			wg.Go(func() {
				errs[i] = step(ctx, func() error { return a.try(ctx, t, tr.quiet()) })
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// wrongPasswordAt is refused with the code for a wrong password, by the first
// of these listeners that is on.
func wrongPasswordAt(keys ...string) plan {
	return func(t *Target) (attempt, bool) {
		key := t.firstOn(keys...)
		return attempt{"wrong password", func(ctx context.Context, t *Target, tr *Trace) error {
			l, err := connectAny(ctx, t, tr, key, withTLS)
			t.waitBegun()
			if err != nil {
				return err
			}
			defer l.close()
			err = l.tr.step(ctx, "wrong password", func() error {
				return judgeWrongPassword(l.login(t.someUser(), wrongPassword))
			})
			if err != nil {
				return err
			}
			return l.leave(ctx)
		}}, key != ""
	}
}

func judgeWrongPassword(err error) error {
	var f *Failure
	switch {
	case err == nil:
		return failf(KindInsecure, "logged in with a wrong password")
	case errors.As(err, &f) && f.Kind == KindCredentials:
		return nil
	case errors.As(err, &f) && f.Kind == KindAnswer:
		return failf(KindAnswer, "a wrong password is refused without the code for it: %s", f.Detail)
	}
	return err
}

// clearLoginAt is refused by a listener that has STARTTLS, before STARTTLS.
func clearLoginAt(key string) plan {
	return func(t *Target) (attempt, bool) {
		return attempt{"login before TLS", func(ctx context.Context, t *Target, tr *Trace) error {
			l, err := connectAny(ctx, t, tr, key, inClear)
			if err != nil {
				return err
			}
			defer l.close()
			err = l.tr.step(ctx, "login before TLS", func() error { return l.loginInClear(t.someUser()) })
			if err != nil {
				return err
			}
			return l.leave(ctx)
		}}, t.on(key)
	}
}

// unverified is a plan that sends no secret: it is tried whatever certificate is
// served. An expired one must not hide an open relay.
func unverified(p plan) plan {
	return func(t *Target) (attempt, bool) {
		a, applies := p(t)
		try := a.try
		a.try = func(ctx context.Context, t *Target, tr *Trace) error {
			look := *t
			look.adjust = anyCertificate
			return try(ctx, &look, tr)
		}
		return a, applies
	}
}

// someUser is a user name to be refused with.
func (t *Target) someUser() string {
	if t.User != "" {
		return t.User
	}
	return "mailstack-probe@" + t.Hostname
}

// smtpAttempt is something that an SMTP listener must refuse.
func smtpAttempt(name string, keys []string, sec security, try func(t *Target, s *smtpSession) error) plan {
	return smtpDialogue(name, keys, sec, false, try)
}

// signedIn is something that submission must refuse after a login too.
func signedIn(name string, try func(t *Target, s *smtpSession) error) plan {
	return when(canLogIn, smtpDialogue(name, submissionTLS, withTLS, true, try))
}

func smtpDialogue(name string, keys []string, sec security, login bool, try func(t *Target, s *smtpSession) error) plan {
	return func(t *Target) (attempt, bool) {
		key := t.firstOn(keys...)
		return attempt{name, func(ctx context.Context, t *Target, tr *Trace) error {
			l, err := connectAny(ctx, t, tr, key, sec)
			if err != nil {
				return err
			}
			defer l.close()
			if login {
				if err := l.authenticate(ctx, t.User, t.Password); err != nil {
					return err
				}
			}
			s := l.session.(*smtpSession) // these keys are SMTP listeners
			gone := false
			err = l.tr.step(ctx, name, func() error {
				err := try(t, s)
				gone = errors.Is(err, errHungUp)
				if gone {
					return nil
				}
				return err
			})
			if err != nil || gone {
				return err
			}
			return l.leave(ctx)
		}}, key != ""
	}
}

var (
	port25        = []string{"smtp"}
	submissionTLS = []string{"submissions", "submission"}
	refuseIMAP    = refusals(unverified(wrongPasswordAt("imaps", "imap")), clearLoginAt("imap"))
	refusePOP3    = refusals(unverified(wrongPasswordAt("pop3s", "pop3")), clearLoginAt("pop3"))
	refuseSieve   = refusals(unverified(wrongPasswordAt("managesieve")), clearLoginAt("managesieve"))
	refuseSMTP    = refusals(
		smtpAttempt("login without TLS", port25, inClear, noAuth),
		unverified(smtpAttempt("login", port25, withTLS, noAuth)),
		unverified(smtpAttempt("relay", port25, withTLS, noRelay)),
		smtpAttempt("vrfy", port25, withTLS, noVRFY),
		when(isOurs, smtpAttempt("sender", port25, withTLS, noHostedSender)),
		when(canLogIn, smtpAttempt("smuggling", port25, withTLS, noSmuggling)),
	)
	refuseSubmission = refusals(
		unverified(wrongPasswordAt("submissions", "submission")),
		clearLoginAt("submission"),
		unverified(smtpAttempt("relay", submissionTLS, withTLS, noRelay)),
		signedIn("sender", noForeignSender),
		signedIn("null sender", noNullSender),
		when(isOurs, signedIn("author", noForeignAuthor)),
		when(isConfined, signedIn("recipient", noOutsideRecipient)),
	)
)

// when leaves a plan out of a run against some targets.
func when(applies func(t *Target) bool, p plan) plan {
	return func(t *Target) (attempt, bool) {
		a, ok := p(t)
		return a, ok && applies(t)
	}
}

func canLogIn(t *Target) bool   { return t.needAccount() == nil }
func isOurs(t *Target) bool     { return !t.Foreign && canLogIn(t) }
func isConfined(t *Target) bool { return t.Confined }

// noAuth: AUTH is neither offered nor taken.
func noAuth(t *Target, s *smtpSession) error {
	if mechanisms, ok := s.extensions["AUTH"]; ok {
		return failf(KindInsecure, "AUTH %s is offered on a port that has no logins", printable(mechanisms))
	}
	return s.authRefused(t.someUser())
}

// noRelay: mail for elsewhere is not taken from somebody who has not logged in,
// however the addresses are written. Only a 2xx is an open relay: what is refused
// for now has been refused.
func noRelay(t *Target, s *smtpSession) error {
	box, domain, _ := strings.Cut(outsideRecipient, "@")
	for _, o := range []struct{ from, to string }{
		{outsideSender, outsideRecipient},
		{"", outsideRecipient},                                      // who trusts bounces
		{"postmaster@" + t.Hostname, outsideRecipient},              // who trusts what calls itself local
		{outsideSender, box + "%" + domain + "@" + t.Hostname},      // the percent hack
		{outsideSender, domain + "!" + box},                         // a UUCP path
		{outsideSender, "@" + t.Hostname + ":" + outsideRecipient},  // a source route
		{outsideSender, `"` + outsideRecipient + `"@` + t.Hostname}, // quoted
		{outsideSender, outsideRecipient + "@" + t.Hostname},        // two domains
	} {
		r, err := s.offer(o.from, o.to)
		if err != nil {
			return err
		}
		if r.taken() {
			return failf(KindInsecure, "open relay: mail to <%s> is taken from <%s>: %s", o.to, o.from, r)
		}
	}
	return nil
}

// noVRFY: nobody learns which addresses there are. A server that answers the
// same to every address tells nothing either (RFC 5321, section 3.5.3).
func noVRFY(t *Target, s *smtpSession) error {
	address := t.recipient() // at our own stacks, mail for the account itself is refused
	if address == "" {
		address = t.someUser()
	}
	known, err := s.send("VRFY %s", address)
	if err != nil {
		return err
	}
	_, domain, _ := strings.Cut(address, "@")
	unknown, err := s.send("VRFY nobody-at-all@%s", domain)
	switch {
	case err != nil:
		return err
	case known.code == 421 || unknown.code == 421:
		return smtpFailure(unknown)
	case known.code == 250 || known.code == 251 || known.code != unknown.code:
		return failf(KindInsecure, "VRFY tells which addresses there are: %s, and for an unknown one %s", known, unknown)
	}
	return nil
}

// noHostedSender: nobody claims a local address on port 25, where there are no
// logins.
func noHostedSender(t *Target, s *smtpSession) error {
	r, err := s.offer(t.address(), t.recipient())
	if err == nil && r.taken() {
		err = failf(KindInsecure, "mail from the hosted address <%s> is taken without login: %s", t.address(), r)
	}
	return err
}

// noForeignSender: after login, no address but one's own.
func noForeignSender(t *Target, s *smtpSession) error {
	_, domain, _ := strings.Cut(t.address(), "@")
	senders := []string{"nobody-at-all@" + domain, outsideSender}
	if !t.Foreign { // elsewhere the user may well be the postmaster
		senders = append([]string{"postmaster@" + domain}, senders...)
	}
	for _, from := range senders {
		r, err := s.offer(from, t.recipient())
		if err != nil {
			return err
		}
		if r.taken() {
			return failf(KindInsecure, "%s may send as <%s>: %s", t.User, from, r)
		}
	}
	return nil
}

// noForeignAuthor: nor in the header, which is what people see. A message that is
// taken all the same comes to the account itself, and a later run removes it.
func noForeignAuthor(t *Target, s *smtpSession) error {
	_, domain, _ := strings.Cut(t.address(), "@")
	author, now := "postmaster@"+domain, time.Now()
	if err := s.begin(t.address(), t.recipient()); err != nil {
		return err
	}
	message := newMarker(now).message(t, author, t.recipient(), "refusal.submission", now)
	if _, err := s.w.conn.Write(append(message, ".\r\n"...)); err != nil {
		return err
	}
	r, err := s.reply()
	switch {
	case err != nil:
		return err
	case r.taken():
		return failf(KindInsecure, "%s may write in the name of <%s>: %s", t.User, author, r)
	case r.code/100 == 4:
		return smtpFailure(r)
	}
	return nil
}

// noNullSender: bounces come from servers, not from users.
func noNullSender(t *Target, s *smtpSession) error {
	r, err := s.offer("", t.recipient())
	if err == nil && r.taken() {
		err = failf(KindInsecure, "the null sender is taken after login: %s", r)
	}
	return err
}

// noOutsideRecipient: the probe's account mails nobody but itself.
func noOutsideRecipient(t *Target, s *smtpSession) error {
	r, err := s.offer(t.address(), outsideRecipient)
	if err == nil && r.taken() {
		err = failf(KindInsecure, "the probe's account can mail <%s>: %s", outsideRecipient, r)
	}
	return err
}
