package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// Queue lists the messages in Postfix's queue.
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
