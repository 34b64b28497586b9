package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"time"
)

// A delivery check sends one message to the probe's own account, finds it by
// IMAP and by POP3, and removes it. Its steps are accepted, imap, pop3 and
// removed; imap and pop3 count from the step before.
type delivery struct {
	t      *Target // whose mailbox it is; nil: nobody can look
	by     *Target // by whom it is sent: the same, but for delivery.elsewhere
	to     string
	login  bool
	tr     *Trace
	check  string
	marker marker
	ack    string // what the server said when it took the message
	copies int    // the most that were seen at once

	doubt  time.Time        // when to ask the queue for the first time
	before chan queueAnswer // what it said then
}

type queueAnswer struct {
	QueuedMessage
	err error
}

// checkDelivery makes the check of a message to the account itself. keys are
// the listeners to send by, the best first; with login the account's own
// address is the envelope sender, after a login.
func checkDelivery(check string, login bool, keys ...string) Func {
	return func(ctx context.Context, t *Target, tr *Trace) error {
		if err := t.needAccount(); err != nil {
			return err
		}
		d := &delivery{t: t, by: t, to: t.recipient(), login: login, tr: tr, check: check}
		return d.run(ctx, t.firstOn(keys...))
	}
}

// checkElsewhere sends a message from the target to a mailbox of another
// server, and finds it there if that mailbox can be read.
func checkElsewhere(ctx context.Context, t *Target, tr *Trace) error {
	if err := t.needAccount(); err != nil {
		return err
	}
	d := &delivery{t: t.Elsewhere.Mailbox, by: t, to: t.Elsewhere.Address, login: true, tr: tr, check: elsewhereCheck}
	return d.run(ctx, t.firstOn("submissions", "submission"))
}

// maxRest is kept from the wait for a message, for what comes after it: to begin
// a command in a container takes a busy host a second.
const maxRest = 3 * time.Second

// patient is how much of what is left of the time a message is waited for.
func patient(rest time.Duration) time.Duration { return rest - min(maxRest, rest/4) }

// run sends by a listener, and follows the message if it can be looked for.
func (d *delivery) run(ctx context.Context, key string) error {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(DefaultTimeout)
	}
	d.marker = newMarker(deadline)
	inbox := d.openInbox(ctx)
	defer inbox.drop()
	err := d.tr.step(ctx, "accepted", func() error { return d.send(ctx, key) })
	if err != nil {
		return err
	}
	if d.t == nil {
		d.tr.note("accepted; whether it arrives at " + d.to + " cannot be looked at from here")
		return nil
	}
	// The last part of the time belongs to a look into the queue and the removal.
	wait := patient(time.Until(deadline))
	look, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	d.doubt = time.Now().Add(wait / 2)
	return d.follow(ctx, look, inbox)
}

// opening is a mailbox that is being opened while the message is on its way.
type opening struct {
	key   string // of the listener; "": there is none
	done  chan struct{}
	inbox *imapMailbox
	err   error
}

// openInbox begins to open the mailbox. How long that takes is bounded by ctx.
func (d *delivery) openInbox(ctx context.Context) *opening {
	o := &opening{done: make(chan struct{})}
	if d.t != nil {
		o.key = d.t.firstOn("imaps", "imap")
	}
	if o.key == "" {
		close(o.done)
		return o
	}
	go func() {
		defer close(o.done)
		o.inbox, o.err = openInbox(ctx, d.t, d.tr.quiet(), o.key)
	}()
	return o
}

// wait returns the mailbox once it is open.
func (o *opening) wait() (*imapMailbox, error) {
	<-o.done
	return o.inbox, o.err
}

// drop ends the connection as soon as there is one, and does not wait.
func (o *opening) drop() {
	go func() {
		if inbox, err := o.wait(); err == nil && inbox != nil {
			inbox.l.close()
		}
	}()
}

func (d *delivery) send(ctx context.Context, key string) error {
	l, err := connectAny(ctx, d.by, d.tr.quiet(), key, withTLS)
	if err != nil {
		return err
	}
	defer l.close()
	// On port 25 nobody may claim a hosted address, and the null sender has the
	// merit that a bounce of the probe's mail goes nowhere.
	from := ""
	if d.login {
		from = d.by.address()
		if err := l.authenticate(ctx, d.by.User, d.by.Password); err != nil {
			return err
		}
	}
	signer := d.t // who can delete it again
	if signer == nil {
		// Nobody: strangers get no signature to try passwords against.
		signer = &Target{User: d.by.User, Hostname: d.by.Hostname, Password: Secret(rand.Text())}
	}
	message := d.marker.message(signer, d.by.address(), d.to, d.check, time.Now())
	err = l.tr.step(ctx, "send", func() error {
		d.ack, err = l.session.(*smtpSession).deliver(from, d.to, message)
		return err
	})
	if err != nil {
		return err
	}
	return l.leave(ctx)
}

