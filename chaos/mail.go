package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// stranger sends what comes from another mail server.
const stranger = "stranger@elsewhere.example"

// subjectPrefix begins the subject of every letter, before its ID.
const subjectPrefix = "chaos "

// filedHeader is what the script of the account "sieved" files by.
const filedHeader = "X-Chaos-File: yes\r\n"

// outgoing is a letter that is ready to be sent.
type outgoing struct {
	letter
	listener   string
	recipients []string
	places     map[string][]place // by recipient
	data       []byte
}

// compose makes a letter with a random way in, recipients and size.
func (a *arena) compose(rng *rand.Rand, round int, id string) outgoing {
	m := outgoing{letter: letter{ID: id, Round: round}, places: map[string][]place{}}
	m.listener = []string{"smtp", "smtp", "submission", "submissions"}[rng.IntN(4)]
	inbox := func(accounts ...string) (all []place) {
		for _, account := range accounts {
			all = append(all, place{account, "INBOX"})
		}
		return all
	}
	header := ""
	switch n := rng.IntN(100); {
	case n < 45: // one recipient, more often those whose mail is read
		one := append(a.accounts(), a.readers...)[rng.IntN(6+len(a.readers))]
		m.places[one] = inbox(one)
	case n < 65: // several
		all := a.accounts()
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, one := range all[:2+rng.IntN(3)] {
			m.places[one] = inbox(one)
		}
	case n < 80:
		m.places[a.team] = inbox(a.plain...)
	default:
		header = filedHeader
		m.places[a.sieved] = []place{{a.sieved, "Filed"}}
	}
	for _, recipient := range slices.Sorted(maps.Keys(m.places)) {
		m.recipients = append(m.recipients, recipient)
		m.To = append(m.To, m.places[recipient]...)
	}
	m.fill(a.sends(m.listener), header, sizeOf(rng), rng)
	return m
}

// letterTo makes a small letter to one account's INBOX.
func (a *arena) letterTo(account, listener string, rng *rand.Rand, round int, id string) outgoing {
	inbox := []place{{account, "INBOX"}}
	m := outgoing{
		letter: letter{ID: id, Round: round, To: inbox}, listener: listener,
		recipients: []string{account}, places: map[string][]place{account: inbox},
	}
	m.fill(a.sends(listener), "", 1024, rng)
	return m
}

// sizeOf is a size in bytes: 1 to 64 KB mostly, few of about 1 MB, very few of
// up to 20 MB.
func sizeOf(rng *rand.Rand) int {
	switch n := rng.IntN(1000); {
	case n < 3:
		return 5<<20 + rng.IntN(15<<20)
	case n < 23:
		return 1<<20 + rng.IntN(1<<19)
	default:
		return 1 << 10 << rng.IntN(7)
	}
}

// sends is who sends by a listener, and writes: the account where one signs in.
func (a *arena) sends(listener string) string {
	if listener == "smtp" {
		return stranger
	}
	return a.sender
}

// fill writes the message.
func (m *outgoing) fill(from, header string, size int, rng *rand.Rand) {
	body := make([]byte, 0, size+100)
	line := make([]byte, 38)
	for len(body) < size {
		for i := range line {
			line[i] = byte(rng.Uint32())
		}
		body = hex.AppendEncode(body, line)
		body = append(body, "\r\n"...)
	}
	sum := sha256.Sum256(body)
	m.Sum = hex.EncodeToString(sum[:])
	m.data = fmt.Appendf(nil, "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: %s%s\r\nDate: %s\r\nMessage-ID: <%s@client.example>\r\n%s\r\n",
		from, subjectPrefix, m.ID, time.Now().Format(time.RFC1123Z), m.ID, header)
	m.data = append(m.data, body...)
}

// send takes a letter to the server; what was acknowledged is in the ledger
// when it returns. Every answer is judged.
func (a *arena) send(ctx context.Context, m outgoing) error {
	conn, err := a.dial(ctx, m.listener)
	if err != nil {
		a.findings.tally(m.listener, err)
		return err
	}
	defer conn.Close()
	var c *smtp.Client
	if m.listener == "submission" {
		if c, err = smtp.NewClientStartTLS(conn, a.tls); err != nil {
			a.findings.judge(m.listener, err)
			return err
		}
	} else {
		c = smtp.NewClient(conn)
	}
	return a.transact(c, m)
}

// transact is send on an open connection.
func (a *arena) transact(c *smtp.Client, m outgoing) error {
	judged := func(what string, err error) error {
		if err == nil {
			return nil
		}
		a.findings.judge(m.listener+" "+what, err)
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := judged("EHLO", c.Hello("client.example")); err != nil {
		return err
	}
	from := a.sends(m.listener)
	if m.listener != "smtp" {
		if err := judged("AUTH", c.Auth(sasl.NewPlainClient("", from, a.password))); err != nil {
			return err
		}
	}
	if err := judged("MAIL", c.Mail(from, nil)); err != nil {
		return err
	}
	var refused error
	m.To = nil
	for _, recipient := range m.recipients {
		if err := judged("RCPT", c.Rcpt(recipient, nil)); err != nil {
			refused = err
			continue
		}
		m.To = append(m.To, m.places[recipient]...)
	}
	if len(m.To) == 0 {
		return refused
	}
	return errors.Join(a.data(c, m, judged), refused)
}

// data ends a transaction and enters its acknowledgement.
func (a *arena) data(c *smtp.Client, m outgoing, judged func(string, error) error) error {
	a.ledger.try(m.letter)
	w, err := c.Data()
	if err := judged("DATA", err); err != nil {
		return err
	}
	if _, err := w.Write(m.data); err != nil {
		return judged("message", err)
	}
	if err := judged("end of DATA", w.Close()); err != nil {
		return err
	}
	if err := a.ledger.acknowledged(entry{Letter: &m.letter}); err != nil {
		return err
	}
	_ = c.Quit() // said and done already
	return nil
}
