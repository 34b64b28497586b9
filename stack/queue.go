package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// QueueIDs lists the messages in Postfix's queue, by their queue ids. Its
// command prints one JSON object a line, as postqueue -j does
// (https://www.postfix.org/postqueue.1.html).
func QueueIDs(ctx context.Context, e Engine, container string) ([]string, error) {
	res, err := e.Exec(ctx, container, ExecSpec{Command: []string{QueueCmd}})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("%s in %s: status %d: %s", QueueCmd, container, res.ExitCode, said(res))
	}
	ids := []string{}
	for line := range strings.Lines(string(res.Stdout)) {
		var entry struct {
			ID string `json:"queue_id"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, fmt.Errorf("read queue of %s: %w", container, err)
		}
		ids = append(ids, entry.ID)
	}
	return ids, nil
}
