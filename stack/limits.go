package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Limited is an account that has sent as much as it may, and wanted to send more.
type Limited struct {
	Account string    `json:"account"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Refused int       `json:"refused"` // messages; each try counts
	Limit   string    `json:"limit"`   // "500 recipients an hour"
}

// ListLimited asks Postfix which accounts have sent as much as they may.
func ListLimited(ctx context.Context, e Engine, container string) ([]Limited, error) {
	out, err := limits(ctx, e, container)
	if err != nil {
		return nil, err
	}
	list := []Limited{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var line struct {
			Limited
			Since int64 `json:"since"` // seconds since 1970
			Until int64 `json:"until"`
		}
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read who has sent too much: %w", err)
		}
		line.Limited.Since, line.Limited.Until = time.Unix(line.Since, 0).UTC(), time.Unix(line.Until, 0).UTC()
		list = append(list, line.Limited)
	}
}

// Unlimit forgets what an account has sent, and says whether it had to wait.
func Unlimit(ctx context.Context, e Engine, container, account string) (bool, error) {
	out, err := limits(ctx, e, container, "release", strings.ToLower(account))
	return strings.TrimSpace(string(out)) == "released", err
}

func limits(ctx context.Context, e Engine, container string, args ...string) ([]byte, error) {
	res, err := e.Exec(ctx, container, ExecSpec{Command: append([]string{LimitsCmd}, args...)})
	if err != nil {
		return nil, err
	}
	if res.ExitCode != 0 {
		return nil, fmt.Errorf("%s in %s: status %d: %s", LimitsCmd, container, res.ExitCode, said(res))
	}
	return res.Stdout, nil
}
