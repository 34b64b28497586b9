package probe

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// session is a dialogue in one of the mail protocols, up to and including the
// banner, and with TLS where that was asked for.
type session interface {
	// login fails with KindCredentials, KindBackend or KindNeedsTLS where the
	// protocol's codes tell these apart.
	login(user string, password Secret) error
	// loginInClear tries to log in with a password that is not the account's,
	// on a connection without TLS. It returns nil if the server refused
	// because of that, before it looked at the password.
	loginInClear(user string) error
	// read asks for some state and changes none.
	read() error
	// quit ends the dialogue by the protocol's own word for it.
	quit() error
}

// protocol is how the beginning of a dialogue goes.
type protocol struct {
	// banner reads and judges the greeting.
	banner func(w *wire) error
	// startTLS asks for TLS and returns when the handshake may begin.
	startTLS func(w *wire) error
	// open makes the session; upgraded says that STARTTLS came before.
	open func(w *wire, upgraded bool) (session, error)
}

// service is one kind of listener.
type service struct {
	key      string // in the configuration and in Target.Ports
	about    string
	protocol protocol
	implicit bool // TLS from the first byte
	login    bool // users log in here
}

var services = []service{
	{key: "imap", about: "log in to IMAP with STARTTLS and read a mailbox's state", protocol: imapProtocol, login: true},
	{key: "imaps", about: "log in to IMAP over TLS and read a mailbox's state", protocol: imapProtocol, implicit: true, login: true},
	{key: "pop3", about: "log in to POP3 with STLS and read the mailbox's size", protocol: pop3Protocol, login: true},
	{key: "pop3s", about: "log in to POP3 over TLS and read the mailbox's size", protocol: pop3Protocol, implicit: true, login: true},
	{key: "submission", about: "log in to mail submission with STARTTLS", protocol: smtpProtocol, login: true},
	{key: "submissions", about: "log in to mail submission over TLS", protocol: smtpProtocol, implicit: true, login: true},
	{key: "smtp", about: "greet the SMTP server for incoming mail, with STARTTLS", protocol: smtpProtocol},
	{key: "managesieve", about: "log in to ManageSieve with STARTTLS and list the scripts", protocol: sieveProtocol, login: true},
}

func serviceOf(key string) service {
	for _, s := range services {
		if s.key == key {
			return s
		}
	}
	panic("probe: no service " + key) // keys are constants of this package
}

// security says whether a connection is to be secured before the session.
type security bool

const (
	withTLS security = true
	inClear security = false
)

// link is a session and the connection below it.
type link struct {
	session
	*wire
	tr    *Trace
	slots chan struct{} // see Target.logins
}

// connect opens a session at one address. Its steps are connect, banner, tls
// for STARTTLS and connect, tls, banner for TLS from the first byte.
func connect(ctx context.Context, t *Target, tr *Trace, s service, addr netip.AddrPort, sec security) (*link, error) {
	tr = tr.at(addr.String())
	w, err := dial(ctx, tr, addr)
	if err != nil {
		return nil, err
	}
	w.hello = t.helloName(w.raw.LocalAddr())
	l := &link{wire: w, tr: tr, slots: t.logins}
	if err := l.begin(ctx, t, s, sec); err != nil {
		w.close()
		return nil, w.speechless(err)
	}
	return l, nil
}

func (l *link) begin(ctx context.Context, t *Target, s service, sec security) error {
	upgrade := sec == withTLS && !s.implicit
	if s.implicit {
		if err := l.secure(ctx, l.tr, t); err != nil {
			return err
		}
	}
	open := func() (err error) {
		l.session, err = s.protocol.open(l.wire, upgrade)
		return err
	}
	err := l.tr.step(ctx, "banner", func() error {
		if err := s.protocol.banner(l.wire); err != nil || upgrade {
			return err
		}
		return open()
	})
	if err != nil || !upgrade {
		return err
	}
	return l.tr.step(ctx, "tls", func() error {
		if err := s.protocol.startTLS(l.wire); err != nil {
			return err
		}
		if err := l.handshake(ctx, t); err != nil {
			return err
		}
		return open()
	})
}

