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

// showqBytes bounds a listing, as the container says what it likes: some fifty
// thousand messages.
const showqBytes = 32 << 20

// readShowq reads a listing: lists of attributes, each a name and a value that end
// with a zero byte, and a zero byte behind the last
// (https://github.com/vdukhovni/postfix/blob/master/postfix/src/util/attr_print0.c).
// The first names the protocol; then each message is one, with its recipients
// behind it, and an empty one ends it all.
func readShowq(r *bufio.Reader) ([]Queued, error) {
	protocol := ""
	_, err := readAttributes(r, func(name, value string) error {
		if name != "protocol" || value != showqProtocol {
			return fmt.Errorf("it speaks %.100q %.100q", name, value)
		}
		protocol = value
		return nil
	})
	if err == nil && protocol == "" {
		err = errors.New("it names no protocol")
	}
	all := []Queued{}
	for err == nil {
		var m Queued
		var n int
		if n, err = readAttributes(r, m.take); err != nil {
			break
		}
		if n == 0 {
			return all, nil
		}
		if m.ID == "" || m.Queue == "" || m.Arrival == 0 {
			err = fmt.Errorf("message %.100q is in queue %.100q since %d", m.ID, m.Queue, m.Arrival)
		}
		all = append(all, m)
	}
	return nil, fmt.Errorf("read queue from %s: %w", showqSocket, err)
}

// take puts in one attribute. Most are of no interest, and are not kept.
func (m *Queued) take(name, value string) (err error) {
	switch name {
	case "queue_id":
		m.ID = value
	case "queue_name":
		m.Queue = value
	case "time":
		m.Arrival, err = strconv.ParseInt(value, 10, 64)
	case "sender":
		m.Sender = value
	case "recipient":
		m.Recipients = append(m.Recipients, QueuedRecipient{Address: value})
	case "reason":
		if len(m.Recipients) > 0 {
			m.Recipients[len(m.Recipients)-1].Delay = value
		}
	}
	return err
}

// readAttributes hands on the attributes of a list, and counts them.
func readAttributes(r *bufio.Reader, take func(name, value string) error) (n int, err error) {
	for {
		name, err := readText(r)
		if err != nil || name == "" {
			return n, err
		}
		value, err := readText(r)
		if err == nil {
			err = take(name, value)
		}
		if err != nil {
			return n, err
		}
		n++
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
