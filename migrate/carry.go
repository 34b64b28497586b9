package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"mailstack/migrate/remote"

	"github.com/emersion/go-smtp"
)

// Carrier delivers what waits in the queue of an old server whose MTA has been
// stopped. Where it runs, nothing is carried: it would deliver the same message.
//
// What was delivered is remembered in the state, so that each message arrives once
// however often this is repeated. Only the one in whose delivery the program is
// killed may arrive twice. The old server's queue stays as it is.
type Carrier struct {
	From MailQueue
	To   Addressees
	// Dial connects to the LMTP server of the new mail store (RFC 2033).
	Dial func(context.Context) (net.Conn, error)
}

// CarryReport is what became of a queue.
type CarryReport struct {
	Carried []Delivery `json:"carried,omitempty"`
	// Before is how many deliveries an earlier run has made.
	Before int `json:"carried_before,omitempty"`
	// Left is what stays on the old server only, and why.
	Left []Delivery `json:"left,omitempty"`
}

// Failed says whether something was left that should have been carried.
func (r *CarryReport) Failed() bool {
	return slices.ContainsFunc(r.Left, func(d Delivery) bool { return d.Failed })
}

// Delivery is a message for one recipient.
type Delivery struct {
	ID        string `json:"id"` // in the old server's queue
	Sender    string `json:"sender"`
	Recipient string `json:"recipient"`
	Bytes     int64  `json:"bytes"`
	Why       string `json:"why,omitempty"` // it is left
	Failed    bool   `json:"failed,omitempty"`
}

func (r *CarryReport) leave(m Queued, recipients []string, failed bool, why string) {
	for _, recipient := range recipients {
		r.Left = append(r.Left, Delivery{ID: m.ID, Sender: m.Sender, Recipient: recipient, Bytes: m.Bytes, Why: why, Failed: failed})
	}
}

// Carry delivers a queue. Its error is what ended it before its end; what cannot be
// delivered is in the report, which is never nil.
func (m *Migration) Carry(ctx context.Context, q Queue, c Carrier) (*CarryReport, error) {
	r := &CarryReport{}
	for _, message := range q.Messages {
		if err := m.carry(ctx, message, q.Running, c, r); err != nil {
			return r, fmt.Errorf("carry message %s of the old server's queue over: %w", message.ID, err)
		}
	}
	return r, nil
}

func (m *Migration) carry(ctx context.Context, q Queued, running bool, c Carrier, r *CarryReport) error {
	recipients := make(map[string][]string) // recipients there, by address here
	done := m.state.Carried[m.From.Target()]
	for _, recipient := range q.Recipients {
		here := c.To.of(recipient)
		switch _, before := done[q.key(recipient)]; {
		case before:
			r.Before++
		case here == "":
			r.leave(q, []string{recipient}, false, "not for an account that was opened here")
		case !speakable(q.Sender) || !speakable(here):
			r.leave(q, []string{recipient}, true, "its addresses cannot be said in SMTP")
		case running:
			r.leave(q, []string{recipient}, true, "the MTA there runs, and may deliver it there")
		default:
			recipients[here] = append(recipients[here], recipient)
		}
	}
	if len(recipients) == 0 {
		return nil
	}
	accepted, refused, err := c.deliver(ctx, q, slices.Sorted(maps.Keys(recipients)))
	for _, here := range accepted {
		for _, recipient := range recipients[here] {
			m.state.carry(m.From.Target(), q.key(recipient), m.Now())
			r.Carried = append(r.Carried, Delivery{ID: q.ID, Sender: q.Sender, Recipient: recipient, Bytes: q.Bytes})
		}
	}
	if len(accepted) > 0 {
		err = errors.Join(err, m.state.write(m.work, m.Now()))
	}
	for _, here := range slices.Sorted(maps.Keys(refused)) {
		r.leave(q, recipients[here], true, refused[here])
	}
	return err
}

// deliver delivers a message, by a session of its own. accepted are the addresses
// that have it, also where there is an error; refused says why the others do not.
func (c Carrier) deliver(ctx context.Context, q Queued, to []string) (accepted []string, refused map[string]string, err error) {
	var unread *remote.ExitError // of postcat(1): the message is gone from the queue, or damaged
	content, err := c.From.Content(ctx, q)
	if errors.As(err, &unread) {
		return nil, refuseAll(to, err), nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer content.Close()
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	// The client knows no contexts.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	client := smtp.NewClientLMTP(conn)
	asked, refused, err := envelope(client, q.Sender, to)
	if err != nil || len(asked) == 0 {
		return nil, refused, err
	}
	answers, err := send(client, content)
	var some smtp.LMTPDataError
	switch {
	case errors.As(err, &unread):
		return nil, refuseAll(to, err), nil
	case errors.As(err, &some):
		for address, answer := range some {
			refused[address] = remote.Printable(answer.Error())
		}
		if err = nil; len(answers)+len(some) < len(asked) {
			err = errors.New("the mail store has not answered for all recipients")
		}
	}
	return slices.Sorted(maps.Keys(answers)), refused, err
}

func refuseAll(to []string, why error) map[string]string {
	refused := make(map[string]string)
	for _, address := range to {
		refused[address] = remote.Printable(why.Error())
	}
	return refused
}

// envelope says who a message is from and for. asked are those who may have it.
func envelope(client *smtp.Client, sender string, to []string) (asked []string, refused map[string]string, err error) {
	var said *smtp.SMTPError
	if err := client.Mail(sender, nil); errors.As(err, &said) {
		return nil, refuseAll(to, err), nil
	} else if err != nil {
		return nil, nil, err
	}
	refused = make(map[string]string)
	for _, address := range to {
		switch err := client.Rcpt(address, nil); {
		case errors.As(err, &said):
			refused[address] = remote.Printable(err.Error())
		case err != nil:
			return nil, refused, err
		default:
			asked = append(asked, address)
		}
	}
	return asked, refused, nil
}

// speakable says whether an address can be said in a line of SMTP.
func speakable(address string) bool {
	return !strings.ContainsFunc(address, func(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' })
}

// send sends the content of a message. One that cannot be read to its end is never
// ended here either, and so not delivered.
func send(client *smtp.Client, content io.Reader) (map[string]*smtp.DataResponse, error) {
	data, err := client.Data()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(data, content)
	if err == nil && n == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	return data.CloseWithLMTPResponse()
}

// carried is when deliveries were made, by their keys.
type carried map[string]time.Time

// carry remembers a delivery.
func (s *state) carry(target, key string, now time.Time) {
	if s.Carried[target] == nil {
		s.Carried[target] = carried{}
	}
	s.Carried[target][key] = now.UTC()
}

// Opening is to be said before accounts are opened to their owners: from then on
// what waits for them in the old server's queue may be carried over, also by a
// later run.
func (m *Migration) Opening(addresses []string) error {
	m.state.open(m.From.Target(), addresses)
	return m.state.write(m.work, m.Now())
}

// open remembers accounts that are opened.
func (s *state) open(target string, addresses []string) {
	for _, address := range addresses {
		if !slices.Contains(s.Opened[target], address) {
			s.Opened[target] = append(s.Opened[target], address)
		}
	}
}

// Opened are the accounts that were about to be opened, by this run or an earlier
// one from the same server.
func (m *Migration) Opened() []string { return slices.Clone(m.state.Opened[m.From.Target()]) }
