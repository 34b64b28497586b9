package stack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Queued is a message in Postfix's queue: "JSON OBJECT FORMAT" in postqueue(1)
// (https://www.postfix.org/postqueue.1.html).
type Queued struct {
	ID      string `json:"queue_id"`
	Queue   string `json:"queue_name"`   // incoming, active, deferred, hold
	Arrival int64  `json:"arrival_time"` // Unix seconds
	Sender  string `json:"sender"`

	Recipients []QueuedRecipient `json:"recipients"`
}

// QueuedRecipient is whom a message is still for.
type QueuedRecipient struct {
	Address string `json:"address"`
	Delay   string `json:"delay_reason"` // why it was not delivered, if that was tried
}

// Queue lists the messages in Postfix's queue, by a command in its container.
func Queue(ctx context.Context, e Engine, container string) ([]Queued, error) {
	res, err := e.Exec(ctx, container, ExecSpec{Command: []string{QueueCmd}})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("%s in %s: status %d: %s", QueueCmd, container, res.ExitCode, said(res))
	}
	all := []Queued{}
	for d := json.NewDecoder(bytes.NewReader(res.Stdout)); ; {
		var m Queued
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read queue of %s: %w", container, err)
		}
		all = append(all, m)
	}
}

// showqSocket is where Postfix itself lists its queue (showq(8)).
const showqSocket = "/var/spool/postfix/public/showq"

// showqProtocol is how Postfix calls what it says there.
const showqProtocol = "mail_queue_list_protocol"

// Queue lists the messages in the queue of Postfix's container, as postqueue(1)
// learns of them. Its error means that Queue has to be asked.
func (i *Inside) Queue(ctx context.Context) ([]Queued, error) {
	conn, err := i.Dial(ctx, showqSocket)
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	all, err := readShowq(bufio.NewReader(io.LimitReader(conn, showqBytes)))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return all, err
}

// showqBytes bounds a listing: a hundred thousand messages.
const showqBytes = 64 << 20

// readShowq reads a listing: lists of attributes, each a name and a value that end
// with a zero byte, and a zero byte behind the last
// (https://github.com/vdukhovni/postfix/blob/master/postfix/src/util/attr_print0.c).
// The first names the protocol; then each message is one, with its recipients
// behind it, and an empty one ends it all.
func readShowq(r *bufio.Reader) ([]Queued, error) {
	first, err := readAttributes(r)
	if err == nil && (len(first) != 1 || first[0] != attribute{"protocol", showqProtocol}) {
		err = fmt.Errorf("it speaks %q", first)
	}
	all := []Queued{}
	for err == nil {
		var message []attribute
		if message, err = readAttributes(r); err != nil {
			break
		}
		if len(message) == 0 {
			return all, nil
		}
		var m Queued
		if m, err = queuedOf(message); err == nil {
			all = append(all, m)
		}
	}
	return nil, fmt.Errorf("read queue from %s: %w", showqSocket, err)
}

type attribute struct{ name, value string }

func queuedOf(message []attribute) (m Queued, err error) {
	for _, a := range message {
		switch a.name {
		case "queue_id":
			m.ID = a.value
		case "queue_name":
			m.Queue = a.value
		case "time":
			if m.Arrival, err = strconv.ParseInt(a.value, 10, 64); err != nil {
				return m, err
			}
		case "sender":
			m.Sender = a.value
		case "recipient":
			m.Recipients = append(m.Recipients, QueuedRecipient{Address: a.value})
		case "reason":
			if len(m.Recipients) > 0 {
				m.Recipients[len(m.Recipients)-1].Delay = a.value
			}
		}
	}
	if m.ID == "" || m.Queue == "" || m.Arrival == 0 {
		return m, fmt.Errorf("a message is %q", message)
	}
	return m, nil
}

func readAttributes(r *bufio.Reader) (all []attribute, err error) {
	for {
		name, err := readText(r)
		if err != nil || name == "" {
			return all, err
		}
		value, err := readText(r)
		if err != nil {
			return nil, err
		}
		all = append(all, attribute{name, value})
	}
}

// readText reads up to a zero byte; that it is missing is an error.
func readText(r *bufio.Reader) (string, error) {
	text, err := r.ReadString(0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimSuffix(text, "\x00"), err
}
