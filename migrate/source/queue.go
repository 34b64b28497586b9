package source

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"mailstack/migrate"
	"mailstack/migrate/remote"
)

//go:embed script/queue.sh
var queueScript string

// MailQueue is the queue of the old server's Postfix.
type MailQueue struct {
	host *remote.Host
	// engine and box are of the container that Postfix is in, "" where it is in
	// none; alone is "alone" where nothing else runs in it.
	engine, box, alone string
}

// FindQueue is the queue of the old server's Postfix; nil where it has none.
func FindQueue(host *remote.Host, f *Facts) *MailQueue {
	if !strings.HasPrefix(f.MTA.Name, "Postfix") {
		return nil
	}
	q := &MailQueue{host: host}
	if f.MTA.Container != "" {
		q.engine, q.box = f.Engine, f.MTA.Container
	}
	if f.MTA.Container != f.Dovecot.Container {
		q.alone = "alone"
	}
	return q
}

func (q *MailQueue) script(ctx context.Context, what string) *remote.Command {
	return q.host.Script(ctx, queueScript, q.engine, q.box, q.alone, what)
}

// queueID is Postfix's, short or long (postconf(5), enable_long_queue_ids).
var queueID = regexp.MustCompile(`^[0-9A-Za-z]{5,30}$`)

// List implements migrate.MailQueue.
func (q *MailQueue) List(ctx context.Context) (list migrate.Queue, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the mail queue of %s: %w", q.host.Target(), err)
		}
	}()
	out, err := q.script(ctx, "list").Output()
	if err != nil {
		return list, err
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20) // a line for each message, with all of its recipients
	if !lines.Scan() {
		return list, errors.New("it says nothing")
	}
	list.Running = lines.Text() == "running"
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		m, err := parseQueued(lines.Bytes())
		if err != nil {
			return list, err
		}
		list.Messages = append(list.Messages, m)
	}
	return list, lines.Err()
}

// parseQueued reads a line of `postqueue -j`.
func parseQueued(line []byte) (migrate.Queued, error) {
	var said struct {
		Place      string `json:"queue_name"`
		ID         string `json:"queue_id"`
		Arrived    int64  `json:"arrival_time"`
		Bytes      int64  `json:"message_size"`
		Sender     string `json:"sender"`
		Recipients []struct {
			Address string `json:"address"`
		} `json:"recipients"`
	}
	if err := json.Unmarshal(line, &said); err != nil || !queueID.MatchString(said.ID) || said.Bytes < 0 {
		return migrate.Queued{}, fmt.Errorf("postqueue says %q", clean(string(line)))
	}
	m := migrate.Queued{ID: said.ID, Place: clean(said.Place), Arrived: said.Arrived, Bytes: said.Bytes, Sender: said.Sender}
	// The null sender, as showq(8) writes it; anybody else's has a domain.
	if m.Sender == "MAILER-DAEMON" {
		m.Sender = ""
	}
	for _, r := range said.Recipients {
		m.Recipients = append(m.Recipients, r.Address)
	}
	return m, nil
}

// Content implements migrate.MailQueue.
func (q *MailQueue) Content(ctx context.Context, m migrate.Queued) (io.ReadCloser, error) {
	return q.script(ctx, m.ID).Stream()
}

var _ migrate.MailQueue = (*MailQueue)(nil)
