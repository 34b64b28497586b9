package migrate

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// MailQueue is the queue of the old server's MTA. It is only ever read.
type MailQueue interface {
	// List is what waits there now.
	List(ctx context.Context) (Queue, error)
	// Content is a message's header and body, lines ended by LF. Reading gives
	// io.EOF only after all of it.
	Content(ctx context.Context, m Queued) (io.ReadCloser, error)
}

// Queue is what waits on the old server to be delivered or sent.
type Queue struct {
	// Running says whether its MTA runs, and so may still do that itself.
	Running  bool
	Messages []Queued
}

// Queued is a message in the queue.
type Queued struct {
	ID         string
	Place      string // the queue of Postfix that it is in: "active", "deferred", "hold", …
	Arrived    int64  // seconds since 1970
	Bytes      int64
	Sender     string   // "": the null sender
	Recipients []string // who has not got it yet, after aliases
}

// key is what a delivery is remembered by. Postfix may give an ID again to a later
// message.
func (q Queued) key(recipient string) string {
	return fmt.Sprintf("%s %d %s", q.ID, q.Arrived, recipient)
}

// For is how many messages wait for at least one of those who are here.
func (q Queue) For(here Addressees) int {
	n := 0
	for _, m := range q.Messages {
		for _, r := range m.Recipients {
			if here.of(r) != "" {
				n++
				break
			}
		}
	}
	return n
}

// Addressees are accounts that mail from the queue is delivered to.
type Addressees struct {
	Accounts map[string]bool
	// Delimiter is the old server's recipient_delimiter, of which each character
	// is one (postconf(5)).
	Delimiter string
}

// of is the address here for a recipient of the old server; "" for those who are
// not among the accounts. An extension stays one: here, "+" is what begins it.
func (a Addressees) of(recipient string) string {
	recipient = strings.ToLower(recipient)
	if a.Accounts[recipient] {
		return recipient
	}
	at := strings.LastIndexByte(recipient, '@')
	if at < 0 || a.Delimiter == "" {
		return ""
	}
	local, domain := recipient[:at], recipient[at:]
	i := strings.IndexAny(local, a.Delimiter)
	if i <= 0 || !a.Accounts[local[:i]+domain] {
		return ""
	}
	return local[:i] + "+" + local[i+1:] + domain
}