// maxLogins is how many logins are under way at once. Each costs the server the
// hash of a password: dozens of them in the same moment make a small host answer
// the last one too late, and that would say nothing about its health.
const maxLogins = 4

// turn is how long a login may keep the next one waiting. The hash takes some
// 30 ms; a refusal is held back for two seconds on purpose, and twenty of those
// in groups of four would not fit into DefaultTimeout.
const turn = 500 * time.Millisecond

// authenticate logs in, in the step "login", when it is its turn.
func (l *link) authenticate(ctx context.Context, user string, password Secret) error {
	if l.slots != nil {
		select {
		case l.slots <- struct{}{}:
			over := sync.OnceFunc(func() { <-l.slots })
			defer over()
			defer time.AfterFunc(turn, over).Stop()
		case <-ctx.Done():
			return l.tr.step(ctx, "login", func() error { return ctx.Err() })
		}
	}
	return l.tr.step(ctx, "login", func() error { return l.login(user, password) })
}

// leave quits cleanly, in the step "quit".
func (l *link) leave(ctx context.Context) error {
	return l.tr.step(ctx, "quit", func() error {
		if err := l.quit(); err != nil {
			return err
		}
		l.hangUp()
		return nil
	})
}

// connectAny opens a session at the first address that takes the connection:
// what it is wanted for does not depend on the address.
func connectAny(ctx context.Context, t *Target, tr *Trace, key string, sec security) (*link, error) {
	var all []error
	for _, addr := range t.endpoints(key) {
		l, err := connect(ctx, t, tr, serviceOf(key), addr, sec)
		if err == nil {
			return l, nil
		}
		all = append(all, err)
		if !isKind(err, KindRefused) && !isKind(err, KindUnreachable) {
			return nil, err
		}
	}
	return nil, errors.Join(all...)
}

// checkService is the check of one listener, at every address at once.
func checkService(s service) Func {
	return func(ctx context.Context, t *Target, tr *Trace) error {
		switch {
		case s.login && t.anonymous():
			tr.note("no user was given: greeted, and not logged in")
		case s.login:
			if err := t.needAccount(); err != nil {
				return err
			}
		}
		addrs := t.endpoints(s.key)
		errs := make([]error, len(addrs))
		var wg sync.WaitGroup
		for i, addr := range addrs {
			wg.Go(func() { errs[i] = visit(ctx, t, tr, s, addr) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// visit is one whole dialogue with a listener.
func visit(ctx context.Context, t *Target, tr *Trace, s service, addr netip.AddrPort) error {
	l, err := connect(ctx, t, tr, s, addr, withTLS)
	if err != nil {
		return err
	}
	defer l.close()
	if s.login && t.anonymous() {
		return l.leave(ctx)
	}
	if s.login {
		if err := l.authenticate(ctx, t.User, t.Password); err != nil {
			return err
		}
	}
	if err := l.tr.step(ctx, "read", l.read); err != nil {
		return err
	}
	return l.leave(ctx)
}

// anonymous says that this is somebody else's server, and nobody to log in as
// was named: then it is looked at from outside.
func (t *Target) anonymous() bool { return t.Foreign && t.User == "" }

// address is the account's.
func (t *Target) address() string {
	if t.Address != "" {
		return t.Address
	}
	return t.User
}

// recipient is where mail for the account is sent.
func (t *Target) recipient() string {
	if t.Recipient != "" {
		return t.Recipient
	}
	return t.address()
}

// needAccount says why checks that log in cannot run.
func (t *Target) needAccount() error {
	if t.Unverified != "" {
		return &Failure{
			Kind: KindNotRun, Detail: t.Unverified, settled: true,
			Advice: "run it with the rights to read the stack's files, as root",
		}
	}
	if t.User == "" || t.Password == "" {
		return &Failure{
			Kind: KindNotRun, Detail: "the password of the probe's account is not known", settled: true,
			Advice: "run it with the rights to read the stack's secrets, as root",
		}
	}
	if strings.ContainsAny(t.User+t.address()+t.Recipient+string(t.Password), "\r\n\x00") {
		return failf(KindNotRun, "user name or password hold a character that no mail protocol can carry")
	}
	return nil
}