// follow looks for the message until look ends and removes it before ctx ends.
func (d *delivery) follow(ctx, look context.Context, opening *opening) error {
	imapKey, pop3Key := opening.key, d.t.firstOn("pop3s", "pop3")
	var errs []error
	var inbox *imapMailbox
	if imapKey != "" {
		err := d.tr.step(ctx, "imap", func() (err error) {
			if inbox, err = opening.wait(); err != nil {
				return err
			}
			return d.await(ctx, look, func() (int, error) { return inbox.count(ctx, d.marker.token) })
		})
		errs = append(errs, err)
	}
	here := errs != nil && errs[0] == nil
	usable := inbox != nil && (here || isKind(errs[0], KindLost) || isKind(errs[0], KindMissing) || isKind(errs[0], KindQueued))
	if pop3Key != "" && look.Err() == nil {
		err := d.tr.step(ctx, "pop3", func() error {
			return d.await(ctx, look, func() (int, error) {
				return lookByPOP3(ctx, d.t, d.tr.quiet(), pop3Key, d.marker.token, imapKey == "")
			})
		})
		errs = append(errs, err)
	}
	if usable {
		err := d.tr.step(ctx, "removed", func() error { return d.remove(ctx, inbox) })
		if here || !isKind(err, KindTimeout) { // of what is not there, nothing remains for want of time
			errs = append(errs, err)
		}
	}
	if d.copies > 1 {
		errs = append(errs, failf(KindDuplicate, "%d copies", d.copies))
	}
	return errors.Join(errs...)
}

// await asks count until it finds a message or look ends.
func (d *delivery) await(ctx, look context.Context, count func() (int, error)) error {
	again := 0
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		n, err := count()
		if other, ok := err.(*disturbed); !ok {
			again = 0
		} else if again++; again < maxDisturbed && look.Err() == nil {
			err = nil
		} else {
			err = other.error
		}
		if d.copies = max(d.copies, n); err != nil || n > 0 {
			return err
		}
		if d.before == nil && time.Now().After(d.doubt) {
			d.before = d.askQueue(ctx)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-look.Done():
			timer.Stop()
			return d.missing(ctx)
		}
	}
}

// queuedAs finds Postfix's queue id in its acknowledgement.
var queuedAs = regexp.MustCompile(`queued as ([0-9A-Za-z]+)`)

// queueID is what the server acknowledged the message under, "" if it did not
// say.
func (d *delivery) queueID() string {
	if id := queuedAs.FindStringSubmatch(d.ack); id != nil {
		return id[1]
	}
	return ""
}

// askQueue looks for the message in the queue meanwhile; nil: that is not
// possible. The channel gets one answer.
func (d *delivery) askQueue(ctx context.Context) chan queueAnswer {
	id := d.queueID()
	if d.t.Queued == nil || id == "" {
		return nil
	}
	answer := make(chan queueAnswer, 1)
	go func() {
		waits, err := d.t.Queued(ctx, id)
		answer <- queueAnswer{waits, err}
	}()
	return answer
}

// inQueue is where the message waits now or, if the server has no time left to
// say that, where it did when it began to be late.
func (d *delivery) inQueue(ctx context.Context) (QueuedMessage, error) {
	now := <-d.askQueue(ctx)
	if now.err == nil {
		return now.QueuedMessage, nil
	}
	select {
	case before := <-d.before:
		if before.err == nil {
			return before.QueuedMessage, nil
		}
	default:
	}
	return QueuedMessage{}, now.err
}

// missing tells a message that is late from one that is lost.
func (d *delivery) missing(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	ack, id := printable(d.ack), d.queueID()
	if d.t.Queued == nil || id == "" {
		return failf(KindMissing, "accepted (%s), not seen since; whether it is still in the queue is not known", ack)
	}
	waits, err := d.inQueue(ctx)
	switch {
	case err != nil:
		return failf(KindMissing, "accepted (%s), not seen since; the queue could not be read: %s", ack, printable(err.Error()))
	case waits.Queue == "hold":
		return &Failure{Kind: KindQueued, Detail: id + ", on hold", Advice: heldAdvice}
	case waits.Reason != "":
		return failf(KindQueued, "%s, %s", id, printable(waits.Queue+": "+waits.Reason))
	case waits.Queue != "":
		return failf(KindQueued, "%s, %s", id, printable(waits.Queue))
	}
	return failf(KindLost, "accepted (%s), and neither in INBOX nor in the queue", ack)
}

// remove deletes the message, and what earlier runs left, and counts once
// more: a second copy may have come after the first was seen.
func (d *delivery) remove(ctx context.Context, inbox *imapMailbox) error {
	copies, err := inbox.sweep(ctx, d.marker.token)
	if err != nil {
		return err
	}
	d.copies = max(d.copies, copies)
	return inbox.l.leave(ctx)
}
